//! A client whose requests go to upstream connections that others use, too: it is lent one for a request, and keeps it
//! while something of its session's is there and nowhere else.
//!
//! ```text
//!              prepare                  reply                       pinned, in a transaction ... ─▶ held
//!  request ─▶ (USE, SET, PREPARE)* ─▶ the request ─▶ what holds? ─▶ may still be asked about     ─▶ lingers
//!                                                                  nothing                       ─▶ released
//! ```

mod access;
mod another;
mod client;
mod doing;
mod holds;
mod kill;
mod lent;
mod prepare;
mod reply;
mod session;
mod shadow;
mod turn;

use std::{collections::HashMap, mem, sync::Arc};

use bytes::BytesMut;
use rustc_hash::FxBuildHasher;
use wiremesh::{
    DecodeError, Failure, Limits, Peer,
    correlation::{Access, Attachment, Cancel, Cancelled, Digester, Hold, Ready, SessionMachine},
};

pub(crate) use self::prepare::packet;
use self::{
    access::{Causal, Prepared},
    client::Sending,
    doing::Doing,
    lent::{Lent, Owed},
    prepare::Step,
    session::Session,
    turn::Turn,
};
use super::{
    Admitted, Lane,
    entrance::reply,
    place::Place,
    state::State,
    statements::{StatementLimits, Statements},
    transcode::Transcoder,
};
use crate::{
    Capabilities, Command, Mysql, MysqlFrame, StatusFlags,
    collation::Collations,
    error::{self, Refusal},
    frame::What,
};

/// Follows one client.
#[derive(Debug)]
pub struct Pooled {
    follows: Follows,
    /// Who the client is, for when it says that it is another.
    admitted: Option<Box<Admitted>>,
    lane: Lane,
    session: Session,
    statements: Statements,
    /// What is known of prepared statements.
    prepared: HashMap<u32, Prepared, FxBuildHasher>,
    causal: Causal,
    lent: Lent,
    transcoder: Transcoder,
    sending: Sending,
    doing: Doing,
    /// What the reply to that answers, or what comes next of it.
    turn: Turn,
}

/// Whose requests they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Client,
    /// It is a copy of a client's request, for another server.
    Copy,
    /// There is no client: a connection is reset.
    Reset,
}

impl Pooled {
    /// Follows a client that was let in, of whom it is taken that it sees such a server.
    pub fn new(admitted: &Admitted, version: &str) -> Self {
        let server = Collations::of(version.as_bytes());
        let collation = server.at_login(admitted.identity.collation);
        let state = State::begun(&admitted.schema, &collation)
            .ignoring_spaces(admitted.agreed.has(Capabilities::IGNORE_SPACE));
        let session = Session::new(admitted.identity.clone(), admitted.agreed, state, server);
        let machine = Self::begin(Follows::Client, admitted.lane, session);
        Self { admitted: Some(Box::new(admitted.clone())), ..machine }
    }

    /// Follows the reset of a connection that nobody has.
    pub fn for_reset() -> Self {
        let agreed = Capabilities::PROTOCOL_41;
        let state = State::set_up(b"");
        let session = Session::new(Arc::default(), agreed, state, Collations::Mysql8);
        Self::begin(Follows::Reset, Lane::default(), session)
    }

    fn begin(follows: Follows, lane: Lane, session: Session) -> Self {
        let capabilities = session.capabilities;
        let mut statements = Statements::new(capabilities, StatementLimits::default());
        statements.speak_as_mariadb(session.is_mariadb());
        Self {
            follows,
            admitted: None,
            lane,
            session,
            statements,
            prepared: HashMap::default(),
            causal: Causal::default(),
            lent: Lent::default(),
            transcoder: Transcoder::new(Capabilities(0), capabilities),
            sending: Sending::Nothing,
            doing: Doing::default(),
            turn: Turn::default(),
        }
    }

    /// Why the session keeps its connection, if it does beyond the request in progress.
    pub fn pin(&self) -> Option<&str> {
        self.session.pin()
    }

    /// The session is as it was when it began, but for the schema.
    fn begin_anew(&mut self) {
        self.session.begin_anew();
        self.statements.clear();
        self.prepared.clear();
        self.transcoder.tell_also(Vec::new());
        self.lent.begin_anew();
    }
}

