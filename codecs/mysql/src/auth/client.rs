//! The client's side of every plugin.

use std::sync::Arc;

use wiremesh::Password;

use super::rsa::with_nul;
use super::{AuthError, Channel, ED25519_SALT, NativeKey, Plugin, PublicKey, SALT, ed25519, sha2};

/// Where a client has the server's RSA key from.
#[derive(Clone, Debug, Default)]
pub enum KeySource {
    /// From nowhere: over an open channel the full leg of the SHA-2 plugins is an error.
    #[default]
    None,
    /// From the server, as it is asked for a password: whoever is on the way can put in a key of its own.
    Asked,
    /// Known beforehand.
    Known(Arc<PublicKey>),
}

/// One exchange of a plugin, as a client.
#[derive(Debug)]
pub struct ClientAuth {
    plugin: Plugin,
    password: Password,
    salt: Vec<u8>,
    channel: Channel,
    keys: KeySource,
    awaits: Awaits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// `caching_sha2_password`: whether the first answer was enough.
    Verdict,
    /// The server's RSA key.
    Key,
    /// Nothing but the OK.
    End,
}

/// Says that the first answer was enough.
pub(super) const FAST_OK: u8 = 3;
/// Asks for the password itself.
pub(super) const FULL: u8 = 4;
/// Asks the server for its key.
pub(super) const ASK_KEY: u8 = 2;
/// The same, in `sha256_password`.
const ASK_KEY_SHA256: u8 = 1;

impl ClientAuth {
    /// Begins, and gives the first answer to the server's salt. A NUL at the salt's end is not part of it.
    ///
    /// # Errors
    /// [`AuthError::Salt`]; [`AuthError::NeedsPrivacy`] and [`AuthError::NeedsKey`] where the password would have to cross
    /// an open channel.
    pub fn start(
        plugin: Plugin,
        password: &Password,
        salt: &[u8],
        channel: Channel,
        keys: &KeySource,
    ) -> Result<(Self, Vec<u8>), AuthError> {
        let salt = match plugin {
            Plugin::ClearPassword => &[],
            Plugin::ClientEd25519 => salt_of_len(plugin, salt, ED25519_SALT)?,
            Plugin::NativePassword | Plugin::CachingSha2 | Plugin::Sha256 => {
                salt_of_len(plugin, salt, SALT)?
            }
        };
        let mut auth = Self {
            plugin,
            password: password.clone(),
            salt: salt.to_vec(),
            channel,
            keys: keys.clone(),
            awaits: Awaits::End,
        };
        let answer = auth.first()?;
        Ok((auth, answer))
    }

    /// The plugin.
    pub fn plugin(&self) -> Plugin {
        self.plugin
    }

    /// What to answer, if anything, to more data of the server's: a packet's body without its first byte.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`AuthError::Unexpected`] and [`AuthError::Key`] where the data makes no sense.
    pub fn on_more(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, AuthError> {
        match (self.awaits, data) {
            (Awaits::Verdict, [FAST_OK]) => {
                self.awaits = Awaits::End;
                Ok(None)
            }
            (Awaits::Verdict, [FULL]) => self.whole_password(ASK_KEY).map(Some),
            (Awaits::Key, pem) => {
                self.awaits = Awaits::End;
                PublicKey::from_pem(pem)?.encrypt(&self.password, &self.salt).map(Some)
            }
            (Awaits::Verdict | Awaits::End, _) => Err(AuthError::Unexpected(self.plugin)),
        }
    }

    fn first(&mut self) -> Result<Vec<u8>, AuthError> {
        let password = self.password.bytes();
        Ok(match self.plugin {
            Plugin::NativePassword | Plugin::CachingSha2 if password.is_empty() => Vec::new(),
            Plugin::NativePassword => NativeKey::of(password).answer(&self.salt).to_vec(),
            Plugin::CachingSha2 => {
                self.awaits = Awaits::Verdict;
                sha2::answer(password, &self.salt).to_vec()
            }
            Plugin::Sha256 if password.is_empty() => vec![0],
            Plugin::Sha256 => self.whole_password(ASK_KEY_SHA256)?,
            Plugin::ClientEd25519 => ed25519::sign(password, &self.salt).to_vec(),
            Plugin::ClearPassword if self.channel == Channel::Private => self.clear(),
            Plugin::ClearPassword => return Err(AuthError::NeedsPrivacy(self.plugin)),
        })
    }

    /// The password so that the server sees it, and nobody else; or `ask`.
    fn whole_password(&mut self, ask: u8) -> Result<Vec<u8>, AuthError> {
        self.awaits = Awaits::End;
        match (self.channel, &self.keys) {
            (Channel::Private, _) => Ok(self.clear()),
            (Channel::Open, KeySource::Known(key)) => key.encrypt(&self.password, &self.salt),
            (Channel::Open, KeySource::Asked) => {
                self.awaits = Awaits::Key;
                Ok(vec![ask])
            }
            (Channel::Open, KeySource::None) => Err(AuthError::NeedsKey(self.plugin)),
        }
    }

    fn clear(&self) -> Vec<u8> {
        with_nul(&self.password).bytes().to_vec()
    }
}

fn salt_of_len(plugin: Plugin, salt: &[u8], wanted: usize) -> Result<&[u8], AuthError> {
    match salt.split_at_checked(wanted) {
        Some((salt, [] | [0])) => Ok(salt),
        _ => Err(AuthError::Salt { plugin, wanted, seen: salt.len() }),
    }
}
