//! Follows one client: which of its requests may share an upstream connection with other clients', which need one of
//! their own, and which the proxy answers itself.
//!
//! A client is *attached* while state of its is on a connection of its own: a transaction, watched keys, subscriptions, a
//! blocking command. [`attached`] follows that state by the replies; when it is gone the connection goes back. What a
//! connection remembers beyond that (login, database, version) is a [`Setting`](crate::lane::Setting), and connections are
//! shared among clients of equal settings.

mod attached;
mod connection;
mod guard;
mod info;
mod node;
mod number;
mod sharded;

use std::ops::ControlFlow;

use wiremesh::{
    Lane,
    correlation::{Access, ClientMachine, Own, Release, Step, Target, View},
};

pub(crate) use self::{attached::MOVED, guard::Users};
use self::{
    attached::{Attached, NOT_ACROSS},
    connection::Change,
    guard::Identity,
    number::Numbers,
    sharded::Sharded,
};
use crate::{
    Message, Redis,
    command::{Class, Command},
    lane::Setting,
    roster::Seat,
    spread,
};

/// What becomes of a request, or the request where that is not said yet.
type Sifted = ControlFlow<Step<Redis>, Message>;

/// What is said to a command that may do to its connection what the proxy cannot follow.
const NOT_FOLLOWED: &str =
    "ERR wiremesh: what this command does to its connection is not known: not through a proxy";

/// What is known of one client.
#[derive(Debug, Default)]
pub struct Client {
    setting: Setting,
    lane: Lane,
    name: Box<[u8]>,
    /// It has said that replicas must not answer it.
    primary_only: bool,
    /// Its `MULTI` was refused by the proxy: what it sends up to `EXEC` must not be executed one by one.
    doomed: bool,
    /// As whom it has logged in at the proxy.
    identity: Identity,
    /// What the one request in flight changes, if it succeeds.
    change: Option<Change>,
    /// What is on the connection that is its own, while it has one.
    attached: Option<Box<Attached>>,
    /// How the server calls that connection, for others to know.
    seat: Option<Seat>,
    /// To whom the request at hand sends invalidations.
    redirect: Option<Numbers>,
    /// What it is subscribed to on other connections of its own.
    sharded: Sharded,
    /// Who is to be told if the client leaves before it is known whether a change comes about.
    protocol: Option<Redis>,
}

impl ClientMachine<Redis> for Client {
    fn on_request(&mut self, redis: &Redis, view: &View<'_>, mut request: Message) -> Step<Redis> {
        if self.lane != request.lane() {
            request.set_lane(self.lane);
        }
        if self.is_usual(redis, view, &request) {
            return self.plain(view, request);
        }
        match self.sift(redis, view, request) {
            ControlFlow::Break(step) => step,
            ControlFlow::Continue(request) if self.attached.is_some() => {
                self.while_attached(redis, view, request)
            }
            ControlFlow::Continue(request) => self.while_free(redis, view, request),
        }
    }

    fn on_reply(&mut self, redis: &Redis, view: &View<'_>, reply: &mut Message) {
        if let Some(own) = view.own.filter(|own| *own > 0) {
            return self.sharded.on_reply(own, self.setting.version, reply);
        }
        if let Some(attached) = &mut self.attached {
            // Another shard's, on a connection that is shared.
            if view.own.is_none() {
                return;
            }
            if let Some(change) = attached.on_reply(self.setting.version, reply) {
                self.apply(redis, view, change, reply);
            }
            return;
        }
        if let Some(change) = self.change.take() {
            self.apply(redis, view, change, reply);
        }
    }

    fn on_attached(&mut self, redis: &Redis, view: &View<'_>, number: Option<u64>) {
        if view.own != Some(0) {
            return;
        }
        let seat = self.seat.get_or_insert_with(|| redis.roster().seat(view.client));
        seat.take(view.cluster, number);
    }

    fn on_failed(&mut self, redis: &Redis, own: Option<Own>) {
        if let Some(own) = own.filter(|own| *own > 0) {
            return self.sharded.on_failed(own);
        }
        if own.is_none() && self.attached.is_some() {
            return;
        }
        self.doomed |= own.is_some() && self.attached.as_ref().is_some_and(|it| it.in_multi());
        // If it was sent on a connection of the client's own, that is lost.
        self.attached = None;
        if let Some(change) = self.change.take() {
            self.give_up(redis, change);
        }
    }

    fn release(&mut self, _redis: &Redis, own: Own, gone: bool) -> Release<Redis> {
        if own > 0 {
            return self.sharded.release(own, gone);
        }
        let release = match &self.attached {
            Some(attached) => attached.release(gone, self.lane),
            None => Release::Clean(self.lane),
        };
        if matches!(release, Release::Hold) {
            return release;
        }
        let kept = self.seat.as_ref().is_some_and(|seat| !seat.give_back());
        if kept && !gone && self.attached.is_some() && !matches!(release, Release::Close) {
            return Release::Hold;
        }
        self.attached = None;
        if kept {
            self.seat.iter().for_each(Seat::lose);
            return Release::Close;
        }
        release
    }
}

