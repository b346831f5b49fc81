//! `mysql_native_password`.

use std::fmt;

use super::hash::{same, sha1, xor};
use super::{AuthError, Plugin};

/// SHA1(password): as good as the password itself to this plugin.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeKey([u8; 20]);

impl NativeKey {
    /// That of a password.
    pub fn of(password: &[u8]) -> Self {
        Self(sha1(&[password]))
    }

    /// What proves it to a server that sent this salt.
    pub fn answer(&self, salt: &[u8]) -> [u8; 20] {
        xor(self.0, sha1(&[salt, &self.hash().0]))
    }

    /// What a server stores of it.
    pub fn hash(&self) -> NativeHash {
        NativeHash(sha1(&[&self.0]))
    }
}

impl fmt::Debug for NativeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeKey")
    }
}

/// SHA1(SHA1(password)), shown as `*` and 40 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeHash([u8; 20]);

impl NativeHash {
    /// Reads `*` and 40 hexadecimal digits.
    ///
    /// # Errors
    /// [`AuthError::Stored`] where `text` is something else.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        Self::hex(text).ok_or(AuthError::Stored(Plugin::NativePassword))
    }

    /// The key of whoever gave this answer to this salt, if it is the one that was hashed.
    pub fn check(&self, salt: &[u8], answer: &[u8]) -> Option<NativeKey> {
        let answer = <[u8; 20]>::try_from(answer).ok()?;
        let key = NativeKey(xor(answer, sha1(&[salt, &self.0])));
        same(&key.hash().0, &self.0).then_some(key)
    }

    /// Whether this is the password.
    pub fn check_password(&self, password: &[u8]) -> bool {
        same(&NativeKey::of(password).hash().0, &self.0)
    }

    fn hex(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('*')?.as_bytes();
        if digits.len() != 40 {
            return None;
        }
        let mut out = [0; 20];
        for (out, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let digit =
                    char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())?;
                *out = (*out << 4) | digit;
            }
        }
        Some(Self(out))
    }
}

impl fmt::Display for NativeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for NativeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_shown_as_servers_do() {
        // `password('natpw')` of MariaDB 10.11, and what MySQL 8.0.33 stores.
        let hash = NativeKey::of(b"natpw").hash();
        assert_eq!(hash.to_string(), "*1374EDB489482E02B373F1E4764607ADEACA73BB");
        assert_eq!(NativeHash::parse(&hash.to_string()), Ok(hash.clone()));
        assert_eq!(NativeHash::parse(&hash.to_string().to_lowercase()), Ok(hash));
        for none in ["", "*", "*12", &"0".repeat(41), &format!("*{}", "g".repeat(40))] {
            let refused = Err(AuthError::Stored(Plugin::NativePassword));
            assert_eq!(NativeHash::parse(none), refused, "{none}");
        }
    }

    #[test]
    fn an_answer_gives_the_key_away_and_only_the_right_one() {
        let (key, salt) = (NativeKey::of(b"natpw"), b"01234567890123456789");
        let answer = key.answer(salt);
        assert_eq!(key.hash().check(salt, &answer), Some(key.clone()));
        assert_eq!(NativeKey::of(b"Natpw").hash().check(salt, &answer), None);
        assert_eq!(key.hash().check(b"11234567890123456789", &answer), None);
        assert_eq!(key.hash().check(salt, &answer[..19]), None);
        assert_eq!(key.hash().check(salt, b""), None);
    }
}
