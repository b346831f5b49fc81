//! What a client tells the proxy in a comment.

/// More of a comment is not looked at, in bytes.
const LOOKED_AT: usize = 1024;
/// Nor are more pairs.
const PAIRS: usize = 16;

/// Pairs of a key and a value, `key=value`, with blanks or commas between them; what is no such pair is passed over.
///
/// At most 16, of the first KiB of the first comment that begins with `wiremesh:`.
#[derive(Clone, Debug)]
pub struct Hints<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Hints<'a> {
    pub(super) fn new(note: &'a [u8]) -> Self {
        Self { rest: note.get(..LOOKED_AT).unwrap_or(note), left: PAIRS }
    }
}

impl<'a> Iterator for Hints<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        while self.left > 0 && !self.rest.is_empty() {
            let end = self.rest.iter().position(is_between).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let pair = std::str::from_utf8(word).ok().and_then(|word| word.split_once('='));
            if let Some((key, value)) = pair
                && !key.is_empty()
            {
                self.left = self.left.saturating_sub(1);
                return Some((key, value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(note: &str) -> Vec<(&str, &str)> {
        Hints::new(note.as_bytes()).collect()
    }

    #[test]
    fn pairs_are_found() {
        assert_eq!(pairs(" route=replica "), [("route", "replica")]);
        assert_eq!(pairs("a=1,b=2\n c== d=,=x"), [("a", "1"), ("b", "2"), ("c", "="), ("d", "")]);
        assert_eq!(pairs("nothing here"), []);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn they_are_bounded() {
        assert_eq!(pairs(&"a=1 ".repeat(100)).len(), PAIRS);
        assert_eq!(pairs(&format!("{} a=1", "x".repeat(LOOKED_AT))), []);
    }
}