impl Client {
    /// What there is to a request whether or not the client has a connection of its own. One with which that is not the end goes
    /// on as it is to be sent.
    fn sift(&mut self, redis: &Redis, view: &View<'_>, mut request: Message) -> Sifted {
        if !redis.users().is_empty() {
            request = match self.guard(redis, request) {
                Ok(request) => request,
                Err(reply) => return ControlFlow::Break(Step::Answer(reply)),
            };
        }
        if self.doomed
            && let Some(reply) = self.doom(&request)
        {
            return ControlFlow::Break(Step::Answer(reply));
        }
        let class = request.command().map(|command| command.class);
        if class == Some(Class::Script) && (view.nodes > 1 || !view.portions.is_empty()) {
            redis.scripts().note(&request);
        }
        if !self.sharded.is_empty() || (class == Some(Class::Subscription) && view.shards > 0) {
            request = sifted(self.among_shards(view, request))?;
        }
        if class == Some(Class::Connection) {
            request = match self.translate(redis, view, request) {
                Ok(request) => request,
                Err(reply) => {
                    if let Some(attached) = &mut self.attached {
                        attached.spoil();
                    }
                    return ControlFlow::Break(Step::Answer(reply));
                }
            };
        }
        if redis.face().is_transparent() {
            request = sifted(self.as_node(redis, view, request))?;
        }
        if let Some(command) = request.command()
            && !view.portions.is_empty()
            && command.takes(request.argc())
            && spread::is_across(view, command)
        {
            return ControlFlow::Break(match &mut self.attached {
                Some(attached) => attached.across(request, NOT_ACROSS),
                None => {
                    let step = spread::across(view, self.setting.version, command, &request);
                    if self.primary_only { node::of_primary(step) } else { step }
                }
            });
        }
        ControlFlow::Continue(request)
    }

    /// A request of a client's that has a connection of its own.
    fn while_attached(&mut self, redis: &Redis, view: &View<'_>, request: Message) -> Step<Redis> {
        let Some(attached) = &mut self.attached else { return shared(request) };
        let Some(command) = request.command() else { return self.attached_step(view, request) };
        if command.class == Class::Unknown {
            attached.spoil();
            return Step::Answer(Message::error(NOT_FOLLOWED));
        }
        let takes = command.takes(request.argc());
        if view.shards > 0 && takes && !attached.is_to_be_refused(&self.setting) {
            if is_of_one_server(command, &request) || attached.is_to_change(command) {
                return attached.across(request, spread::ONE_SERVER);
            }
            if spread::is_of_all(command, &request) {
                return attached.across(request, spread::OF_ALL);
            }
        }
        let named = matches!(command.name, "client|setname" | "client|getname") && takes;
        if named && !attached.asks_server(&self.setting) {
            return self.on_connection(redis, view, request);
        }
        self.attached_step(view, request)
    }

    /// A request of a client's that has none.
    fn while_free(&mut self, redis: &Redis, view: &View<'_>, request: Message) -> Step<Redis> {
        let Some(command) = request.command() else {
            return if is_http(&request) { Step::Bye(None) } else { shared(request) };
        };
        let class = match command.class {
            Class::Plain if command.name == "info" && redis.face().mode(view).is_some() => {
                self.change = Some(Change::Mode);
                let primary = Target::Shard(0, Access::Write);
                let target = if view.shards > 0 { Target::Any } else { primary };
                return Step::Alone(request, target);
            }
            Class::Plain if is_one_server(view) && is_rescue(command.name) => {
                return self.rescue(redis, view, request);
            }
            Class::Plain | Class::Script => return self.plain(view, request),
            Class::Blocking => {
                let args: Vec<_> = request.args().collect();
                command.class(|n| args.get(n).copied())
            }
            class => class,
        };
        // The server's own words for what is wrong are best.
        if class == Class::Plain || !command.takes(request.argc()) {
            return self.plain(view, request);
        }
        match class {
            Class::Plain | Class::Script => shared(request),
            Class::Connection => self.on_connection(redis, view, request),
            Class::Unknown => Step::Answer(Message::error(NOT_FOLLOWED)),
            Class::Replication => Step::Answer(Message::error(
                "ERR wiremesh: replication does not go through a proxy",
            )),
            // Nothing is watched, and no transaction is open: the answer is the same on any connection.
            Class::Transaction if matches!(command.name, "exec" | "discard" | "unwatch") => {
                shared(request)
            }
            _ if view.shards > 0 && spread::of_one_server(command.name) => {
                Step::Answer(Message::error(spread::ONE_SERVER))
            }
            Class::Blocking | Class::Transaction | Class::Subscription | Class::Monitor => {
                self.attach(view, request)
            }
        }
    }

