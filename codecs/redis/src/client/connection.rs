//! Commands about the client's own connection: they change what the proxy knows of the client.

use wiremesh::{
    Lane,
    correlation::{Step, Target, View},
};

use super::{Client, info, is_of_one_server, is_one_server, shared};
use crate::{
    Message, Redis,
    lane::{Login, Setting},
    resp::Version,
    spread,
};

/// What a request changes, if it succeeds.
#[derive(Debug)]
pub(super) enum Change {
    /// The client's setting.
    To {
        by: Delta,
        /// Its lane, where the request was sent on it.
        lane: Option<Lane>,
        /// And this its name.
        name: Option<Box<[u8]>>,
        /// The reply tells about the connection, by its number.
        told: bool,
    },
    /// The client's name.
    Name(Box<[u8]>),
    /// Nothing, but the reply speaks of the connection.
    Info,
    /// Nothing, but the reply says whether the server is of a cluster.
    Mode,
    /// The client is as if it had just connected.
    Reset,
}

/// What becomes of a setting: of the one that the client has when the server has agreed, since others may be asked for
/// before.
#[derive(Debug, Default)]
pub(super) struct Delta {
    login: Option<Login>,
    db: Option<u32>,
    version: Option<Version>,
}

impl Delta {
    fn of(&self, setting: &Setting) -> Setting {
        Setting {
            login: self.login.as_ref().or(setting.login.as_ref()).cloned(),
            db: self.db.unwrap_or(setting.db),
            version: self.version.unwrap_or(setting.version),
        }
    }

    /// The version that is asked for.
    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }
}

/// What is wrong with a client's name, in the server's words.
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

impl Client {
    /// A command of [`Class::Connection`](crate::command::Class), while nothing of the client's is on a connection.
    pub(super) fn on_connection(
        &mut self,
        redis: &Redis,
        view: &View<'_>,
        request: Message,
    ) -> Step<Redis> {
        let Some(command) = request.command() else { return shared(request) };
        if view.shards > 0 && is_of_one_server(command, &request) {
            return Step::Answer(Message::error(spread::ONE_SERVER));
        }
        match command.name {
            "quit" => Step::Bye(Some(Message::simple("OK"))),
            "reset" => {
                self.reset();
                Step::Answer(Message::simple("RESET"))
            }
            "select" | "auth" | "hello" => match changed(&request) {
                Asked::Change { by, name, request } => {
                    let told = command.name == "hello";
                    self.change_to(redis, by, name, told, request)
                }
                Asked::Wrong(error) => Step::Answer(Message::error(&error)),
                Asked::Nothing => shared(request),
            },
            "client|setname" => match request.arg(2) {
                Some(name) if !is_name(name) => Step::Answer(Message::error(BAD_NAME)),
                Some(name) => {
                    self.name = name.into();
                    Step::Answer(Message::simple("OK"))
                }
                None => shared(request),
            },
            "client|getname" if self.name.is_empty() => {
                Step::Answer(Message::null(self.setting.version))
            }
            "client|getname" => Step::Answer(Message::bulk(&self.name)),
            "client|id" => {
                Step::Answer(Message::integer(i64::try_from(view.client).unwrap_or(i64::MAX)))
            }
            "client|info" => {
                self.change = Some(Change::Info);
                Step::Alone(request, Target::Any)
            }
            // Since 7.2. Of the connection that is shared it must not be said.
            "client|setinfo" => Step::Answer(Message::simple("OK")),
            "client|kill" => Step::Answer(Message::error(
                "ERR wiremesh: the clients of a proxy are not those of the server",
            )),
            "client|reply"
                if request.arg(2).is_some_and(|mode| mode.eq_ignore_ascii_case(b"on")) =>
            {
                shared(request)
            }
            "client|unblock" if is_one_server(view) => shared(request),
            "client|unpause" if is_one_server(view) => self.rescue(redis, view, request),
            "client|reply" | "client|tracking" | "client|no-evict" | "client|no-touch"
            | "client|caching" => self.attach(view, request),
            "script|debug" if !request.arg(2).is_some_and(|m| m.eq_ignore_ascii_case(b"no")) => {
                Step::Answer(Message::error(
                    "ERR wiremesh: scripts are debugged at the server, not through a proxy",
                ))
            }
            // In a cluster the proxy shows one server, that is no part of it.
            "readonly" | "readwrite" | "asking" if view.shards > 0 => {
                Step::Answer(Message::error(spread::NO_CLUSTER))
            }
            _ => self.plain(view, request),
        }
    }

    /// Sends a request on the lane that the client has if it succeeds.
    fn change_to(
        &mut self,
        redis: &Redis,
        by: Delta,
        name: Option<Box<[u8]>>,
        told: bool,
        mut request: Message,
    ) -> Step<Redis> {
        let lane = redis.lanes().try_out(&by.of(&self.setting));
        self.protocol.get_or_insert_with(|| redis.clone());
        request.set_lane(lane);
        self.change = Some(Change::To { by, lane: Some(lane), name, told });
        Step::Alone(request, Target::Any)
    }

