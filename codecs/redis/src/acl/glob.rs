//! The patterns of `KEYS`, `PSUBSCRIBE` and access rules.

/// Whether the pattern matches all of `text`.
///
/// `*` is anything, `?` one byte, `[a-z]` one of these, `[^a-z]` none of these, `\` takes the meaning from the byte behind it.
/// As with the server, nothing but the empty pattern matches the empty text. It takes at most as many steps as the product of both lengths.
pub fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    // What follows the last star, and the text it was last tried on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([_, ..], [byte, rest @ ..]) => {
                let (hit, behind) = one(pattern, *byte);
                if hit {
                    (pattern, text) = (behind, rest);
                    continue;
                }
            }
            _ => {}
        }
        let Some((behind, [_, rest @ ..])) = retry else { return false };
        retry = Some((behind, rest));
        (pattern, text) = (behind, rest);
    }
}

/// Whether the first element of the pattern, which is no star, matches this byte; and what follows it.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', rest @ ..] => {
            let (hit, rest) = class(rest, byte);
            (!hit, rest)
        }
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    }
}

/// Whether the byte is in the class, up to its `]` or the pattern's end; and what follows that.
fn class(mut pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut hit = false;
    loop {
        pattern = match pattern {
            [] => return (hit, pattern),
            [b'\\', literal, rest @ ..] => {
                hit |= *literal == byte;
                rest
            }
            [b']', rest @ ..] => return (hit, rest),
            [from, b'-', to, rest @ ..] => {
                hit |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                hit |= *literal == byte;
                rest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_time_that_is_bounded() {
        let pattern = "a*".repeat(100) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 10_000]));
        assert!(matches(&[b'*'; 1000], b"x"));
    }

    #[test]
    fn bytes_of_any_value() {
        assert!(matches(b"\xff?[\x80-\xff]", b"\xff\x00\x90"));
        assert!(!matches(b"\xff?[\x80-\xff]", b"\xff\x00\x7f"));
    }

    /// As one would write it down.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => {
                naive(rest, text)
                    || text.split_first().is_some_and(|(_, text)| naive(pattern, text))
            }
            (_, []) => false,
            (pattern, [byte, text @ ..]) => {
                let (hit, rest) = one(pattern, *byte);
                hit && naive(rest, text)
            }
        }
    }

    proptest! {
        #[test]
        fn finds_what_trying_everything_finds(pattern in "[ab*?\\[\\]^\\\\-]{0,8}", text in "[ab\\[\\-]{1,8}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), naive(pattern, text));
        }
    }
}
