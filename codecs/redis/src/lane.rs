//! What requests must have in common to share an upstream connection: who the server takes them to come from, the
//! database, the version of RESP.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use wiremesh::{
    Lane,
    correlation::{Handshake, Progress},
};

use crate::{Message, Redis, resp::Version};

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
}

impl Greeting {
    /// `None` where nothing has to be said. `copy`: to a replica of a cluster, which sends its readers away otherwise.
    pub(crate) fn new(setting: &Setting, own: Option<&Login>, copy: bool) -> Option<Self> {
        let mut said = Vec::new();
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
        if setting.db > 0 {
            said.push(Message::request(["SELECT", &setting.db.to_string()]));
        }
        if copy {
            said.push(Message::request(["READONLY"]));
        }
        said.reverse();
        (!said.is_empty()).then_some(Self { left: said })
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
        if frame.is_error() {
            return Progress::Refused(Some(frame), "the server refuses the login or the database");
        }
        self.next()
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
        let mut greeting = Greeting::new(&setting, None, false).expect("something to say");
        let redis = Redis::default();
        let said = |progress: Progress<Redis>| match progress {
            Progress::Continue(Some(frame)) => {
                frame.args().map(|a| String::from_utf8_lossy(a).into_owned()).collect::<Vec<_>>()
            }
            Progress::Done(None) => vec![],
            _ => panic!("refused"),
        };
        assert_eq!(said(greeting.start(&redis)), ["HELLO", "3", "AUTH", "ann", "secret"]);
        assert_eq!(said(greeting.on_frame(&redis, Message::simple("OK"))), ["SELECT", "3"]);
        assert!(said(greeting.on_frame(&redis, Message::simple("OK"))).is_empty());
        let mut greeting = Greeting::new(&setting, None, false).expect("something to say");
        greeting.start(&redis);
        let refused = greeting.on_frame(&redis, Message::error("WRONGPASS no"));
        assert!(matches!(refused, Progress::Refused(Some(_), _)));
        assert!(Greeting::new(&Setting::default(), None, false).is_none());
        let mut greeting =
            Greeting::new(&Setting::default(), None, true).expect("something to say");
        let first = greeting.start(&Redis::default());
        assert!(matches!(first, Progress::Continue(Some(it)) if it.command_name() == b"READONLY"));
    }
}
