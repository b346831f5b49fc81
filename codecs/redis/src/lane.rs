//! What requests must have in common to share an upstream connection: who the server takes them to come from, the
//! database, the version of RESP.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use wiremesh::{
    Lane,
    correlation::{Handshake, Progress, Purpose},
};

use crate::{
    Message, Redis,
    resp::{Value, Version},
};

/// What a server remembers of a connection and requests can share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Setting {
    /// As whom the connection has logged in; `None`: as the configuration says, or not at all.
    pub login: Option<Login>,
    /// The selected database.
    pub db: u32,
    /// The version of its replies.
    pub version: Version,
}

/// A user's name and password, as a client gave them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// `None`: only a password was given.
    pub user: Option<Box<[u8]>>,
    /// The password.
    pub password: Box<[u8]>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.user.as_deref().unwrap_or(b"default");
        f.debug_tuple("Login").field(&String::from_utf8_lossy(user)).finish()
    }
}

impl Login {
    /// The request that logs in.
    pub(crate) fn request(&self) -> Message {
        let word: &[u8] = b"AUTH";
        match &self.user {
            Some(user) => Message::request([word, user, &self.password]),
            None => Message::request([word, &self.password]),
        }
    }
}

/// The settings that have a number.
#[derive(Debug)]
pub(crate) struct Lanes(Mutex<Known>);

#[derive(Debug)]
struct Known {
    next: Lane,
    by_setting: HashMap<Setting, Lane>,
    settings: HashMap<Lane, Setting>,
    /// How many try a lane that the server has not agreed to yet.
    trying: HashMap<Lane, usize>,
}

impl Default for Lanes {
    fn default() -> Self {
        // Lane 0 is what a connection has that has just been opened.
        Self(Mutex::new(Known {
            next: 1,
            by_setting: HashMap::from([(Setting::default(), 0)]),
            settings: HashMap::from([(0, Setting::default())]),
            trying: HashMap::new(),
        }))
    }
}

impl Lanes {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of this setting. What comes of trying it is to be told to [`settle`](Self::settle), once.
    pub(crate) fn try_out(&self, setting: &Setting) -> Lane {
        let known = &mut *self.known();
        if let Some(lane) = known.by_setting.get(setting) {
            if let Some(trying) = known.trying.get_mut(lane) {
                *trying = trying.saturating_add(1);
            }
            return *lane;
        }
        let lane = known.next;
        // Four thousand million settings later a number is used again; who had it is long gone.
        known.next = lane.wrapping_add(1).max(1);
        known.by_setting.insert(setting.clone(), lane);
        known.settings.insert(lane, setting.clone());
        known.trying.insert(lane, 1);
        lane
    }

    /// The server has agreed to a setting, or not. What it never agreed to is forgotten: whoever guesses passwords must
    /// not fill the memory with them.
    pub(crate) fn settle(&self, lane: Lane, agreed: bool) {
        let known = &mut *self.known();
        let Some(trying) = known.trying.get_mut(&lane) else { return };
        *trying = trying.saturating_sub(1);
        if agreed {
            known.trying.remove(&lane);
        } else if *trying == 0 {
            known.trying.remove(&lane);
            if let Some(setting) = known.settings.remove(&lane) {
                known.by_setting.remove(&setting);
            }
        }
    }

    /// The setting of a lane; `None` when it was forgotten.
    pub(crate) fn setting(&self, lane: Lane) -> Option<Setting> {
        self.known().settings.get(&lane).cloned()
    }
}

/// Brings a new connection to the setting of its lane.
pub(crate) struct Greeting {
    /// What is still to be said, the next last.
    left: Vec<Message>,
    /// The last of it asks for the connection's number.
    asks: bool,
    number: Option<u64>,
    /// The first of it selects a database: who logs in next may not, perhaps.
    selects: bool,
}

impl Greeting {
    /// `None` where nothing has to be said.
    pub(crate) fn new(setting: &Setting, own: Option<&Login>, purpose: Purpose) -> Option<Self> {
        let select =
            (setting.db > 0).then(|| Message::request(["SELECT", &setting.db.to_string()]));
        // As a client that selects a database and then logs in as somebody who may not select any.
        let selects = select.is_some() && setting.login.is_some();
        let mut said: Vec<_> = select.iter().filter(|_| selects).cloned().collect();
        let login = setting.login.as_ref().or(own);
        match (setting.version, login) {
            (Version::Resp2, None) => {}
            (Version::Resp2, Some(login)) => said.push(login.request()),
            (Version::Resp3, None) => said.push(Message::request(["HELLO", "3"])),
            (Version::Resp3, Some(login)) => {
                let user = login.user.as_deref().unwrap_or(b"default");
                let [hello, three, auth]: [&[u8]; 3] = [b"HELLO", b"3", b"AUTH"];
                said.push(Message::request([hello, three, auth, user, &login.password]));
            }
        }
        said.extend(select);
        if purpose.copy {
            // A replica of a cluster sends its readers away otherwise.
            said.push(Message::request(["READONLY"]));
        }
        if purpose.own {
            said.push(Message::request(["CLIENT", "ID"]));
        }
        said.reverse();
        (!said.is_empty()).then_some(Self { left: said, asks: purpose.own, number: None, selects })
    }

