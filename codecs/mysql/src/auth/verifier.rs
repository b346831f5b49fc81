use super::{AuthError, Ed25519Key, FastDigest, NativeHash, NativeKey, Plugin, SALT, ShaCrypt};

/// What is kept of an account to check who logs in, and by that the plugin it logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verifier {
    /// Of `mysql_native_password`.
    Native(NativeHash),
    /// Of `caching_sha2_password`, where the password was once known: serves the fast leg and the full one.
    Sha2(FastDigest),
    /// Of `caching_sha2_password`, where only the stored hash is: every login is a full one. With the digest that was
    /// [learnt](super::Learnt::Password) from an earlier login, the fast leg is served too.
    Sha2Stored(ShaCrypt, Option<FastDigest>),
    /// Of `client_ed25519`.
    Ed25519(Ed25519Key),
    /// The account has no password, and only a client that gives none is let in.
    Empty(Plugin),
    /// There is no such account. The exchange is as with one, so that it cannot be told.
    Nobody(Plugin),
}

impl Verifier {
    /// That of a password.
    ///
    /// # Errors
    /// [`AuthError::Stored`] for plugins that keep nothing of their own.
    pub fn of(plugin: Plugin, password: &[u8]) -> Result<Self, AuthError> {
        match plugin {
            _ if password.is_empty() => Ok(Self::Empty(plugin)),
            Plugin::NativePassword => Ok(Self::Native(NativeKey::of(password).hash())),
            Plugin::CachingSha2 => Ok(Self::Sha2(FastDigest::of(password))),
            Plugin::ClientEd25519 => Ok(Self::Ed25519(Ed25519Key::of(password))),
            Plugin::Sha256 | Plugin::ClearPassword => Err(AuthError::Stored(plugin)),
        }
    }

    /// Reads what a server shows as the account's `authentication_string`.
    ///
    /// # Errors
    /// [`AuthError::Stored`] where the plugin stores no such thing.
    pub fn parse(plugin: Plugin, stored: &[u8]) -> Result<Self, AuthError> {
        let text = || std::str::from_utf8(stored).map_err(|_| AuthError::Stored(plugin));
        match plugin {
            _ if stored.is_empty() => Ok(Self::Empty(plugin)),
            Plugin::NativePassword => NativeHash::parse(text()?).map(Self::Native),
            Plugin::CachingSha2 => ShaCrypt::parse(stored).map(|hash| Self::Sha2Stored(hash, None)),
            Plugin::ClientEd25519 => Ed25519Key::parse(text()?).map(Self::Ed25519),
            Plugin::Sha256 | Plugin::ClearPassword => Err(AuthError::Stored(plugin)),
        }
    }

    /// One that nobody gets past, and that cannot be told from this one: for names that nobody has. `unknown` is a password
    /// that nobody knows.
    #[must_use]
    pub fn decoy(&self, unknown: &[u8]) -> Self {
        match self {
            Self::Sha2Stored(hash, digest) => {
                Self::Sha2Stored(hash.decoy(), digest.as_ref().map(|_| FastDigest::of(unknown)))
            }
            _ => Self::of(self.plugin(), unknown).unwrap_or_else(|_| Self::Nobody(self.plugin())),
        }
    }

    /// The plugin that the account logs in with.
    pub fn plugin(&self) -> Plugin {
        match self {
            Self::Native(_) => Plugin::NativePassword,
            Self::Sha2(_) | Self::Sha2Stored(..) => Plugin::CachingSha2,
            Self::Ed25519(_) => Plugin::ClientEd25519,
            Self::Empty(plugin) | Self::Nobody(plugin) => *plugin,
        }
    }

    /// Whether this is the password. May take milliseconds.
    pub fn check_password(&self, password: &[u8]) -> bool {
        match self {
            Self::Native(hash) => hash.check_password(password),
            Self::Sha2(digest) => digest.check_password(password),
            Self::Sha2Stored(hash, _) => hash.check_password(password),
            Self::Ed25519(key) => key.check_password(password),
            Self::Empty(_) => password.is_empty(),
            Self::Nobody(_) => {
                // As long as with an account.
                std::hint::black_box(ShaCrypt::of(password, [b'x'; SALT]).is_ok());
                false
            }
        }
    }
}
