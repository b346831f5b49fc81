//! Who may log in at the proxy, and as whom the proxy logs in for each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use aws_lc_rs::rand;
use wiremesh::{OptionError, Password, User, UserSecret};
use zeroize::Zeroizing;

use super::Lane;
use crate::auth::{
    AuthError, FastDigest, Learnt, MAX_PASSWORD, Plugin, PrivateKey, Verifier, key_of,
};

/// Who may log in. Names are compared as bytes.
///
/// Names that nobody has are asked for a password like that of one of the accounts, and denied at the same cost.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: Vec<Account>,
    by_name: HashMap<Vec<u8>, usize>,
    /// By [`Lane::key`].
    by_key: HashMap<u64, usize>,
    /// One for each account.
    decoys: Vec<Verifier>,
    key: Option<Arc<PrivateKey>>,
}

/// Somebody who may log in.
#[derive(Clone, Debug)]
pub struct Account {
    /// The name.
    pub name: Vec<u8>,
    verifier: Verifier,
    /// As whom the proxy logs in for this one.
    pub upstream: Upstream,
}

/// As whom the proxy logs in at servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The name.
    pub user: Vec<u8>,
    /// The password.
    pub password: Password,
}

/// The longest name, in bytes: 32 characters on MySQL, 80 on MariaDB, of up to 4 bytes.
const MAX_NAME: usize = 320;

/// How many passwords are remembered in their fast form.
const MAX_LEARNT: usize = 4096;

/// What all accounts of the process have in common: they are made anew with each configuration, and by each worker.
///
/// The RSA key is made with the system's randomness, since what makes it takes no other; the rest is with it.
struct Process {
    /// What keys of lanes are made with, since they are numbers that may be shown.
    random: Zeroizing<[u8; 32]>,
    key: OnceLock<Option<Arc<PrivateKey>>>,
    /// Of stored hashes, as they are shown, the digest of the password that was found to be theirs.
    learnt: Mutex<HashMap<Vec<u8>, FastDigest>>,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

impl Process {
    fn get() -> &'static Self {
        PROCESS.get_or_init(|| {
            let mut random = Zeroizing::new([0; 32]);
            // Without randomness there are no accounts.
            let _ = rand::fill(&mut *random);
            Self { random, key: OnceLock::new(), learnt: Mutex::default() }
        })
    }

    fn key(&self) -> Option<Arc<PrivateKey>> {
        self.key.get_or_init(|| PrivateKey::generate().ok().map(Arc::new)).clone()
    }

    fn learnt(&self, stored: &[u8]) -> Option<FastDigest> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(stored).cloned()
    }

    fn learn(&self, stored: Vec<u8>, digest: FastDigest) {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if learnt.len() >= MAX_LEARNT {
            learnt.clear();
        }
        learnt.insert(stored, digest);
    }
}

impl Accounts {
    /// Those of the configuration.
    ///
    /// # Errors
    /// A user that nobody could log in as, in words that name it.
    pub fn new(users: &[User]) -> Result<Self, OptionError> {
        if users.is_empty() {
            return Err(wrong("whoever connects has to log in, so list who may"));
        }
        let mut unknown = Zeroizing::new([0; 32]);
        rand::fill(&mut *unknown).map_err(|_| wrong("the system has no randomness"))?;
        let mut all = Self::default();
        for user in users {
            let account =
                account(user).map_err(|why| wrong(format!("user {:?}: {why}", user.name)))?;
            let index = all.accounts.len();
            if all.by_name.insert(account.name.clone(), index).is_some() {
                return Err(wrong(format!("user {:?} is here twice", user.name)));
            }
            let key = account.upstream.key();
            let other = all.by_key.insert(key, index).and_then(|other| all.account(other));
            if other.is_some_and(|other| other.upstream != account.upstream) {
                return Err(wrong(format!("user {:?}: choose another password", user.name)));
            }
            all.decoys.push(account.verifier.decoy(&*unknown));
            all.accounts.push(account);
        }
        if all.plugin() == Plugin::CachingSha2 {
            all.key = Process::get().key();
        }
        Ok(all)
    }

    /// The plugin that greetings name: what clients have an answer to that needs no switch, for those accounts at least
    /// that log in by it.
    pub fn plugin(&self) -> Plugin {
        let sha2 = |account: &Account| account.verifier.plugin() == Plugin::CachingSha2;
        match self.accounts.iter().any(sha2) {
            true => Plugin::CachingSha2,
            false => Plugin::NativePassword,
        }
    }

    /// The key by which clients encrypt passwords on an open channel: one for the process.
    pub fn key(&self) -> Option<&Arc<PrivateKey>> {
        self.key.as_ref()
    }

    /// As whom the proxy logs in for the user of this name.
    pub fn upstream_of(&self, name: &[u8]) -> Option<&Upstream> {
        self.account(*self.by_name.get(name)?).map(|account| &account.upstream)
    }

