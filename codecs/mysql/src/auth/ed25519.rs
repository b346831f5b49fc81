//! `client_ed25519`: Ed25519, but that the expanded key is the SHA-512 of the password, which may be of any length, and not
//! of a seed of 32 bytes. Its signatures are checked like all others.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use curve25519_dalek::{EdwardsPoint, Scalar, scalar::clamp_integer};
use zeroize::Zeroizing;

use super::hash::{same, sha512};
use super::{AuthError, Plugin};

/// The public key of a password, shown as 43 characters of base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    /// That of a password.
    pub fn of(password: &[u8]) -> Self {
        Expanded::of(password).public()
    }

    /// Reads MariaDB's form, base64 without padding.
    ///
    /// # Errors
    /// [`AuthError::Stored`] where `text` is something else.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let bytes = STANDARD_NO_PAD.decode(text).ok();
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        key.map(Self).ok_or(AuthError::Stored(Plugin::ClientEd25519))
    }

    /// Whether whoever signed this salt has the password.
    pub fn check(&self, salt: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(salt, signature).is_ok()
    }

    /// Whether this is the password.
    pub fn check_password(&self, password: &[u8]) -> bool {
        same(&Self::of(password).0, &self.0)
    }
}

impl fmt::Display for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Key")
    }
}

/// A client's signature of the server's salt.
pub(super) fn sign(password: &[u8], salt: &[u8]) -> [u8; 64] {
    let key = Expanded::of(password);
    let public = key.public();
    // As in RFC 8032, 5.1.6.
    let nonce = Scalar::from_bytes_mod_order_wide(&sha512(&[&key.prefix[..], salt]));
    let point = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
    let bound = Scalar::from_bytes_mod_order_wide(&sha512(&[&point, &public.0, salt]));
    #[allow(clippy::arithmetic_side_effects, reason = "modulo the order of the group")]
    let response = bound * Scalar::from_bytes_mod_order(*key.scalar) + nonce;
    let mut out = [0; 64];
    for (out, byte) in out.iter_mut().zip(point.into_iter().chain(response.to_bytes())) {
        *out = byte;
    }
    out
}

struct Expanded {
    scalar: Zeroizing<[u8; 32]>,
    prefix: Zeroizing<[u8; 32]>,
}

impl Expanded {
    fn of(password: &[u8]) -> Self {
        let digest = Zeroizing::new(sha512(&[password]));
        let (mut scalar, mut prefix) = ([0; 32], [0; 32]);
        for (to, from) in scalar.iter_mut().chain(&mut prefix).zip(digest.iter()) {
            *to = *from;
        }
        Self { scalar: Zeroizing::new(clamp_integer(scalar)), prefix: Zeroizing::new(prefix) }
    }

    fn public(&self) -> Ed25519Key {
        let scalar = Scalar::from_bytes_mod_order(*self.scalar);
        Ed25519Key(EdwardsPoint::mul_base(&scalar).compress().to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_servers_do() {
        // MariaDB's documentation: `ed25519_password('secret')`.
        let key = Ed25519Key::of(b"secret");
        assert_eq!(key.to_string(), "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY");
        assert_eq!(Ed25519Key::parse(&key.to_string()), Ok(key));
        // `authentication_string` of MariaDB 10.11's.
        let key = Ed25519Key::of(b"edpw");
        assert_eq!(key.to_string(), "LIEvGDGjHTmKyz3peLRjPqahOct5n6/BQCNm1bOvot4");
        for none in ["", "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJ", "*"] {
            assert_eq!(Ed25519Key::parse(none), Err(AuthError::Stored(Plugin::ClientEd25519)));
        }
    }

    #[test]
    fn a_seed_of_32_bytes_signs_as_the_standard_has_it() {
        // RFC 8032, 7.1, test 3.
        let seed = hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
        assert_eq!(sign(&seed, &[0xaf, 0x82])[..], hex(signature));
    }

    #[test]
    fn only_the_password_signs() {
        let (key, salt) = (Ed25519Key::of(b"edpw"), [7; 32]);
        let signature = sign(b"edpw", &salt);
        assert!(key.check(&salt, &signature));
        assert!(!key.check(&[8; 32], &signature));
        assert!(!key.check(&salt, &signature[..63]));
        assert!(!Ed25519Key::of(b"edpW").check(&salt, &signature));
        assert!(key.check_password(b"edpw") && !key.check_password(b""));
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }
}
