//! What a server does besides answering, and what it has seen.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::cluster::{Cluster, Said};

/// At most so many requests are remembered.
const LOG_MAX: usize = 100_000;

/// What a server does besides answering, and what it has seen. May be changed while it serves.
#[derive(Debug)]
pub struct Habits {
    /// Every request is held up by so many milliseconds, on its own connection.
    pub delay: AtomicU64,
    /// Requests are carried out, but not answered; neither are any later ones on the same connections.
    pub mute: AtomicBool,
    /// When so many more requests have come, the last one's connection is reset, and it is not carried out; 0: never.
    pub lose: AtomicU64,
    /// Instead of answers there is what is none.
    pub garbage: AtomicBool,
    /// Half of an answer is written, and the connection closed.
    pub half: AtomicBool,
    /// How many bytes the keys and values may take.
    pub max_memory: AtomicUsize,
    /// Whether requests are remembered for [`log`](Self::log).
    pub remember: AtomicBool,
    /// Requests seen.
    pub requests: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections that are open.
    pub open: AtomicU64,
    users: Mutex<BTreeMap<String, String>>,
    log: Mutex<Vec<(u64, String)>>,
    cluster: Mutex<Option<(Arc<Cluster>, usize)>>,
    said: Mutex<BTreeMap<u16, (Said, u64)>>,
    module: Mutex<Option<(String, Vec<u8>)>>,
    script: Mutex<Option<Script>>,
}

/// A script that can be brought and executed.
#[derive(Debug)]
struct Script {
    body: String,
    sum: String,
    known: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            delay: AtomicU64::new(0),
            mute: AtomicBool::new(false),
            lose: AtomicU64::new(0),
            garbage: AtomicBool::new(false),
            half: AtomicBool::new(false),
            max_memory: AtomicUsize::new(64 << 20),
            remember: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            users: Mutex::default(),
            log: Mutex::default(),
            cluster: Mutex::default(),
            said: Mutex::default(),
            module: Mutex::default(),
            script: Mutex::default(),
        }
    }
}

impl Habits {
    /// From now on clients must log in; `default` is the user of those who only give a password.
    pub fn add_user(&self, name: &str, password: &str) {
        lock(&self.users).insert(name.into(), password.into());
    }

    /// Makes the server one node of a cluster: the one of this number.
    pub fn join(&self, cluster: Arc<Cluster>, number: usize) {
        *lock(&self.cluster) = Some((cluster, number));
    }

    /// The next so many requests for a key of this slot are answered so.
    pub fn say(&self, slot: u16, said: Said, times: u64) {
        lock(&self.said).insert(slot, (said, times));
    }

    /// From now on there is one more command, that answers its first argument, a key. `told`: what `COMMAND` tells of it.
    pub fn load_module(&self, name: &str, told: &[u8]) {
        *lock(&self.module) = Some((name.into(), told.into()));
    }

    /// From now on this script can be brought, and executed by its sum: it answers its own text.
    pub fn allow_script(&self, body: &str, sum: &str) {
        *lock(&self.script) = Some(Script { body: body.into(), sum: sum.into(), known: false });
    }

    /// What a request about scripts is answered, if it is about the one that there is; an error of the server's is none.
    pub(super) fn script(&self, args: &[&[u8]]) -> Option<Result<String, &'static str>> {
        let mut script = lock(&self.script);
        let Script { body, sum, known } = script.as_mut()?;
        let is = |at: usize, text: &str| {
            args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(text.as_bytes()))
        };
        Some(if is(0, "EVAL") && is(1, body) {
            *known = true;
            Ok(body.clone())
        } else if is(0, "EVALSHA") && is(1, sum) && *known {
            Ok(body.clone())
        } else if is(0, "EVALSHA") {
            Err("NOSCRIPT No matching script. Please use EVAL.")
        } else if is(0, "SCRIPT") && is(1, "LOAD") && is(2, body) {
            *known = true;
            Ok(sum.clone())
        } else if is(0, "SCRIPT") && is(1, "FLUSH") {
            *known = false;
            Ok("OK".into())
        } else {
            return None;
        })
    }

    /// The requests that were remembered, each with the number of its connection (from 1 on) before it.
    pub fn log(&self) -> Vec<(u64, String)> {
        lock(&self.log).clone()
    }

    /// Name and description of the command of a module.
    pub(super) fn module(&self) -> Option<(String, Vec<u8>)> {
        lock(&self.module).clone()
    }

    /// Whether clients must log in.
    pub(super) fn is_guarded(&self) -> bool {
        !lock(&self.users).is_empty()
    }

    /// Whether a user has this password; anybody has any where none is set.
    pub(super) fn admits(&self, name: &[u8], password: &[u8]) -> bool {
        let users = lock(&self.users);
        let known = users.iter().find(|(user, _)| user.as_bytes() == name);
        match known {
            Some((_, known)) => known.as_bytes() == password,
            None => users.is_empty() && name == b"default",
        }
    }

    pub(super) fn cluster(&self) -> Option<(Arc<Cluster>, usize)> {
        lock(&self.cluster).clone()
    }

    /// What is to be said of a slot.
    pub(super) fn said(&self, slot: u16) -> Option<Said> {
        let mut said = lock(&self.said);
        let (what, times) = said.get_mut(&slot)?;
        let what = what.clone();
        *times = times.saturating_sub(1);
        if *times == 0 {
            said.remove(&slot);
        }
        Some(what)
    }

    /// Takes note of a request, and tells whether its connection is to be lost instead of an answer.
    pub(super) fn note<'a>(&self, connection: u64, args: impl Iterator<Item = &'a [u8]>) -> bool {
        self.requests.fetch_add(1, Relaxed);
        if self.remember.load(Relaxed) {
            let words: Vec<_> = args.map(String::from_utf8_lossy).collect();
            let mut log = lock(&self.log);
            if log.len() < LOG_MAX {
                log.push((connection, words.join(" ")));
            }
        }
        let lose = self.lose.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        lose == Ok(1)
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        let delay = self.delay.load(Relaxed);
        (delay > 0).then(|| Duration::from_millis(delay))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
