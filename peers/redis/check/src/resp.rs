//! Replies as a tree that still says how it was written, and requests.

use std::fmt;

use anyhow::{Context, bail};

/// One value of RESP2 or RESP3, with its type byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// `+ - : _ # , (`: what stands on the line.
    Line(u8, Vec<u8>),
    /// `$ ! =`: the bytes, or RESP2's null.
    Blob(u8, Option<Vec<u8>>),
    /// `* % ~ > |`: the items (of a map, names and values in turn), or RESP2's null.
    Many(u8, Option<Vec<Self>>),
}

impl Value {
    /// The first value in `bytes` and how long it is, once all of it is there.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Self, usize)>> {
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else { return Ok(None) };
        if end < 2 || bytes[end - 1] != b'\r' {
            bail!("a line that is no RESP: {:?}", Text(&bytes[..=end]));
        }
        let (kind, line) = (bytes[0], &bytes[1..end - 1]);
        let mut at = end + 1;
        let value = match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Self::Line(kind, line.to_vec()),
            b'$' | b'!' | b'=' => match length(line)? {
                None => Self::Blob(kind, None),
                Some(n) => {
                    let Some(blob) = bytes.get(at..at + n + 2) else { return Ok(None) };
                    if !blob.ends_with(b"\r\n") {
                        bail!("a blob that does not end: {:?}", Text(blob));
                    }
                    at += n + 2;
                    Self::Blob(kind, Some(blob[..n].to_vec()))
                }
            },
            b'*' | b'%' | b'~' | b'>' | b'|' => match length(line)? {
                None => Self::Many(kind, None),
                Some(n) => {
                    let n = if matches!(kind, b'%' | b'|') { n * 2 } else { n };
                    let mut items = Vec::new();
                    for _ in 0..n {
                        let Some((item, took)) = Self::parse(&bytes[at..])? else {
                            return Ok(None);
                        };
                        items.push(item);
                        at += took;
                    }
                    Self::Many(kind, Some(items))
                }
            },
            _ => bail!("no type of RESP: {:?}", Text(&bytes[..=end])),
        };
        Ok(Some((value, at)))
    }

    /// The text of a line or blob.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Line(_, text) | Self::Blob(_, Some(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Many(_, Some(items)) => items,
            _ => &[],
        }
    }

    /// Of an integer.
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Line(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Line(b'-', _) | Self::Blob(b'!', _))
    }

    /// The text of the first item.
    pub(crate) fn first(&self) -> &[u8] {
        self.items().first().and_then(Self::text).unwrap_or_default()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(kind, text) => write!(f, "{}{:?}", *kind as char, Text(text)),
            Self::Blob(kind, Some(text)) => write!(f, "{}{:?}", *kind as char, Text(text)),
            Self::Blob(kind, None) | Self::Many(kind, None) => write!(f, "{}-1", *kind as char),
            Self::Many(kind, Some(items)) => {
                write!(f, "{}", *kind as char)?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

/// Bytes shown as text.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        write!(f, "{}", self.0[..self.0.len().min(SHOWN)].escape_ascii())?;
        if self.0.len() > SHOWN { write!(f, "...({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// Appends a request.
pub(crate) fn request(args: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn length(line: &[u8]) -> anyhow::Result<Option<usize>> {
    let text = std::str::from_utf8(line)?;
    if text == "-1" {
        return Ok(None);
    }
    text.parse().map(Some).with_context(|| format!("no length: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_once_all_of_it_is_there() {
        let bytes = b"%1\r\n+a\r\n*2\r\n$2\r\n\r\n\r\n_\r\n:1\r\n";
        let whole = bytes.len() - 4;
        for n in 0..whole {
            assert_eq!(Value::parse(&bytes[..n]).unwrap(), None, "{n}");
        }
        let (value, took) = Value::parse(bytes).unwrap().unwrap();
        assert_eq!(took, whole);
        assert_eq!(format!("{value:?}"), r#"%[+a, *[$\r\n, _]]"#);
        assert!(Value::parse(b"SET a\r\n").is_err());
    }
}
