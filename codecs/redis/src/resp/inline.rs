//! Requests as people type them: words, with quotes.

use std::borrow::Cow;

use bytes::BytesMut;
use wiremesh::DecodeError;

use super::write;

/// The words of a line without its end, as an array of bulks, and how many they are.
///
/// Words are parted by white space. `"..."` and `'...'` begin anywhere in a word and end it; in the former `\n`, `\r`,
/// `\t`, `\b`, `\a`, `\xHH` stand for one byte and `\` before any other for that other, in the latter only `\'` is
/// special. (`sdssplitargs` of the server.)
pub(super) fn split(line: &[u8]) -> Result<(BytesMut, usize), DecodeError> {
    let (mut count, mut error) = (0usize, None);
    let array = write::collection(b'*', |out| {
        let mut rest = skip_space(line);
        while !rest.is_empty() {
            match word(rest) {
                Ok((word, left)) => {
                    write::bulk(out, &word);
                    count = count.saturating_add(1);
                    rest = skip_space(left);
                }
                Err(unbalanced) => {
                    error = Some(unbalanced);
                    break;
                }
            }
        }
        count
    });
    error.map_or(Ok((array, count)), Err)
}

/// The word that `line` begins with, and what follows it.
fn word(line: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), DecodeError> {
    let plain = line.iter().position(|byte| ends_word(*byte) || matches!(byte, b'"' | b'\''));
    let plain = plain.unwrap_or(line.len());
    let (word, mut rest) = line.split_at_checked(plain).unwrap_or((line, &[]));
    if rest.first().is_none_or(|byte| ends_word(*byte)) {
        return Ok((Cow::Borrowed(word), rest));
    }
    let mut word = word.to_vec();
    while let Some((&byte, left)) = rest.split_first() {
        match byte {
            b'"' | b'\'' => return quoted(byte, left, word),
            byte if ends_word(byte) => break,
            byte => word.push(byte),
        }
        rest = left;
    }
    Ok((Cow::Owned(word), rest))
}

/// What stands between quotes, added to `word`.
fn quoted(
    quote: u8,
    mut rest: &[u8],
    mut word: Vec<u8>,
) -> Result<(Cow<'_, [u8]>, &[u8]), DecodeError> {
    loop {
        let (byte, left) = match (quote, rest) {
            (_, []) => return Err(UNBALANCED),
            (b'"', [b'\\', b'x', high, low, left @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), left)
            }
            (b'"', [b'\\', escaped, left @ ..]) => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                };
                (byte, left)
            }
            (b'\'', [b'\\', b'\'', left @ ..]) => (b'\'', left),
            (_, [byte, left @ ..]) if *byte == quote => {
                return match left.first() {
                    Some(next) if !is_space(*next) => Err(UNBALANCED),
                    _ => Ok((Cow::Owned(word), left)),
                };
            }
            (_, [byte, left @ ..]) => (*byte, left),
        };
        word.push(byte);
        rest = left;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

/// White space as C has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Less than all white space: the server lets the others be part of a word.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn skip_space(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_space(*byte)).unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}

pub(super) const QUOTES: &str = "quotes";
const UNBALANCED: DecodeError = DecodeError::Malformed { what: QUOTES };