    /// Takes note of what a request has changed, or has not.
    pub(super) fn apply(
        &mut self,
        redis: &Redis,
        view: &View<'_>,
        change: Change,
        reply: &mut Message,
    ) {
        if reply.is_error() {
            return self.give_up(redis, change);
        }
        match change {
            Change::Name(name) => self.name = name,
            Change::Info => info::rewrite(reply, view, &self.name),
            Change::Mode => {
                if let Some(mode) = redis.face().mode(view) {
                    info::rewrite_mode(reply, mode);
                }
            }
            Change::Reset => self.reset(),
            Change::To { by, lane, name, told } => {
                if told {
                    info::rewrite_hello(reply, view.client, redis.face().mode(view));
                }
                self.settle(redis, by.of(&self.setting), lane);
                if let Some(name) = name {
                    self.name = name;
                }
            }
        }
    }

    /// A change does not come about.
    pub(super) fn give_up(&self, redis: &Redis, change: Change) {
        if let Change::To { lane: Some(lane), .. } = change {
            redis.lanes().settle(lane, false);
        }
    }

    /// The server has agreed to this setting.
    fn settle(&mut self, redis: &Redis, setting: Setting, lane: Option<Lane>) {
        self.lane = lane.unwrap_or_else(|| redis.lanes().try_out(&setting));
        redis.lanes().settle(self.lane, true);
        self.setting = setting;
    }

    /// The client is as if it had just connected.
    pub(super) fn reset(&mut self) {
        self.setting = Setting::default();
        self.lane = 0;
        self.name = Box::default();
        self.primary_only = false;
    }
}

/// What a request asks for.
pub(super) enum Asked {
    /// Another setting, and this name; and what to send.
    Change { by: Delta, name: Option<Box<[u8]>>, request: Message },
    /// It is wrong, in the server's words.
    Wrong(String),
    /// No change that the proxy knows of: the server says what is wrong with it.
    Nothing,
}

/// What a `SELECT`, `AUTH` or `HELLO` asks for.
pub(super) fn changed(request: &Message) -> Asked {
    match request.command().map(|command| command.name) {
        Some("select") => match request.arg(1).and_then(database) {
            Some(db) => Asked::Change {
                by: Delta { db: Some(db), ..Delta::default() },
                name: None,
                request: request.clone(),
            },
            None => Asked::Nothing,
        },
        Some("auth") => {
            let login = match (request.arg(1), request.arg(2)) {
                (Some(password), None) => Login { user: None, password: password.into() },
                (Some(user), Some(password)) => {
                    Login { user: Some(user.into()), password: password.into() }
                }
                _ => return Asked::Nothing,
            };
            if request.argc() > 3 {
                return Asked::Nothing;
            }
            let by = Delta { login: Some(login), ..Delta::default() };
            Asked::Change { by, name: None, request: request.clone() }
        }
        Some("hello") => hello(request),
        _ => Asked::Nothing,
    }
}

/// What a `HELLO` asks for: a version, a login, a name.
fn hello(request: &Message) -> Asked {
    let mut by = Delta::default();
    let Some(version) = request.arg(1) else {
        return Asked::Change { by, name: None, request: request.clone() };
    };
    by.version = match version {
        b"2" => Some(Version::Resp2),
        b"3" => Some(Version::Resp3),
        // Not a version, or none that there is.
        _ => return Asked::Nothing,
    };
    let mut sent: Vec<&[u8]> = vec![b"HELLO", version];
    let mut name = None;
    let mut rest = request.args().skip(2);
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"auth")
            && let (Some(user), Some(password)) = (rest.next(), rest.next())
        {
            by.login = Some(Login { user: Some(user.into()), password: password.into() });
            sent.extend([option, user, password]);
        } else if option.eq_ignore_ascii_case(b"setname")
            && let Some(wanted) = rest.next()
        {
            if !is_name(wanted) {
                return Asked::Wrong(BAD_NAME.into());
            }
            // The connection has other clients too, who have names of their own.
            name = Some(wanted.into());
        } else {
            let option = String::from_utf8_lossy(option).into_owned();
            return Asked::Wrong(format!("ERR Syntax error in HELLO option '{option}'"));
        }
    }
    Asked::Change { by, name, request: Message::request(sent) }
}

/// A database's number, where it is one.
fn database(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let number = text.parse::<u32>().ok().filter(|number| *number <= i32::MAX.unsigned_abs())?;
    // "+1" and "01" are no numbers to the server.
    (number.to_string() == text).then_some(number)
}

pub(super) fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}
