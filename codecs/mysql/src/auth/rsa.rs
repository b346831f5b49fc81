//! RSA, for a password that is to cross an open connection.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wiremesh::Password;
use zeroize::Zeroizing;

use super::AuthError;

/// A server's public key.
pub struct PublicKey(OaepPublicEncryptingKey);

/// The longest PEM that is read, in bytes: a key of 16 Kibit.
const MAX_PEM: usize = 8 << 10;

impl PublicKey {
    /// Reads the PEM that a server sends, a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`AuthError::Key`] where it is none, or not of an RSA key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthError> {
        let der = der("PUBLIC KEY", pem)?;
        let key = PublicEncryptingKey::from_der(&der);
        let key = key.map_err(|_| AuthError::Key("is not an RSA public key"))?;
        let key = OaepPublicEncryptingKey::new(key);
        Ok(Self(key.map_err(|_| AuthError::Key("cannot encrypt"))?))
    }

    /// What a client sends of its password: that and a NUL, XOR the salt over and over, by RSA-OAEP with SHA-1. The padding
    /// takes its randomness from the system.
    ///
    /// # Errors
    /// [`AuthError::TooLong`] where the password does not fit into the key.
    pub fn encrypt(&self, password: &Password, salt: &[u8]) -> Result<Vec<u8>, AuthError> {
        let plain = masked(with_nul(password).bytes(), salt);
        let room = self.0.max_plaintext_size(&OAEP_SHA1_MGF1SHA1);
        if plain.bytes().len() > room {
            return Err(AuthError::TooLong(room.saturating_sub(1)));
        }
        let mut out = vec![0; self.0.ciphertext_size()];
        self.0
            .encrypt(&OAEP_SHA1_MGF1SHA1, plain.bytes(), &mut out, None)
            .map_err(|_| AuthError::Key("cannot encrypt"))?;
        Ok(out)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits)", self.0.key_size_bits())
    }
}

/// The key by which we, as a server, are sent passwords.
pub struct PrivateKey {
    key: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

impl PrivateKey {
    /// Reads a PEM of PKCS#8, as MySQL keeps it in `private_key.pem` where OpenSSL 3 made it.
    ///
    /// # Errors
    /// [`AuthError::Key`] where it is none, or not of an RSA key of 2048 bits or more.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthError> {
        let der = der("PRIVATE KEY", pem)?;
        let key = PrivateDecryptingKey::from_pkcs8(&der);
        Self::of(key.map_err(|_| AuthError::Key("is not an RSA private key in PKCS#8"))?)
    }

    /// Makes one of 2048 bits, as servers do at their first start. The randomness is taken from the system, since what makes
    /// the key does not take any other. Takes some 100 ms.
    ///
    /// # Errors
    /// [`AuthError::Key`] where the system has no randomness.
    pub fn generate() -> Result<Self, AuthError> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048);
        Self::of(key.map_err(|_| AuthError::Key("cannot be made"))?)
    }

    fn of(key: PrivateDecryptingKey) -> Result<Self, AuthError> {
        let public: PublicKeyX509Der<'static> =
            key.public_key().as_der().map_err(|_| AuthError::Key("has no public part"))?;
        let public_pem = pem_of("PUBLIC KEY", public.as_ref());
        let key = OaepPrivateDecryptingKey::new(key);
        let key = key.map_err(|_| AuthError::Key("cannot decrypt"))?;
        Ok(Self { key, public_pem })
    }

    /// The public part, as clients are sent it.
    pub fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// The password that a client encrypted; `None` where it did not. That must not be told apart from a wrong password.
    pub fn decrypt(&self, cipher: &[u8], salt: &[u8]) -> Option<Password> {
        let mut plain = Zeroizing::new(vec![0; self.key.min_output_size()]);
        let plain = self.key.decrypt(&OAEP_SHA1_MGF1SHA1, cipher, &mut plain, None).ok()?;
        let plain = masked(plain, salt);
        plain.bytes().strip_suffix(&[0]).map(Password::new)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({} bits)", self.key.key_size_bits())
    }
}

/// The bytes and a NUL, as plugins send a password.
pub(super) fn with_nul(password: &Password) -> Password {
    let mut bytes = Vec::with_capacity(password.bytes().len().saturating_add(1));
    bytes.extend_from_slice(password.bytes());
    bytes.push(0);
    Password::new(bytes)
}

fn masked(bytes: &[u8], salt: &[u8]) -> Password {
    let masked = bytes.iter().zip(salt.iter().cycle()).map(|(byte, salt)| byte ^ salt);
    Password::new(masked.collect::<Vec<u8>>())
}

/// The bytes within a PEM of this label.
fn der(label: &str, pem: &[u8]) -> Result<Vec<u8>, AuthError> {
    let none = || AuthError::Key("is not PEM of the kind that is needed");
    if pem.len() > MAX_PEM {
        return Err(AuthError::Key("is too long"));
    }
    let text = std::str::from_utf8(pem).map_err(|_| none())?;
    let (_, text) = text.split_once(&format!("-----BEGIN {label}-----")).ok_or_else(none)?;
    let (text, _) = text.split_once(&format!("-----END {label}-----")).ok_or_else(none)?;
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|_| none())
}

fn pem_of(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out.into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aws_lc_rs::encoding::Pkcs8V1Der;

    /// A key pair, made anew.
    pub(crate) fn key() -> PrivateKey {
        PrivateKey::from_pem(&made()).expect("it was made so")
    }

    fn made() -> Vec<u8> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("there is randomness");
        let der: Pkcs8V1Der<'_> = key.as_der().expect("it has an encoding");
        pem_of("PRIVATE KEY", der.as_ref())
    }

    #[test]
    fn a_password_goes_there_and_back() {
        let (key, salt) = (key(), b"01234567890123456789");
        let public = PublicKey::from_pem(key.public_pem()).expect("it was made so");
        for password in ["", "sha2pw", "one that is longer than the salt has bytes"] {
            let cipher = public.encrypt(&Password::new(password), salt).expect("it fits");
            assert_eq!(cipher.len(), 256);
            assert_eq!(key.decrypt(&cipher, salt), Some(Password::new(password)));
            assert_ne!(
                key.decrypt(&cipher, b"x1234567890123456789"),
                Some(Password::new(password))
            );
            assert_eq!(key.decrypt(&cipher[1..], salt), None);
            let mut broken = cipher;
            broken[9] ^= 1;
            assert_eq!(key.decrypt(&broken, salt), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let key = key();
        let public = PublicKey::from_pem(key.public_pem()).expect("it was made so");
        assert!(public.encrypt(&Password::new(vec![b'x'; 213]), b"salt").is_ok());
        let refused = public.encrypt(&Password::new(vec![b'x'; 214]), b"salt");
        assert_eq!(refused, Err(AuthError::TooLong(213)));
    }

    #[test]
    fn only_keys_are_keys() {
        let private = made();
        for none in [
            &b""[..],
            b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
            &private,
            &[b' '; 9000],
        ] {
            assert!(matches!(PublicKey::from_pem(none), Err(AuthError::Key(_))));
        }
        let key = PrivateKey::from_pem(&private).expect("it was made so");
        assert!(matches!(PrivateKey::from_pem(key.public_pem()), Err(AuthError::Key(_))));
        assert_eq!(format!("{key:?}"), "PrivateKey(2048 bits)");
        let made = PrivateKey::generate().expect("there is randomness");
        assert_eq!(format!("{made:?}"), "PrivateKey(2048 bits)");
        assert_ne!(made.public_pem(), key.public_pem());
    }
}
