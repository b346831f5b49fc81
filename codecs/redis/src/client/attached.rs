//! What is on a connection that a client has for itself, as the requests and replies on it tell.

mod subscribed;
mod target;

use std::collections::VecDeque;

use wiremesh::{
    Lane,
    correlation::{Access, Expect, Release, Step, Target, View},
};

use self::{
    subscribed::{Event, Owed, Subscribed},
    target::{Spot, To},
};
use super::{
    connection::{Asked, Change, changed, is_name},
    number::{self, Numbers},
};
use crate::{
    Message, Redis,
    command::{Class, Command},
    lane::Setting,
    resp::Version,
    spread,
};

/// What is on a connection that a client has for itself.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// What was asked and not answered yet.
    pending: VecDeque<Pending>,
    /// Between `MULTI` and `EXEC`, as far as it was asked for.
    in_multi: bool,
    /// A command was refused by the proxy since `MULTI`: what was queued must not be executed.
    spoilt: bool,
    /// Keys are watched.
    watching: bool,
    subscribed: Subscribed,
    /// The connection gets every command that the server executes.
    monitoring: bool,
    tracking: bool,
    /// To whom invalidations are sent, if to another client: its number at the proxy, and at the server.
    redirect: Option<Numbers>,
    /// The same, of the next request.
    asked_redirect: Option<Numbers>,
    no_evict: bool,
    no_touch: bool,
    /// Replies are switched off.
    silent: Silent,
    /// It was subscribed to something while they were.
    subscribes_silently: bool,
    /// The connection has the client's name.
    named: bool,
    queued: Queued,
    /// Where there are several: the shard that the connection goes to; `None`: to any.
    spot: Option<Spot>,
    /// Where there are several shards: what was said since `MULTI`, as long as no key has told where to; the server has seen none of it.
    unsent: Option<Vec<Message>>,
    /// The connection is of no lane any more: it is closed when it is not needed.
    worn: bool,
    /// Nothing is on a connection, since none was taken.
    over: bool,
    /// Something is on the connection that cannot be followed or undone: it is the client's to its end.
    stuck: bool,
}

/// What comes of the transaction beyond its answers, if it is executed.
#[derive(Debug, Default)]
struct Queued {
    /// The client has this name from then on.
    name: Option<Box<[u8]>>,
    /// The connection is [stuck](Attached::stuck).
    stuck: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silent {
    #[default]
    No,
    /// For one more request.
    Once,
    Yes,
}

/// What is said to a command that finds its slot gone from the shard that its client's connection goes to.
pub(crate) const MOVED: &str = "TRYAGAIN wiremesh: the slot has moved to another shard meanwhile";

/// What a client is told in RESP2 while it has subscriptions.
pub(super) const LIMITED: &str =
    "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";

/// What is said to a command that the proxy cannot follow within a transaction.
pub(super) const NOT_IN_MULTI: &str = "ERR wiremesh: not within a transaction, through a proxy";

/// What is said to a command about the data of several clusters.
pub(super) const NOT_ACROSS: &str = "ERR wiremesh: this is about several clusters, and the client's state is on a connection to one";

/// What an answer that is owed will mean.
#[derive(Debug)]
enum Pending {
    /// Nothing for the connection.
    Plain,
    /// The same: the command is refused, as far as is known, since the client has subscriptions.
    Limited(&'static str),
    /// A transaction is open, if it is no error.
    Multi,
    /// The transaction is over, whatever it says, and no key is watched. If it was executed, this comes of it.
    Exec(Queued),
    /// As [`Exec`](Self::Exec); it was asked for in the place of an `EXEC` that must not be.
    Spoilt,
    /// Keys are watched, if it is no error.
    Watch,
    Unwatch,
    Subscription(Owed),
    Monitor,
    /// Nothing of what was on the connection is left; neither is the login.
    Reset,
    Switch(Switch, bool),
    /// Tracking is on or off, and where it is told.
    Tracking(bool, Option<Numbers>),
    /// Nothing, but the reply has the number of the client that invalidations are sent to.
    Redirect,
    Change(Change),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    NoEvict,
    NoTouch,
}

impl Attached {
    /// For one request, after which the connection is closed.
    pub(super) fn for_once() -> Self {
        Self { worn: true, ..Self::default() }
    }

