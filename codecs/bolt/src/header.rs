//! The header block: `keyLen(4) key valLen(4) value`, again and again, without a count. A length of -1 stands for null;
//! a pair with a null in it says nothing, but stays where it is.

use std::ops::Range;

use wiremesh::DecodeError;

/// The bytes that a pair takes.
pub(crate) fn size_of(name: &str, value: &str) -> usize {
    8usize.saturating_add(name.len()).saturating_add(value.len())
}

/// Whether the block is pairs to its end.
#[inline]
pub(crate) fn check(mut block: &[u8]) -> Result<(), DecodeError> {
    while !block.is_empty() {
        let Some((_, _, rest)) = pair(block) else {
            return Err(DecodeError::Malformed { what: "header key/value block" });
        };
        block = rest;
    }
    Ok(())
}

/// The value of `name` that a receiver would use: the last one.
#[inline]
pub(crate) fn find<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    let mut rest = block;
    while let Some((key, value, after)) = pair(rest) {
        if key == Some(name) && value.is_some() {
            found = value;
        }
        rest = after;
    }
    found
}

/// The pairs of a block that was [checked](check), nulls left out.
pub(crate) fn pairs(block: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut rest = block;
    std::iter::from_fn(move || {
        loop {
            let start = block.len().saturating_sub(rest.len());
            let (key, value, after) = pair(rest)?;
            rest = after;
            if let (Some(name), Some(value)) = (key, value) {
                let span = start..block.len().saturating_sub(after.len());
                return Some(Pair { name, value, span });
            }
        }
    })
}

/// A name, its value, and where in the block the two lie.
pub(crate) struct Pair<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) span: Range<usize>,
}

type Nullable<'a> = Option<&'a [u8]>;

#[inline]
fn pair(block: &[u8]) -> Option<(Nullable<'_>, Nullable<'_>, &[u8])> {
    let (key, rest) = text(block)?;
    let (value, rest) = text(rest)?;
    Some((key, value, rest))
}

#[inline]
fn text(block: &[u8]) -> Option<(Nullable<'_>, &[u8])> {
    let (len, rest) = block.split_first_chunk()?;
    let len = u32::from_be_bytes(*len);
    if len == u32::MAX {
        return Some((None, rest));
    }
    // Other negative lengths are longer than any block.
    let (text, rest) = rest.split_at_checked(len as usize)?;
    Some((Some(text), rest))
}
