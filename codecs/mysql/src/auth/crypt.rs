//! The salted hash of many rounds that `caching_sha2_password` stores: SHA-256 crypt, with a salt of 20 bytes.

use std::fmt;

use super::hash::{same, sha256};
use super::{AuthError, MAX_PASSWORD, Plugin, SALT};

/// A stored password, shown as `$A$`, the rounds in thousands as three hexadecimal digits, `$`, the salt's 20 bytes and
/// 43 characters of hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ShaCrypt {
    thousands: u16,
    salt: [u8; SALT],
    hash: [u8; HASH],
}

/// The length of the hash as text: 32 bytes at 6 bits a character.
const HASH: usize = 43;

/// MySQL's `caching_sha2_password_digest_rounds` is from 5000 to 4095000; more than its default, ten times over, would let
/// a login cost more than the connection it is for.
const THOUSANDS: std::ops::RangeInclusive<u16> = 5..=50;

impl ShaCrypt {
    /// Hashes a password with MySQL's usual 5000 rounds. The salt is [to be made](super::salt_of) of random bytes.
    ///
    /// # Errors
    /// [`AuthError::TooLong`] over [`MAX_PASSWORD`].
    pub fn of(password: &[u8], salt: [u8; SALT]) -> Result<Self, AuthError> {
        if password.len() > MAX_PASSWORD {
            return Err(AuthError::TooLong(MAX_PASSWORD));
        }
        let thousands = *THOUSANDS.start();
        Ok(Self { thousands, salt, hash: crypt(password, &salt, rounds(thousands)) })
    }

    /// Reads what MySQL shows as `authentication_string`. It may have bytes that are not printable.
    ///
    /// # Errors
    /// [`AuthError::Stored`] where `text` is something else, or of more than 50,000 rounds.
    pub fn parse(text: &[u8]) -> Result<Self, AuthError> {
        Self::read(text).ok_or(AuthError::Stored(Plugin::CachingSha2))
    }

    /// Whether this is the password. Takes milliseconds, all of them busy.
    pub fn check_password(&self, password: &[u8]) -> bool {
        // Time grows with the square of the length.
        password.len() <= MAX_PASSWORD
            && same(&crypt(password, &self.salt, rounds(self.thousands)), &self.hash)
    }

    /// One of as many rounds whose password nobody knows.
    pub(super) fn decoy(&self) -> Self {
        Self { thousands: self.thousands, salt: [b'x'; SALT], hash: [b'.'; HASH] }
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (digits, rest) = text.strip_prefix(b"$A$")?.split_first_chunk::<3>()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let thousands = u16::from_str_radix(digits, 16).ok()?;
        let (salt, hash) = rest.strip_prefix(b"$")?.split_first_chunk::<SALT>()?;
        let hash = <[u8; HASH]>::try_from(hash).ok()?;
        let known = hash.iter().all(|byte| ALPHABET.contains(byte));
        (known && THOUSANDS.contains(&thousands)).then_some(Self { thousands, salt: *salt, hash })
    }

    /// What [`parse`](Self::parse) reads.
    pub fn stored(&self) -> Vec<u8> {
        let mut out = format!("$A${:03X}$", self.thousands).into_bytes();
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.hash);
        out
    }
}

impl fmt::Debug for ShaCrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShaCrypt")
    }
}

fn rounds(thousands: u16) -> u32 {
    u32::from(thousands).saturating_mul(1000)
}

/// SHA-256 crypt as specified by Ulrich Drepper, for salts of any length.
fn crypt(password: &[u8], salt: &[u8], rounds: u32) -> [u8; HASH] {
    let first = sha256(&[password, salt, password]);
    let stretched = stretch(&first, password.len());
    let mut pieces: Vec<&[u8]> = vec![password, salt, &stretched];
    let mut bits = password.len();
    while bits > 0 {
        pieces.push(if bits & 1 == 1 { &first } else { password });
        bits >>= 1;
    }
    let mut digest = sha256(&pieces);
    let long = sha256(&vec![password; password.len()]);
    let long = stretch(&long, password.len());
    let [times, ..] = digest;
    let salted = sha256(&vec![salt; usize::from(times).saturating_add(16)]);
    let salted = stretch(&salted, salt.len());
    for round in 0..rounds {
        let odd = round % 2 == 1;
        digest = sha256(&[
            if odd { &long } else { &digest },
            if round % 3 == 0 { &[] } else { &salted },
            if round % 7 == 0 { &[] } else { &long },
            if odd { &digest } else { &long },
        ]);
    }
    text(&digest)
}