impl SessionMachine<Mysql> for Pooled {
    fn on_request(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Attachment {
        match request.what {
            What::Command(Some(Command::ChangeUser)) => self.change_user(mysql, request),
            What::Command(command) => self.on_command(command, request),
            What::Login => self.go_on_entering(mysql, request),
            _ => Attachment::Continue,
        }
    }

    fn on_reply(&mut self, mysql: &Mysql, reply: &MysqlFrame) -> Hold<Mysql> {
        if reply.what != (What::Reply { last: true }) {
            return Hold::Pending;
        }
        match mem::take(&mut self.doing.before.step) {
            Step::None if self.lent.place.is_none() => Hold::Close,
            Step::None => self.verdict(mysql),
            step => self.stepped(step, reply.error.is_some()),
        }
    }

    fn take(
        &mut self,
        mysql: &Mysql,
        from: Peer,
        (): &mut (),
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<MysqlFrame>, DecodeError> {
        if input.is_empty() {
            return Ok(None);
        }
        match from {
            Peer::Client => self.take_client(limits, input),
            Peer::Upstream => self.take_upstream(mysql, input),
        }
    }

    fn is_open(&self) -> bool {
        let sends = !self.sending.is_over() && self.doing.before.step == Step::None;
        sends || self.doing.own.becoming.is_unsure()
    }

    fn on_failed(&mut self, _: &Mysql) {
        self.statements.on_failed();
        self.causal.late = false;
        self.doing = Doing::default();
    }

    fn lane(&self) -> u64 {
        self.lane.in_schema(!self.session.state().schema().is_empty()).0
    }

    fn needs_same(&self) -> bool {
        !self.doing.traits.asks.is_empty()
    }

    fn begins_to_hold(&self) -> bool {
        // Without autocommit what reads no table begins no transaction: then it is given back at once.
        let begins = self.doing.traits.begins || !self.session.status.has(StatusFlags::AUTOCOMMIT);
        self.doing.executes()
            && (begins && self.doing.set.is_none() || self.doing.traits.pin.is_some())
    }

    fn attach(&mut self, place: Place) {
        if self.transcoder.upstream() != place.capabilities {
            self.transcoder.turn_to(place.capabilities);
        }
        if self.follows != Follows::Reset {
            let server = Collations::of(&place.version);
            self.session.meets(server, self.follows == Follows::Copy);
            self.statements.speak_as_mariadb(self.session.is_mariadb());
        }
        self.lent = Lent::new(place, self.doing.access);
        self.asks_a_stranger();
    }

    fn detach(&mut self) -> Place {
        mem::take(&mut self.lent).place.unwrap_or_default()
    }

    fn access(&mut self, _: &Mysql, request: &MysqlFrame) -> Access {
        self.doing.access = self.judge(request);
        self.doing.access
    }

    fn shadow(&mut self, _: &Mysql, request: &MysqlFrame) -> Option<Self> {
        self.shadow_of(request)
    }

    fn digester(&self, request: &MysqlFrame) -> Option<Box<dyn Digester<Mysql>>> {
        self.sum(request).map(|sum| Box::new(sum) as Box<dyn Digester<Mysql>>)
    }

    fn prepare(&mut self, mysql: &Mysql, request: &mut MysqlFrame) -> Ready<Mysql> {
        if let Some(ready) = self.forgets() {
            return ready;
        }
        match self.before_read(mysql, request) {
            Some(ready) => ready,
            None => self.next_step(request),
        }
    }

    fn let_go(&mut self, _: &Mysql) -> Hold<Mysql> {
        match self.must_hold() && !self.lent.ended {
            true => Hold::Held,
            false => self.released(),
        }
    }

    fn owner(&self) -> &[u8] {
        self.session.identity.user.as_bytes()
    }

    fn cancelled(&mut self, cancel: &Cancel, outcome: Cancelled) -> Option<MysqlFrame> {
        Some(reply(self.killed(cancel, outcome)))
    }

    fn leave(&mut self, _: &Mysql) -> Hold<Mysql> {
        if self.must_hold() {
            self.lent.owes(Owed::Reset);
        }
        self.released()
    }

    fn answer(&mut self) -> Option<MysqlFrame> {
        self.become_it();
        self.doing.own.answer.take().map(reply)
    }

    fn farewell(&mut self, _: &Mysql, failure: &Failure) -> Option<MysqlFrame> {
        let answers = self.lent.place.is_some() && !self.transcoder.is_done();
        let says = !self.sending.is_over() || self.doing.own.becoming.is_unsure();
        if answers || says || self.follows == Follows::Reset {
            return None;
        }
        // It takes this for the answer to its next command.
        Some(reply(error::refusal(Refusal::Idle, 1, failure)))
    }
}

#[cfg(test)]
mod tests;
