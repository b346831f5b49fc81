//! The fast leg of `caching_sha2_password`.

use std::fmt;

use super::hash::{same, sha256, xor};

/// SHA256(SHA256(password)): enough to check a client's first answer, not to give one.
#[derive(Clone, PartialEq, Eq)]
pub struct FastDigest([u8; 32]);

impl FastDigest {
    /// That of a password.
    pub fn of(password: &[u8]) -> Self {
        Self(sha256(&[&sha256(&[password])]))
    }

    /// Whether whoever gave this answer to this salt has the password.
    pub fn check(&self, salt: &[u8], answer: &[u8]) -> bool {
        let Ok(answer) = <[u8; 32]>::try_from(answer) else {
            return false;
        };
        let once = xor(answer, sha256(&[&self.0, salt]));
        same(&sha256(&[&once]), &self.0)
    }

    /// Whether this is the password.
    pub fn check_password(&self, password: &[u8]) -> bool {
        same(&Self::of(password).0, &self.0)
    }
}

impl fmt::Debug for FastDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FastDigest")
    }
}

/// What proves the password to a server that sent this salt. The digest stands before the salt, as in MySQL's own client.
pub(super) fn answer(password: &[u8], salt: &[u8]) -> [u8; 32] {
    xor(sha256(&[password]), sha256(&[&FastDigest::of(password).0, salt]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_gives_the_answer() {
        let salt = b"01234567890123456789";
        let answer = answer(b"sha2pw", salt);
        let digest = FastDigest::of(b"sha2pw");
        assert!(digest.check(salt, &answer));
        assert!(!FastDigest::of(b"sha2pw ").check(salt, &answer));
        assert!(!digest.check(b"11234567890123456789", &answer));
        assert!(!digest.check(salt, &answer[..31]));
        assert!(digest.check_password(b"sha2pw") && !digest.check_password(b""));
        assert_eq!(format!("{digest:?}"), "FastDigest");
    }
}
