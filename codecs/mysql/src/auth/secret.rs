use std::fmt;

use zeroize::Zeroizing;

use super::hash::same;

/// A password. Never shown, and gone from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Keeps these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none: an account without a password.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes and a NUL, as plugins send a password.
    pub(crate) fn with_nul(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len().saturating_add(1));
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Self::new(bytes)
    }
}

/// Takes a time that does not tell where two of one length differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let secret = Secret::new("natpw");
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.with_nul().bytes(), b"natpw\0");
        assert!(Secret::new("").is_empty() && !secret.is_empty());
        assert!(secret == Secret::new("natpw") && secret != Secret::new("natpW"));
    }
}
