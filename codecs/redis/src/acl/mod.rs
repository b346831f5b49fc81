//! Users, and what they may do, in the rule language of Redis 7.0's `ACL SETUSER`.
//!
//! ```
//! use wiremesh_redis::{acl::User, command::find};
//!
//! let user = User::parse("app", "on >secret ~app:* +@read +set")?;
//! assert!(user.check_password(b"secret"));
//! let get = find(b"get", None).ok_or("no GET")?;
//! assert!(user.check_args(get, &[b"get", b"app:1"]).is_ok());
//! let denied = user.check_args(get, &[b"get", b"other"]).unwrap_err();
//! assert_eq!(
//!     denied.to_string(),
//!     "NOPERM this user has no permissions to access one of the keys used as arguments"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Scripts and functions are checked by the keys they are called with, not by what they do: whoever may call them may do
//! anything that their upstream's user may.

mod glob;
mod rules;
mod selector;

use std::hint::black_box;

use sha2::{Digest, Sha256};

use crate::command::Command;
use selector::{Selector, foreign_keys};

pub use glob::matches;

/// A user: its passwords, and what it may do.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    on: bool,
    nopass: bool,
    /// SHA-256 of each.
    passwords: Vec<[u8; 32]>,
    /// What the rules outside of parentheses permit.
    root: Selector,
    /// What each pair of parentheses permits besides.
    selectors: Vec<Selector>,
}

impl User {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            on: false,
            nopass: false,
            passwords: Vec::new(),
            root: Selector::default(),
            selectors: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may log in at all.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether any password will do. Who connects is the default user without being asked if that one is so.
    pub fn is_nopass(&self) -> bool {
        self.nopass
    }

    /// Whether it may do everything, commands that nobody has heard of included.
    pub fn is_unrestricted(&self) -> bool {
        self.root.is_unrestricted()
    }

    /// Whether it may log in with this password. How long it takes depends on neither the password nor the result.
    pub fn check_password(&self, password: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(password).into();
        let same = |other: &[u8; 32]| {
            let difference = hash.iter().zip(other).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
            difference == 0
        };
        // No short cut: every password is looked at.
        let known = self.passwords.iter().fold(false, |any, other| any | same(other));
        self.on & (self.nopass | known)
    }

    /// Whether it may call this command with these arguments, argument 0 being the command's name.
    ///
    /// One set of rules must permit all of it: the command, each key with what becomes of it, each channel. Where the keys
    /// cannot be told, only who may use all keys may call it. For a transaction, ask at each command that is queued.
    pub fn check<'a>(
        &self,
        command: &Command,
        argc: usize,
        arg: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<(), Denied> {
        let mut denied = match self.root.check(command, argc, &arg) {
            Ok(()) => return self.check_sort(command, argc, &arg),
            Err(denied) => denied,
        };
        for selector in &self.selectors {
            match selector.check(command, argc, &arg) {
                Ok(()) => return self.check_sort(command, argc, &arg),
                // The one that came furthest says why.
                Err(other) if other.progress() >= denied.progress() => denied = other,
                Err(_) => {}
            }
        }
        Err(denied)
    }

    /// [`check`](Self::check) for arguments that are in a slice.
    pub fn check_args(&self, command: &Command, args: &[&[u8]]) -> Result<(), Denied> {
        self.check(command, args.len(), |at| args.get(at).copied())
    }

    /// `BY` and `GET` of `SORT` read keys that are not named: they take the permission to read all.
    fn check_sort<'a>(
        &self,
        command: &Command,
        argc: usize,
        arg: &impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<(), Denied> {
        let Some(denied) = foreign_keys(command, argc, arg) else { return Ok(()) };
        let mut selectors = [&self.root].into_iter().chain(&self.selectors);
        if selectors.any(|selector| selector.reads_all_keys(command, arg(1))) {
            Ok(())
        } else {
            Err(denied)
        }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("on", &self.on)
            .finish_non_exhaustive()
    }
}

/// A user may not do this. Written as the server writes it, with the error's code first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It may not call this command.
    #[error("NOPERM this user has no permissions to run the '{0}' command")]
    Command(&'static str),
    /// It may not end a transaction, which is given up thereby.
    #[error(
        "EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command"
    )]
    Exec,
    /// It may not do that to the key which is this argument; 0: the keys cannot be told.
    #[error("NOPERM this user has no permissions to access one of the keys used as arguments")]
    Key(usize),
    /// It may not use the channel which is this argument.
    #[error("NOPERM this user has no permissions to access one of the channels used as arguments")]
    Channel(usize),
    /// It may not sort by keys other than those named.
    #[error("ERR BY option of SORT denied due to insufficient ACL permissions.")]
    SortBy,
    /// It may not get keys other than those named.
    #[error("ERR GET option of SORT denied due to insufficient ACL permissions.")]
    SortGet,
}

impl Denied {
    /// How far the check came: which check failed, and at which argument.
    fn progress(self) -> (u8, usize) {
        match self {
            Self::Command(_) | Self::Exec => (0, 0),
            Self::Key(index) => (1, index),
            Self::Channel(index) => (2, index),
            Self::SortBy | Self::SortGet => (3, 0),
        }
    }
}

/// A rule cannot be understood, or makes no sense behind those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access rule '{rule}': {reason}")]
pub struct AclError {
    /// The rule; without the password, if it is about one.
    pub rule: String,
    /// What is wrong with it.
    pub reason: Reason,
}

impl AclError {
    fn new(rule: &str, reason: Reason) -> Self {
        let shown = match rule.get(..1) {
            Some(sign @ ("<" | ">" | "#" | "!")) => format!("{sign}..."),
            _ => rule.to_owned(),
        };
        Self { rule: shown, reason }
    }
}

/// What is wrong with a rule. Written as the server writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No rule looks like this.
    #[error("Syntax error")]
    Syntax,
    /// There is no such command or category.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// A parenthesis is not closed.
    #[error("Unmatched parenthesis in acl selector")]
    Unmatched,
    /// `+config|get|x`
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
    /// A pattern behind one that permits all keys.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
         Try 'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    /// A pattern behind one that permits all channels.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    /// A password is taken away that was not given.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// No SHA-256.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    BadHash,
}