    /// What is said to a request of a transaction that there is not.
    fn doom(&mut self, request: &Message) -> Option<Message> {
        match request.command().map(|command| command.name) {
            Some("exec") => {
                self.doomed = false;
                Some(Message::error("EXECABORT Transaction discarded because of previous errors."))
            }
            Some("discard") => {
                self.doomed = false;
                Some(Message::simple("OK"))
            }
            Some("reset" | "quit") => {
                self.doomed = false;
                None
            }
            _ => Some(Message::error("ERR wiremesh: the MULTI before it was refused")),
        }
    }

    /// What becomes of a request about channels of shards, or of any while there are such: one that they do not concern is
    /// given back.
    fn among_shards(&mut self, view: &View<'_>, request: Message) -> Result<Step<Redis>, Message> {
        let command = request.command().filter(|_| view.shards > 0);
        let about = command.filter(|command| matches!(command.name, "ssubscribe" | "sunsubscribe"));
        let attached = self.attached.as_ref();
        match about {
            None if self.sharded.is_empty() => Err(request),
            None => {
                let elsewhere = attached.is_some_and(|it| it.is_limited(&self.setting));
                self.sharded.refuse(&self.setting, elsewhere, request)
            }
            Some(command) => {
                if attached.is_some_and(|it| it.in_multi()) || !command.takes(request.argc()) {
                    return Err(request);
                }
                Ok(match command.name {
                    "ssubscribe" => self.sharded.subscribe(view, request),
                    _ => self.sharded.unsubscribe(self.setting.version, request),
                })
            }
        }
    }

    /// Has the client take a connection for itself.
    fn attach(&mut self, view: &View<'_>, request: Message) -> Step<Redis> {
        let attached = self.attached.insert(Box::default());
        attached.ask_redirect(self.redirect.take());
        self.attached_step(view, request)
    }

    /// A request for the connection that the client has, or is to have, for itself.
    fn attached_step(&mut self, view: &View<'_>, request: Message) -> Step<Redis> {
        let Some(attached) = &mut self.attached else { return shared(request) };
        let step = attached.on_request(&self.setting, &self.name, view, request);
        if attached.is_over() {
            self.attached = None;
        }
        step
    }

    /// Sends a request past a script that does not end, or commands that the server has paused: on a connection for it alone, where it waits behind nothing, in
    /// database 0, since the server selects no other meanwhile.
    fn rescue(&mut self, redis: &Redis, view: &View<'_>, mut request: Message) -> Step<Redis> {
        let setting = Setting { db: 0, ..self.setting.clone() };
        let lane = redis.lanes().try_out(&setting);
        redis.lanes().settle(lane, true);
        request.set_lane(lane);
        self.attached = Some(Box::new(Attached::for_once()));
        self.attached_step(view, request)
    }

    /// Whether a request is one of the many that need no further look: about keys, and of a client that is as it came.
    /// Nothing that `on_request` goes on to look at may concern such a request.
    #[inline]
    fn is_usual(&self, redis: &Redis, view: &View<'_>, request: &Message) -> bool {
        let command = request.command();
        command.is_some_and(|it| it.class == Class::Plain && !it.keys.is_empty())
            && self.attached.is_none()
            && !self.doomed
            && view.portions.is_empty()
            && redis.users().is_empty()
            && self.sharded.is_empty()
    }

    /// A request that needs nothing of its connection.
    fn plain(&self, view: &View<'_>, request: Message) -> Step<Redis> {
        if view.shards == 0 {
            let access = request.command().map_or(Access::Write, spread::access);
            let access = if self.primary_only { Access::Write } else { access };
            return Step::Shared(request, Target::Shard(0, access));
        }
        let step = spread::spread(view, self.setting.version, request);
        if self.primary_only { node::of_primary(step) } else { step }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let (Some(redis), Some(change)) = (self.protocol.take(), self.change.take()) {
            self.give_up(&redis, change);
        }
    }
}

fn sifted(result: Result<Step<Redis>, Message>) -> Sifted {
    match result {
        Ok(step) => ControlFlow::Break(step),
        Err(request) => ControlFlow::Continue(request),
    }
}

/// Whether there is one server behind the proxy that takes writes, whatever they are about.
fn is_one_server(view: &View<'_>) -> bool {
    view.shards == 0 && !view.divided
}

/// Whether it is about one server or connection, of many; replies that are on already are no matter.
fn is_of_one_server(command: &Command, request: &Message) -> bool {
    let on = || request.arg(2).is_some_and(|mode| mode.eq_ignore_ascii_case(b"on"));
    spread::of_one_server(command.name) && !(command.name == "client|reply" && on())
}

/// What is asked when a script does not end, and answered by the server meanwhile.
fn is_rescue(name: &str) -> bool {
    matches!(name, "script|kill" | "function|kill" | "function|stats")
}

/// Whether this is a line of an HTTP request, made by a browser that was tricked into it. The server closes, too.
fn is_http(request: &Message) -> bool {
    let name = request.command_name();
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

fn shared(request: Message) -> Step<Redis> {
    Step::Shared(request, Target::Any)
}