/// A digest over and over, up to a length.
fn stretch(digest: &[u8; 32], len: usize) -> Vec<u8> {
    digest.iter().copied().cycle().take(len).collect()
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A digest at 6 bits a character, its bytes in the order of the specification.
fn text(digest: &[u8; 32]) -> [u8; HASH] {
    const ORDER: [[usize; 3]; 10] = [
        [0, 10, 20],
        [21, 1, 11],
        [12, 22, 2],
        [3, 13, 23],
        [24, 4, 14],
        [15, 25, 5],
        [6, 16, 26],
        [27, 7, 17],
        [18, 28, 8],
        [9, 19, 29],
    ];
    let at = |index: usize| u32::from(digest.get(index).copied().unwrap_or_default());
    let triple = |[a, b, c]: [usize; 3]| at(a) << 16 | at(b) << 8 | at(c);
    let words = ORDER.into_iter().map(triple).chain([at(31) << 8 | at(30)]);
    let sixths = words.flat_map(|word| [0, 6, 12, 18].map(|shift| (word >> shift) & 0x3f));
    let mut out = [0; HASH];
    for (out, sixth) in out.iter_mut().zip(sixths) {
        let letter = usize::try_from(sixth).ok().and_then(|sixth| ALPHABET.get(sixth));
        *out = letter.copied().unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_own_vector() {
        let hash = crypt(b"Hello world!", b"saltstring", 5000);
        assert_eq!(hash, *b"5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5");
    }

    #[test]
    fn a_password_longer_than_a_digest() {
        // `openssl passwd -5 -salt 0123456789abcdef`.
        let salt = b"0123456789abcdef";
        let password = b"a long one, longer than a digest is: 56 bytes and some more";
        let hash = b"pd6cn7GJqTi2qCYKfuDUbheD1NoMlsalbUDIdGjzNUA";
        assert_eq!(crypt(password, salt, 5000), *hash);
    }

    #[test]
    fn what_mysql_stores() {
        // `authentication_string` of MySQL 8.0.33's.
        let text = b"$A$005$,fTg;3\x11;\x1am\x15\x04\x05?\x1dG\x1f\x12y\x1fOMl2JF77WSTk4YLUbD67JSX9OZDIiTcHWgG6GpiWCrD";
        let stored = ShaCrypt::parse(text).expect("MySQL 8.0.33 has it so");
        assert!(stored.check_password(b"sha2pw"));
        assert!(!stored.check_password(b"sha2pw\0"));
    }

    #[test]
    fn parts_are_read_back() {
        let stored = ShaCrypt::of(b"secret", *b"0123456789abcdefghij").expect("it is short");
        let text = stored.stored();
        assert_eq!((text.len(), &text[..27]), (70, &b"$A$005$0123456789abcdefghij"[..]));
        assert_eq!(ShaCrypt::parse(&text), Ok(stored));
        let none = Err(AuthError::Stored(Plugin::CachingSha2));
        assert_eq!(ShaCrypt::parse(&text[..69]), none);
        assert_eq!(ShaCrypt::parse(&text[1..]), none);
        for (at, with) in [(1, b'B'), (3, b'g'), (4, b'f'), (6, b'0'), (69, b'$')] {
            let mut text = text.clone();
            text[at] = with;
            assert_eq!(ShaCrypt::parse(&text), none, "{at}");
        }
    }

    #[test]
    fn long_passwords_are_not_looked_at() {
        let salt = *b"0123456789abcdefghij";
        assert_eq!(ShaCrypt::of(&[b'x'; 257], salt), Err(AuthError::TooLong(256)));
        let stored = ShaCrypt::of(&[b'x'; 256], salt).expect("it is short enough");
        assert!(stored.check_password(&[b'x'; 256]) && !stored.check_password(&[b'x'; 257]));
    }
}