    /// Whose name this is, and how to check that; `None`: nobody's, and the check cannot be passed.
    pub fn look_up(&self, name: &[u8]) -> (Option<usize>, Verifier) {
        let index = self.by_name.get(name).copied();
        if let Some((index, account)) = index.and_then(|at| Some((at, self.accounts.get(at)?))) {
            return (Some(index), account.verifier());
        }
        // Always the same for a name: else asking twice would tell.
        let at = key_of(&[name]).checked_rem(self.decoys.len() as u64).unwrap_or(0);
        let decoy = usize::try_from(at).ok().and_then(|at| self.decoys.get(at));
        (None, decoy.cloned().unwrap_or(Verifier::Nobody(Plugin::NativePassword)))
    }

    /// The account of this index.
    pub fn account(&self, index: usize) -> Option<&Account> {
        self.accounts.get(index)
    }

    /// Takes note of what the account's login has told, so that the next one is fast.
    pub fn learn(&self, index: usize, learnt: &Learnt) {
        if let (Learnt::Password(password), Some(Verifier::Sha2Stored(hash, None))) =
            (learnt, self.account(index).map(|account| &account.verifier))
        {
            Process::get().learn(hash.stored(), FastDigest::of(password.bytes()));
        }
    }

    /// As whom connections of this lane log in; `None`: none of the accounts has such a lane.
    pub fn upstream(&self, lane: Lane) -> Option<&Upstream> {
        let index = self.by_key.get(&lane.key())?;
        self.account(*index).map(|account| &account.upstream)
    }
}

impl Account {
    fn verifier(&self) -> Verifier {
        match &self.verifier {
            Verifier::Sha2Stored(hash, None) => {
                Verifier::Sha2Stored(hash.clone(), Process::get().learnt(&hash.stored()))
            }
            verifier => verifier.clone(),
        }
    }
}

impl Upstream {
    /// What tells it from others, by name and password: see [`Lane::key`].
    pub fn key(&self) -> u64 {
        // A name has no NUL.
        let random = &Process::get().random[..];
        key_of(&[random, &self.user, &[0], self.password.bytes()]) & Lane::KEYS
    }
}

fn account(user: &User) -> Result<Account, String> {
    if user.name.len() > MAX_NAME || user.upstream.user.len() > MAX_NAME {
        return Err(format!("a name has {MAX_NAME} bytes at most"));
    }
    let secret = match &user.secret {
        UserSecret::Known(secret) => secret,
        UserSecret::Hash(hash) => hash,
    };
    for (what, bytes) in [
        ("the name", user.name.as_bytes()),
        ("upstream.user", user.upstream.user.as_bytes()),
        ("the secret", secret.bytes()),
        ("upstream.password", user.upstream.password.bytes()),
    ] {
        if bytes.contains(&0) {
            return Err(format!("{what} has a NUL, which the protocol has no place for"));
        }
    }
    if user.upstream.password.bytes().len() > MAX_PASSWORD {
        return Err(format!("a password has {MAX_PASSWORD} bytes at most"));
    }
    let named = user.plugin.as_deref().map(plugin).transpose()?;
    let verifier = match &user.secret {
        UserSecret::Known(password) if password.bytes().len() > MAX_PASSWORD => {
            return Err(format!("a password has {MAX_PASSWORD} bytes at most"));
        }
        UserSecret::Known(password) => {
            Verifier::of(named.unwrap_or(Plugin::CachingSha2), password.bytes())
        }
        UserSecret::Hash(hash) => stored(named, hash.bytes()),
    };
    Ok(Account {
        name: user.name.clone().into_bytes(),
        verifier: verifier.map_err(|error| error.to_string())?,
        upstream: Upstream {
            user: user.upstream.user.clone().into_bytes(),
            password: Password::new(user.upstream.password.bytes()),
        },
    })
}

/// The plugins that accounts may have.
const PLUGINS: [Plugin; 3] = [Plugin::CachingSha2, Plugin::NativePassword, Plugin::ClientEd25519];

fn plugin(name: &str) -> Result<Plugin, String> {
    let known = PLUGINS.into_iter().find(|plugin| plugin.name() == name);
    known.ok_or_else(|| {
        let names = PLUGINS.map(Plugin::name).join(", ");
        format!("there is no plugin {name:?} for users; the plugins are {names}")
    })
}

/// What a server shows: as it is, or, since salts are not always printable, in MySQL's hexadecimal form.
fn stored(named: Option<Plugin>, hash: &[u8]) -> Result<Verifier, AuthError> {
    let decoded = hash.strip_prefix(b"0x").and_then(unhex).map(Zeroizing::new);
    let hash = decoded.as_ref().map_or(hash, |decoded| decoded);
    let plugin = named.unwrap_or(match hash {
        [b'*', ..] => Plugin::NativePassword,
        [b'$', ..] => Plugin::CachingSha2,
        _ => Plugin::ClientEd25519,
    });
    match hash {
        // No password is none of a hash's forms: it is written as such.
        [] => Err(AuthError::Stored(plugin)),
        _ => Verifier::parse(plugin, hash),
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(high)? << 4) | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> OptionError {
    OptionError::Value(why.into())
}