    /// Whether a transaction is open, as far as it was asked for.
    pub(super) fn in_multi(&self) -> bool {
        self.in_multi
    }

    /// A command was refused by the proxy: a transaction that is open must not be executed.
    pub(super) fn spoil(&mut self) {
        self.spoilt |= self.in_multi;
    }

    /// Whether a command would change, at the end of a transaction, what the connection is to its client.
    pub(super) fn is_to_change(&self, command: &Command) -> bool {
        // Others have words of their own.
        let other = matches!(command.name, "client|setname" | "hello" | "reset" | "quit");
        self.in_multi && command.class == Class::Connection && !other && !is_harmless(command.name)
    }

    /// Whether answers are owed on the connection.
    pub(super) fn is_owed(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether it is the server's to refuse, or not to answer, what it would otherwise answer.
    pub(super) fn is_to_be_refused(&self, setting: &Setting) -> bool {
        self.silent != Silent::No || self.is_limited(setting)
    }

    /// A request on the connection.
    pub(super) fn on_request(
        &mut self,
        setting: &Setting,
        name: &[u8],
        view: &View<'_>,
        mut request: Message,
    ) -> Step<Redis> {
        let sharded = view.shards > 0 || view.divided;
        let subscription = request.command().is_some_and(|c| c.class == Class::Subscription);
        // The server that has the subscriptions is to refuse it.
        let refused = sharded && self.is_limited(setting) && !subscription;
        let target = match self.target(view, sharded && !refused, &request) {
            Ok(target) => target,
            Err(To::Said(message)) => return Step::Answer(message),
            Err(To::Wait) => return Step::Wait(request),
            Err(To::Aside(spot)) => {
                let access = request.command().map_or(Access::Write, spread::access);
                return Step::Alone(request, spot.target(access));
            }
        };
        let mut before = Vec::new();
        if !name.is_empty() && !std::mem::replace(&mut self.named, true) {
            before.push(set_name(name));
        }
        if let Some(unsent) = self.unsent.take() {
            before.push(Message::request(["MULTI"]));
            before.extend(unsent);
        }
        let pending = match self.meaning(setting, &mut request, &mut before) {
            Ok(pending) => pending,
            Err(step) => return *step,
        };
        let pending = match (pending, request.command()) {
            (Pending::Plain | Pending::Watch, Some(command)) if refused => {
                Pending::Limited(command.name)
            }
            (pending, _) => pending,
        };
        let blocking = request.command().is_some_and(|c| c.class == Class::Blocking);
        let patient = blocking || self.monitoring || matches!(pending, Pending::Monitor);
        let silent = self.silent != Silent::No;
        if self.silent == Silent::Once {
            self.silent = Silent::No;
        }
        if silent {
            // What it does to the connection will not be known, or by events alone: those come all the same.
            self.stuck |= !matches!(pending, Pending::Plain);
            self.subscribes_silently |=
                matches!(pending, Pending::Subscription(Owed::Subscribed(..)));
            request.set_expect(Expect::None);
        } else {
            if matches!(pending, Pending::Subscription(_)) {
                request.set_expect(Expect::Stream);
            }
            self.pending.push_back(pending);
        }
        Step::Private { before, request, target, own: 0, patient }
    }

    /// A request about more than the server that the connection goes to; it is refused by these words.
    pub(super) fn across(&mut self, request: Message, why: &str) -> Step<Redis> {
        if !self.in_multi && !self.pending.is_empty() {
            // Perhaps the connection is not needed any more by then.
            return Step::Wait(request);
        }
        self.spoil();
        Step::Answer(Message::error(why))
    }

    /// Whether no connection was taken after all.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What the answer to a request will mean, or what becomes of the request in the place of being sent.
    fn meaning(
        &mut self,
        setting: &Setting,
        request: &mut Message,
        before: &mut Vec<Message>,
    ) -> Result<Pending, Box<Step<Redis>>> {
        let Some(command) = request.command() else { return Ok(Pending::Plain) };
        if !command.takes(request.argc()) {
            return Ok(Pending::Plain);
        }
        let argument = |n: usize, word: &str| {
            request.arg(n).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        let answer = |message: Message| Err(Box::new(Step::Answer(message)));
        match (command.name, self.in_multi) {
            ("quit", _) => return Err(Box::new(Step::Bye(Some(Message::simple("OK"))))),
            ("multi", _) => {
                self.in_multi = true;
                return Ok(Pending::Multi);
            }
            ("exec", true) => {
                self.in_multi = false;
                if std::mem::take(&mut self.spoilt) {
                    let lane = request.lane();
                    *request = Message::request(["DISCARD"]);
                    request.set_lane(lane);
                    return Ok(Pending::Spoilt);
                }
                return Ok(Pending::Exec(std::mem::take(&mut self.queued)));
            }
            ("discard", true) => {
                (self.in_multi, self.spoilt) = (false, false);
                self.queued = Queued::default();
                return Ok(Pending::Exec(Queued::default()));
            }
            ("client|setname", true) => {
                let name = request.arg(2).filter(|name| is_name(name)).map(Box::from);
                self.queued.name = name.or_else(|| self.queued.name.take());
                self.named = true;
                return Ok(Pending::Plain);
            }
            ("reset", _) => {
                (self.in_multi, self.spoilt, self.silent) = (false, false, Silent::No);
                return Ok(Pending::Reset);
            }
            (_, true) => {
                // It is executed at the end, in the middle of other answers.
                match command.class {
                    Class::Plain | Class::Script | Class::Blocking | Class::Transaction => {}
                    Class::Connection if is_harmless(command.name) => {}
                    // Which answers follow, and in which form, could not be told.
                    Class::Connection if matches!(command.name, "hello" | "client|reply") => {
                        self.spoilt = true;
                        return answer(Message::error(NOT_IN_MULTI));
                    }
                    Class::Connection => self.queued.stuck = true,
                    Class::Subscription | Class::Monitor | Class::Replication | Class::Unknown => {
                        self.spoilt = true;
                        return answer(Message::error(NOT_IN_MULTI));
                    }
                }
                return Ok(Pending::Plain);
            }
            _ => {}
        }
        // The server refuses it, as far as is known: what is not undone by an error must not be done. For the others the
        // answer tells.
        let at_once = matches!(
            command.name,
            "wait" | "waitaof" | "client|reply" | "client|kill" | "client|unblock" | "script|debug"
        );
        if at_once && self.is_limited(setting) {
            return Ok(Pending::Plain);
        }
        if let Some(owed) = Owed::of(command.name, request) {
            return Ok(Pending::Subscription(owed));
        }
        Ok(match command.name {
            "watch" => Pending::Watch,
            "unwatch" => Pending::Unwatch,
            "monitor" => Pending::Monitor,
            "wait" | "waitaof" => {
                // The server waits for what the same connection has written: any command makes it take what was written
                // on others for its own.
                if self.pending.is_empty() && self.silent == Silent::No {
                    let mut ping = Message::request(["PING"]);
                    ping.set_lane(request.lane());
                    before.push(ping);
                }
                Pending::Plain
            }
            "client|reply" if argument(2, "on") => {
                self.silent = Silent::No;
                Pending::Plain
            }
            "client|reply" if argument(2, "off") => {
                self.silent = Silent::Yes;
                Pending::Plain
            }
            "client|reply" if argument(2, "skip") && self.silent == Silent::No => {
                request.set_expect(Expect::None);
                self.silent = Silent::Once;
                let request = request.clone();
                return Err(Box::new(Step::Private {
                    before: Vec::new(),
                    request,
                    target: Target::Shard(0, Access::Write),
                    own: 0,
                    patient: false,
                }));
            }
            "client|tracking" => Pending::Tracking(argument(2, "on"), self.asked_redirect.take()),
            "client|getredir" | "client|trackinginfo" => Pending::Redirect,
            "client|no-evict" => Pending::Switch(Switch::NoEvict, argument(2, "on")),
            "client|no-touch" => Pending::Switch(Switch::NoTouch, argument(2, "on")),
            "client|setinfo" => return answer(Message::simple("OK")),
            "client|id" => {
                // In its turn: the answer of the server's is replaced.
                Pending::Change(Change::Info)
            }
            "client|info" => Pending::Change(Change::Info),
            "info" => Pending::Change(Change::Mode),
            "client|setname" => {
                Pending::Change(Change::Name(request.arg(2).unwrap_or_default().into()))
            }
            "client|kill" => {
                return answer(Message::error(
                    "ERR wiremesh: the clients of a proxy are not those of the server",
                ));
            }
            "select" | "auth" | "hello" => match changed(request) {
                Asked::Change { by, name, request: sent } => {
                    let (lane, told) = (request.lane(), command.name == "hello");
                    *request = sent;
                    request.set_lane(lane);
                    Pending::Change(Change::To { by, lane: None, name, told })
                }
                Asked::Wrong(error) => return answer(Message::error(&error)),
                Asked::Nothing => Pending::Plain,
            },
            "script|debug" | "sync" | "psync" => {
                return answer(Message::error("ERR wiremesh: not through a proxy"));
            }
            _ => Pending::Plain,
        })
    }

    /// Something that came on the connection. Answers what it changes for the client.
    pub(super) fn on_reply(&mut self, version: Version, reply: &mut Message) -> Option<Change> {
        // In RESP2 it is an array like any other, but while there are subscriptions no other command is answered by one.
        let events = match (reply.bytes().first(), version) {
            (Some(b'>'), _) => true,
            (Some(b'*'), Version::Resp2) => {
                self.subscribed.any() || self.is_subscribing() || self.subscribes_silently
            }
            _ => false,
        };
        if events && let Some(event) = Event::of(reply) {
            self.on_event(&event, reply);
            return None;
        }
        if self.monitoring && is_monitored(reply.bytes()) {
            reply.set_push();
            return None;
        }
        let failed = reply.is_error();
        if failed && matches!(reply.error_code(), Some(b"MOVED" | b"ASK")) {
            // Inner addresses are of no use to the client. It may try again: what was asked for is not done.
            *reply = match self.pending.front() {
                // A server looks first where a key is, and then whether its client may ask at all.
                Some(Pending::Limited(name)) if self.subscribed.any() => {
                    Message::error(&format!("ERR Can't execute '{name}': {LIMITED}"))
                }
                _ => Message::error(MOVED),
            };
        }
        match self.pending.pop_front()? {
            Pending::Plain => {}
            Pending::Limited(name) => self.watching |= !failed && name == "watch",
            Pending::Multi => {}
            Pending::Exec(Queued { name, stuck }) => {
                self.watching = false;
                let executed = !failed && !matches!(reply.bytes(), b"*-1\r\n" | b"_\r\n");
                self.stuck |= executed && stuck;
                return name.filter(|_| executed).map(Change::Name);
            }
            Pending::Spoilt => {
                self.watching = false;
                *reply =
                    Message::error("EXECABORT Transaction discarded because of previous errors.");
            }
            Pending::Watch => self.watching |= !failed,
            Pending::Unwatch => self.watching &= failed,
            // An error, or it would have been an event.
            Pending::Subscription(_) => {}
            Pending::Monitor => self.monitoring |= !failed,
            Pending::Tracking(on, redirect) if !failed => {
                self.tracking = on;
                self.redirect = redirect.filter(|_| on);
            }
            Pending::Tracking(..) => {}
            Pending::Redirect => self.show_redirect(reply),
            Pending::Switch(switch, on) if !failed => match switch {
                Switch::NoEvict => self.no_evict = on,
                Switch::NoTouch => self.no_touch = on,
            },
            Pending::Switch(..) => {}
            Pending::Change(change) => {
                self.named |= !failed && matches!(change, Change::Name(_));
                return Some(change);
            }
            Pending::Reset if !failed => {
                let pending = std::mem::take(&mut self.pending);
                *self = Self { pending, worn: true, in_multi: self.in_multi, ..Self::default() };
                return Some(Change::Reset);
            }
            Pending::Reset => {}
        }
        None
    }

    /// The next request is to send invalidations to another client.
    pub(super) fn ask_redirect(&mut self, numbers: Option<Numbers>) {
        self.asked_redirect = numbers;
        if self.in_multi && numbers.is_some() {
            self.redirect = numbers;
        }
    }

    /// Puts the proxy's number in the place of the server's.
    fn show_redirect(&self, reply: &mut Message) {
        if let Some(numbers) = self.redirect {
            number::show(reply, numbers);
        }
    }

    fn is_subscribing(&self) -> bool {
        matches!(self.pending.front(), Some(Pending::Subscription(_)))
    }

    /// Whether the server is to answer what the proxy otherwise would: it queues it, refuses it, has forgotten it,
    /// or knows what the proxy does not.
    pub(super) fn asks_server(&self, setting: &Setting) -> bool {
        let resets = |pending: &Pending| match pending {
            Pending::Reset => true,
            Pending::Exec(queued) => queued.name.is_some() || queued.stuck,
            _ => false,
        };
        self.in_multi || self.stuck || self.is_limited(setting) || self.pending.iter().any(resets)
    }

    /// Whether the server takes nothing but commands about subscriptions.
    pub(super) fn is_limited(&self, setting: &Setting) -> bool {
        let (mut version, mut subscriber) = (setting.version, self.subscribed.any());
        for pending in &self.pending {
            match pending {
                Pending::Subscription(Owed::Subscribed(..)) => subscriber = true,
                // It takes no other version then.
                Pending::Change(_) if subscriber && version == Version::Resp2 => {}
                Pending::Change(Change::To { by, .. }) => version = by.version().unwrap_or(version),
                Pending::Reset => (version, subscriber) = (Version::Resp2, false),
                _ => {}
            }
        }
        subscriber && version == Version::Resp2
    }

    /// Something about subscriptions.
    fn on_event(&mut self, event: &Event, reply: &mut Message) {
        let before = self.subscribed;
        self.subscribed.note(event);
        let more = match self.pending.front_mut() {
            Some(Pending::Subscription(owed)) => owed.take(event, before),
            _ => None,
        };
        let Some(more) = more else {
            if matches!(event, Event::Message) {
                self.show_redirect(reply);
            }
            return reply.set_push();
        };
        reply.set_reply();
        reply.set_more(more);
        if !more {
            self.pending.pop_front();
        }
    }

    /// What may become of the connection, when nothing is owed on it.
    pub(super) fn release(&self, gone: bool, lane: Lane) -> Release<Redis> {
        let events = self.monitoring || self.tracking || self.subscribed.any();
        let kept = self.stuck || self.no_evict || self.no_touch || self.silent != Silent::No;
        let open = self.in_multi || self.watching;
        if !(events || kept || open) {
            return if self.worn {
                Release::Close
            } else if self.named {
                Release::Reset(vec![set_name(b"")], lane)
            } else {
                Release::Clean(lane)
            };
        }
        if !gone {
            return Release::Hold;
        }
        if events || kept || self.worn {
            return Release::Close;
        }
        let word = if self.in_multi { "DISCARD" } else { "UNWATCH" };
        let mut reset = vec![Message::request([word])];
        reset.extend(self.named.then(|| set_name(b"")));
        Release::Reset(reset, lane)
    }
}

fn set_name(name: &[u8]) -> Message {
    let [client, setname]: [&[u8]; 2] = [b"CLIENT", b"SETNAME"];
    Message::request([client, setname, name])
}

/// What changes nothing on the connection, also when it is executed at the end of a transaction.
fn is_harmless(name: &str) -> bool {
    matches!(
        name,
        "client|id"
            | "client|info"
            | "client|getname"
            | "client|list"
            | "client|help"
            | "client|trackinginfo"
            | "client|getredir"
            | "acl|whoami"
            | "client|pause"
            | "client|unpause"
            | "client|kill"
            | "client|unblock"
    )
}

/// Whether this is a line of `MONITOR`: a time in seconds, and then a database and an address in brackets.
fn is_monitored(bytes: &[u8]) -> bool {
    let Some(line) = bytes.strip_prefix(b"+") else { return false };
    let end = line.iter().position(|byte| *byte != b'.' && !byte.is_ascii_digit());
    let Some((time, rest)) = end.and_then(|end| line.split_at_checked(end)) else { return false };
    time.contains(&b'.') && rest.starts_with(b" [")
}
