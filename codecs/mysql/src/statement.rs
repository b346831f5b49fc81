//! Where in a command the statement stands, and which statement an execution is of.

use std::collections::HashMap;

use crate::{
    Capabilities, QueryAttributes,
    frame::Known,
    wire::{Reader, Short},
};

/// Digests of so many prepared statements are kept for a connection; of those prepared beyond it none is known.
const MAX_PREPARED: usize = 1024;

/// By this id MariaDB's clients mean the statement that was prepared last.
const LAST: u32 = u32::MAX;

/// Where the text begins in what follows the code of a `COM_QUERY`: behind the query's attributes, where there are any.
///
/// # Errors
/// They are not all there, or of a type that there is not.
pub fn text_offset(body: &[u8], capabilities: Capabilities) -> Result<usize, Short> {
    if !capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(0);
    }
    let mut rest = Reader::new(body);
    QueryAttributes::take(&mut rest)?;
    Ok(body.len().saturating_sub(rest.rest().len()))
}

/// The schema that a statement makes the session's, if it is nothing but a `USE`.
pub(crate) fn used_schema(text: &[u8]) -> Option<&[u8]> {
    let (word, rest) = text.trim_ascii().split_at_checked(3)?;
    if !word.eq_ignore_ascii_case(b"use") {
        return None;
    }
    let rest = rest.strip_suffix(b";").unwrap_or(rest);
    let name = rest.trim_ascii();
    if let Some(quoted) = name.strip_prefix(b"`") {
        return quoted.strip_suffix(b"`").filter(|name| !name.contains(&b'`'));
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"_$".contains(byte);
    (rest.len() > name.len() && !name.is_empty() && name.iter().all(plain)).then_some(name)
}

/// The digests of a connection's prepared statements, by id.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    digests: HashMap<u32, Known>,
    /// What was prepared last, unless it was refused or is closed.
    last: Option<(u32, Known)>,
}

impl Prepared {
    /// A statement was prepared.
    pub(crate) fn insert(&mut self, id: u32, digest: Known) {
        if self.digests.len() < MAX_PREPARED || self.digests.contains_key(&id) {
            self.digests.insert(id, digest.clone());
        }
        self.last = Some((id, digest));
    }

    /// A statement was refused, or prepared and is not known: nothing that is known is the last one.
    pub(crate) fn forget_last(&mut self) {
        self.last = None;
    }

    /// The digest of the statement that a command's bytes behind its code begin with.
    pub(crate) fn get(&self, body: &[u8]) -> Option<Known> {
        match Reader::new(body).u32() {
            Ok(LAST) => self.last.as_ref().map(|(_, digest)| digest.clone()),
            Ok(id) => self.digests.get(&id).cloned(),
            Err(Short) => None,
        }
    }

    /// It is closed.
    pub(crate) fn remove(&mut self, body: &[u8]) {
        let Ok(id) = Reader::new(body).u32() else { return };
        let last = self.last.take_if(|(last, _)| id == LAST || id == *last);
        self.digests.remove(&last.map_or(id, |(last, _)| last));
    }

    /// All are.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    #[test]
    fn the_text_is_behind_the_attributes() {
        assert_eq!(text_offset(b"select 1", Capabilities(0)), Ok(0));
        assert_eq!(text_offset(b"\0\x01select 1", ATTRIBUTES), Ok(2));
        assert_eq!(text_offset(b"\x01\x01\0\x01\xfe\0\x01a\x02hiselect 1", ATTRIBUTES), Ok(11));
        assert_eq!(text_offset(b"\x01\x01\0\x01\xfe\0\x01a\x02h", ATTRIBUTES), Err(Short));
    }

    #[test]
    fn what_is_used() {
        for text in ["use shop", " USE\n shop ; ", "Use`shop`", "use `shop`;"] {
            assert_eq!(used_schema(text.as_bytes()), Some(&b"shop"[..]), "{text}");
        }
        for text in ["useshop", "use", "use ", "use a b", "use a; select 1", "use `a``b`", "us"] {
            assert_eq!(used_schema(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn prepared_statements_are_bounded() {
        let mut prepared = Prepared::default();
        let digest = |n: u32| Known { digest: n.to_string().as_bytes().into(), whole: true };
        for id in 0..=1024 {
            prepared.insert(id, digest(id));
        }
        let get = |prepared: &Prepared, id: u32| prepared.get(&id.to_le_bytes());
        assert_eq!(get(&prepared, 1023), Some(digest(1023)));
        assert_eq!(get(&prepared, 1024), None);
        assert_eq!(get(&prepared, LAST), Some(digest(1024)));
        prepared.remove(&7_u32.to_le_bytes());
        assert_eq!((get(&prepared, 7), get(&prepared, LAST)), (None, Some(digest(1024))));
        prepared.insert(1024, digest(0));
        assert_eq!(get(&prepared, 1024), Some(digest(0)));
        prepared.remove(&LAST.to_le_bytes());
        assert_eq!((get(&prepared, 1024), get(&prepared, LAST)), (None, None));
        prepared.insert(1024, digest(0));
        prepared.forget_last();
        assert_eq!((get(&prepared, 1024), get(&prepared, LAST)), (Some(digest(0)), None));
        prepared.clear();
        assert_eq!((get(&prepared, 1024), get(&prepared, LAST)), (None, None));
    }
}
