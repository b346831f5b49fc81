//! How a client proves who it is: the authentication plugins of MySQL and MariaDB, both sides of each.
//!
//! | plugin | the client sends | what a server has to keep |
//! |---|---|---|
//! | `mysql_native_password` | SHA1(pw) XOR SHA1(salt + SHA1(SHA1(pw))) | SHA1(SHA1(pw)), `*HEX` |
//! | `caching_sha2_password` | SHA256(pw) XOR SHA256(SHA256(SHA256(pw)) + salt); the password itself where that was not enough | SHA256(SHA256(pw)) for the first, a salted hash of many rounds for the second, `$A$005$...` |
//! | `sha256_password` | the password itself | not served |
//! | `client_ed25519` (MariaDB) | a signature of the salt | the public key, in base64 |
//! | `mysql_clear_password` | the password itself | any of the above |
//!
//! A password itself goes only over a [private](Channel::Private) channel, or encrypted for the server's RSA key.
//!
//! Sources: the authentication chapters of MySQL's source documentation and of MariaDB's knowledge base.

mod client;
mod crypt;
mod ed25519;
mod hash;
mod native;
mod rsa;
mod server;
mod sha2;
mod verifier;

use thiserror::Error;

pub use self::client::{ClientAuth, KeySource};
pub use self::crypt::ShaCrypt;
pub use self::ed25519::Ed25519Key;
pub(crate) use self::hash::{key_of, sha256};
pub use self::native::{NativeHash, NativeKey};
#[cfg(test)]
pub(crate) use self::rsa::tests::key as test_key;
pub use self::rsa::{PrivateKey, PublicKey};
pub use self::server::{Learnt, ServerAuth, Verdict};
pub use self::sha2::FastDigest;
pub use self::verifier::Verifier;

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plugin {
    /// MySQL's up to 5.7, MariaDB's still.
    NativePassword,
    /// MySQL's since 8.0.
    CachingSha2,
    /// MySQL's of 5.6 and 5.7 for those who asked for it.
    Sha256,
    /// MariaDB's, of a plugin that is to be installed.
    ClientEd25519,
    /// The password as it is, for servers that pass it on (PAM, LDAP).
    ClearPassword,
}

impl Plugin {
    /// Every plugin and its name on the wire.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::NativePassword, "mysql_native_password"),
        (Self::CachingSha2, "caching_sha2_password"),
        (Self::Sha256, "sha256_password"),
        (Self::ClientEd25519, "client_ed25519"),
        (Self::ClearPassword, "mysql_clear_password"),
    ];

    /// The plugin of this name on the wire.
    pub fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|known| known.1.as_bytes() == name).map(|known| known.0)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|known| known.0 == self).map_or("", |known| known.1)
    }
}

/// Who can read what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Whoever is on the way.
    Open,
    /// Only the peer: TLS, or a socket of this machine.
    Private,
}

/// Why a proof cannot be given, or asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The peer wants a plugin that is not known here.
    #[error("the authentication plugin {0:?} is not known")]
    UnknownPlugin(String),
    /// The plugin sends the password itself, and the channel is open.
    #[error("{} sends the password as it is, and the connection is not encrypted", .0.name())]
    NeedsPrivacy(Plugin),
    /// The server wants the password encrypted for its RSA key, and it may not be asked for that key.
    #[error("{} needs the server's RSA key, which is not known", .0.name())]
    NeedsKey(Plugin),
    /// The salt's length is not the one of this plugin.
    #[error("a salt of {seen} bytes for {}, which has {wanted}", plugin.name())]
    Salt {
        /// The plugin.
        plugin: Plugin,
        /// The length it has.
        wanted: usize,
        /// The length that came.
        seen: usize,
    },
    /// The peer says something that is not in the plugin's exchange.
    #[error("{} does not expect this", .0.name())]
    Unexpected(Plugin),
    /// A key cannot be read or used.
    #[error("the RSA key {0}")]
    Key(&'static str),
    /// A stored hash is none.
    #[error("this is not what {} stores", .0.name())]
    Stored(Plugin),
    /// The password is too long for the plugin.
    #[error("the password has more than {0} bytes")]
    TooLong(usize),
}

/// The length of the salt of most plugins, in bytes.
pub const SALT: usize = 20;

/// The length of [`ClientEd25519`](Plugin::ClientEd25519)'s salt, in bytes.
pub const ED25519_SALT: usize = 32;

/// The longest password that is looked at, in bytes: MySQL's own limit for its SHA-2 plugins.
pub const MAX_PASSWORD: usize = 256;

/// Random bytes made fit for a greeting: there a salt is text, whose end some clients find by a NUL, and MySQL takes no
/// `$` because its stored hashes have one.
pub fn salt_of<const N: usize>(random: [u8; N]) -> [u8; N] {
    random.map(|byte| match byte & 0x7f {
        0 => 1,
        b'$' => b'%',
        byte => byte,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (plugin, name) in Plugin::ALL {
            assert_eq!(Plugin::of(name.as_bytes()), Some(plugin));
            assert_eq!(plugin.name(), name);
        }
        assert_eq!(Plugin::of(b"parsec"), None);
    }

    #[test]
    fn salts_have_no_byte_that_clients_stumble_over() {
        let salts = salt_of(std::array::from_fn::<u8, 256, _>(|n| n.to_le_bytes()[0]));
        assert!(salts.iter().all(|byte| (1..0x80).contains(byte) && *byte != b'$'));
        assert_eq!(salt_of([b'a', 0x80 | b'b']), *b"ab");
    }
}