    fn next(&mut self) -> Progress<Redis> {
        match self.left.pop() {
            Some(request) => Progress::Continue(Some(request)),
            None => Progress::Done(None),
        }
    }
}

impl Handshake<Redis> for Greeting {
    fn start(&mut self, _protocol: &Redis) -> Progress<Redis> {
        self.next()
    }

    fn on_frame(&mut self, _protocol: &Redis, frame: Message) -> Progress<Redis> {
        if std::mem::take(&mut self.selects) {
            if !frame.is_error() {
                // Once is enough.
                let again = self.left.iter().position(|it| it.command_name() == b"SELECT");
                again.map(|at| self.left.remove(at));
            }
        } else if self.asks && self.left.is_empty() {
            // Who may not ask does without.
            if let Value::Integer(number) = frame.value() {
                self.number = u64::try_from(number).ok();
            }
        } else if frame.is_error() {
            return Progress::Refused(Some(frame), "the server refuses the login or the database");
        }
        self.next()
    }

    fn number(&self) -> Option<u64> {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_one_number_and_is_forgotten_if_never_agreed_to() {
        let lanes = Lanes::default();
        let db = |db| Setting { db, ..Setting::default() };
        assert_eq!(lanes.try_out(&db(0)), 0);
        let first = lanes.try_out(&db(1));
        assert_ne!(first, 0);
        assert_eq!(lanes.try_out(&db(1)), first);
        lanes.settle(first, false);
        assert_eq!(lanes.setting(first), Some(db(1)), "another still tries it");
        lanes.settle(first, false);
        assert_eq!(lanes.setting(first), None);
        let second = lanes.try_out(&db(1));
        assert_ne!(second, first, "a number is not used again");
        lanes.settle(second, true);
        assert_eq!(lanes.try_out(&db(1)), second);
        lanes.settle(second, false);
        assert_eq!(lanes.setting(second), Some(db(1)), "once agreed to it stays");
    }

    #[test]
    fn a_new_connection_is_brought_to_its_setting_step_by_step() {
        let login = Login { user: Some((*b"ann").into()), password: (*b"secret").into() };
        let setting = Setting { login: Some(login), db: 3, version: Version::Resp3 };
        let mut greeting =
            Greeting::new(&setting, None, Purpose::default()).expect("something to say");
        let redis = Redis::default();
        let said = |progress: Progress<Redis>| match progress {
            Progress::Continue(Some(frame)) => {
                frame.args().map(|a| String::from_utf8_lossy(a).into_owned()).collect::<Vec<_>>()
            }
            Progress::Done(None) => vec![],
            _ => panic!("refused"),
        };
        let login = ["HELLO", "3", "AUTH", "ann", "secret"];
        assert_eq!(said(greeting.start(&redis)), ["SELECT", "3"]);
        assert_eq!(said(greeting.on_frame(&redis, Message::simple("OK"))), login);
        assert!(said(greeting.on_frame(&redis, Message::simple("OK"))).is_empty());
        let mut greeting = Greeting::new(&setting, None, Purpose::default()).expect("something");
        assert_eq!(said(greeting.start(&redis)), ["SELECT", "3"]);
        assert_eq!(said(greeting.on_frame(&redis, Message::error("NOAUTH no"))), login);
        assert_eq!(said(greeting.on_frame(&redis, Message::simple("OK"))), ["SELECT", "3"]);
        assert!(said(greeting.on_frame(&redis, Message::simple("OK"))).is_empty());
        let mut greeting = Greeting::new(&setting, None, Purpose::default()).expect("something");
        greeting.start(&redis);
        greeting.on_frame(&redis, Message::error("NOAUTH no"));
        let refused = greeting.on_frame(&redis, Message::error("WRONGPASS no"));
        assert!(matches!(refused, Progress::Refused(Some(_), _)));
        assert!(Greeting::new(&Setting::default(), None, Purpose::default()).is_none());
        let purpose = Purpose { copy: true, own: true };
        let mut greeting = Greeting::new(&Setting::default(), None, purpose).expect("something");
        assert_eq!(said(greeting.start(&redis)), ["READONLY"]);
        assert_eq!(said(greeting.on_frame(&redis, Message::simple("OK"))), ["CLIENT", "ID"]);
        assert!(said(greeting.on_frame(&redis, Message::integer(7))).is_empty());
        assert_eq!(greeting.number(), Some(7));
        let mut greeting = Greeting::new(&Setting::default(), None, purpose).expect("something");
        greeting.start(&redis);
        greeting.on_frame(&redis, Message::simple("OK"));
        assert!(said(greeting.on_frame(&redis, Message::error("NOPERM no"))).is_empty());
        assert_eq!(greeting.number(), None);
    }
}
