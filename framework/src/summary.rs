//! What a request says and what it is about, for people who look at the traffic.

use std::fmt::{self, Write};

use crate::correlation::Access;

/// One of the things that a request is about: a key, a table, a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Whether the request only reads it.
    pub access: Access,
    /// How many bytes of the request are its, its name included; 0 where that cannot be told.
    pub bytes: usize,
}

/// At most so many words are kept.
const WORDS: usize = 32;

/// At most so many bytes of one word.
const WORD: usize = 64;

/// At most so many bytes of all of them.
const BYTES: usize = 512;

/// A request, shortened: its first words, each cut, and how much was left out.
///
/// Filling it copies a few hundred bytes at most, and allocates nothing once it has been full. As text the words stand
/// with blanks between, those that have a blank or something unprintable in quotes.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    bytes: Vec<u8>,
    words: Vec<Word>,
    /// Words that were left out.
    left_out: usize,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    /// How many of the bytes are its.
    kept: usize,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// So many bytes more it had.
    Word { cut: usize },
    /// The same, of what is shown without quotes.
    Text { cut: usize },
    /// It is a secret.
    Secret,
}

impl Summary {
    /// Whether further words will be left out.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.words.len() >= WORDS || self.bytes.len() >= BYTES
    }

    /// Appends a word.
    #[inline]
    pub fn word(&mut self, word: &[u8]) {
        if self.is_full() {
            return self.leave_out(1);
        }
        let room = BYTES.saturating_sub(self.bytes.len()).min(WORD);
        let kept = word.get(..room).unwrap_or(word);
        self.bytes.extend_from_slice(kept);
        let cut = word.len().saturating_sub(kept.len());
        self.words.push(Word { kept: kept.len(), end: End::Word { cut } });
    }

    /// Appends words that are a text as they stand, to be shown as it is: what is printable of it.
    pub fn text(&mut self, text: &[u8]) {
        let room = BYTES.saturating_sub(self.bytes.len());
        let kept = text.get(..room).unwrap_or(text);
        self.bytes.extend_from_slice(kept);
        let cut = text.len().saturating_sub(kept.len());
        self.words.push(Word { kept: kept.len(), end: End::Text { cut } });
    }

    /// Appends a word that nobody is to see, not even its length.
    pub fn secret(&mut self) {
        if self.is_full() {
            return self.leave_out(1);
        }
        self.words.push(Word { kept: 0, end: End::Secret });
    }

    /// Notes that so many more words are not shown.
    pub fn leave_out(&mut self, words: usize) {
        self.left_out = self.left_out.saturating_add(words);
    }

    /// Empties it, and keeps its storage.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.words.clear();
        self.left_out = 0;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.bytes[..];
        for (n, word) in self.words.iter().enumerate() {
            let (text, behind) = rest.split_at_checked(word.kept).unwrap_or((rest, &[]));
            rest = behind;
            if n > 0 {
                f.write_char(' ')?;
            }
            let cut = match word.end {
                End::Word { cut } => {
                    write_word(f, text)?;
                    cut
                }
                End::Text { cut } => {
                    write_escaped(f, text)?;
                    cut
                }
                End::Secret => {
                    f.write_str("(redacted)")?;
                    0
                }
            };
            if cut > 0 {
                write!(f, "...({cut} more bytes)")?;
            }
        }
        match self.left_out {
            0 => Ok(()),
            n => write!(f, " ...({n} more)"),
        }
    }
}

/// Writes bytes as text that fits in one line: what is not printable is escaped. In quotes, if that or a blank is in it.
fn write_word(f: &mut impl Write, word: &[u8]) -> fmt::Result {
    if !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"') {
        return f.write_str(std::str::from_utf8(word).unwrap_or_default());
    }
    f.write_char('"')?;
    write_escaped(f, word)?;
    f.write_char('"')
}

/// Writes bytes as text that fits in one line: control characters, quotes and bytes that are no text are escaped.
pub fn write_escaped(f: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                char if char.is_control() => {
                    let mut utf8 = [0; 4];
                    hex(f, char.encode_utf8(&mut utf8).as_bytes())?;
                }
                char => f.write_char(char)?,
            }
        }
        hex(f, chunk.invalid())?;
    }
    Ok(())
}

fn hex(f: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[&[u8]]) -> String {
        let mut summary = Summary::default();
        words.iter().for_each(|word| summary.word(word));
        summary.to_string()
    }

    #[test]
    fn words_are_quoted_where_they_must_be() {
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[b"SET", b"key:1", b""]), r#"SET key:1 """#);
        assert_eq!(text(&[b"a b", b"x\"y\\", b"\r\n\0\xff"]), r#""a b" "x\"y\\" "\r\n\x00\xff""#);
        assert_eq!(text(&["schl\u{fc}ssel".as_bytes()]), "\"schl\u{fc}ssel\"");
        assert_eq!(text(&["\u{85}".as_bytes()]), r#""\xc2\x85""#);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = vec![b'x'; WORD + 5];
        let shown = "x".repeat(WORD);
        assert_eq!(text(&[&long, b"y"]), format!("{shown}...(5 more bytes) y"));
        let mut summary = Summary::default();
        for n in 0..1000 {
            assert_eq!(summary.is_full(), n >= BYTES / WORD);
            summary.word(&long);
        }
        assert_eq!((summary.bytes.len(), summary.words.len()), (BYTES, BYTES / WORD));
        assert!(summary.to_string().ends_with(&format!(" ...({} more)", 1000 - BYTES / WORD)));
        let mut summary = Summary::default();
        (0..1000).for_each(|_| summary.word(b""));
        (0..1000).for_each(|_| summary.secret());
        assert_eq!((summary.bytes.len(), summary.words.len()), (0, WORDS));
        assert!(summary.to_string().ends_with(" ...(1968 more)"));
        summary.clear();
        assert_eq!(summary.to_string(), "");
    }

    #[test]
    fn a_text_stands_without_quotes() {
        let mut summary = Summary::default();
        summary.text(b"SELECT `a` FROM\nt\xff");
        assert_eq!(summary.to_string(), r"SELECT `a` FROM\nt\xff");
        summary.text("x".repeat(BYTES).as_bytes());
        assert_eq!(summary.bytes.len(), BYTES);
        assert!(summary.is_full() && summary.to_string().ends_with("x...(18 more bytes)"));
    }

    #[test]
    fn of_a_secret_not_even_the_length_is_there() {
        let mut summary = Summary::default();
        summary.word(b"AUTH");
        summary.secret();
        assert_eq!(summary.to_string(), "AUTH (redacted)");
        assert_eq!(summary.bytes, b"AUTH");
    }
}
