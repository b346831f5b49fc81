use std::borrow::Cow;

use wiremesh::{DecodeError, Limits};

use crate::wire::Reader;

/// What a client tells of itself beside its name: `program_name`, `_client_name`, `_pid` and the like. Names that begin
/// with an underscore are the client library's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Those of these bytes: length-encoded names and values in turn.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Checks how long they are, as on the wire.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), DecodeError> {
        match self.len() > limits.max_header {
            true => Err(DecodeError::limit("max_header", limits.max_header, self.len())),
            false => Ok(()),
        }
    }

    /// Each name and its value, up to the first that is not all there.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let mut bytes = Reader::new(&self.0);
        std::iter::from_fn(move || {
            let (name, value) = (bytes.lenenc_bytes().ok()?, bytes.lenenc_bytes().ok()?);
            Some((String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
        })
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().find(|attribute| attribute.0 == name).map(|attribute| attribute.1)
    }

    /// The bytes, as on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How long they are, as on the wire.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let attributes = Attributes::new(b"\x04_pid\x012\x0cprogram_name\x05shell\x03cut\x09off");
        let all: Vec<_> = attributes.iter().collect();
        assert_eq!(all, [("_pid".into(), "2".into()), ("program_name".into(), "shell".into())]);
        assert_eq!(attributes.get("program_name").as_deref(), Some("shell"));
        assert_eq!(attributes.get("cut"), None);
        assert!(Attributes::default().is_empty() && attributes.len() == 34);
    }
}
