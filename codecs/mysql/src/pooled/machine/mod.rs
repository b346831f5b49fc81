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
mod holds;
mod kill;
mod prepare;
mod reply;
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
    client::{Doing, Sending},
    prepare::Step,
    turn::Turn,
};
use super::{
    Admitted, Entrance, Lane,
    entrance::reply,
    place::Place,
    state::State,
    statements::{StatementLimits, Statements},
    transcode::{Renumber, Transcoder},
};
use crate::{
    Capabilities, Command, Mysql, MysqlFrame, StatusFlags,
    classify::Diagnostics,
    collation::Collations,
    error::{self, Refusal},
    frame::What,
    identity::Identity,
    session::Transaction,
    wire::Scanner,
};

/// What MySQL's sessions have after `COM_RESET_CONNECTION`, unless the server is configured otherwise: `utf8mb4_0900_ai_ci`.
const MYSQL_COLLATION: u16 = 255;

/// What a session becomes with a request that the proxy answers.
#[derive(Debug, Default)]
enum Becoming {
    /// What it was.
    #[default]
    Same,
    /// As it was when it began: `COM_RESET_CONNECTION`.
    Anew,
    /// Another client's: `COM_CHANGE_USER`.
    Another(Box<Pooled>),
}

/// Follows one client.
#[derive(Debug)]
pub struct Pooled {
    lane: Lane,
    capabilities: Capabilities,
    identity: Arc<Identity>,
    /// What the session began with, but for the schema.
    begun: State,
    state: State,
    /// Of the state: what says what a statement means.
    fingerprint: u64,
    statements: Statements,
    /// What is known of prepared statements.
    prepared: HashMap<u32, Prepared, FxBuildHasher>,
    /// Why the session keeps its connection until it is reset.
    pin: Option<String>,
    /// Several statements in one text are allowed.
    multi: bool,
    /// `SET TRANSACTION` waits for its transaction; `true`: which has begun.
    next_transaction: Option<bool>,
    /// Which of the questions about the past the connection would answer right.
    past: Diagnostics,
    /// What was told of strangers on the connection was made nobody's.
    forgotten: bool,
    /// For so many further statements `LAST_INSERT_ID()` may be asked for.
    insert: u8,
    status: StatusFlags,
    transaction: Option<Transaction>,
    /// What a transaction is to be like was said before it.
    characteristics: bool,
    /// What is known of the connection that it has.
    place: Option<Place>,
    transcoder: Transcoder,
    doing: Doing,
    sending: Sending,
    /// The client's packets, while it is sending something.
    client: Scanner,
    renumber: Renumber,
    files: u32,
    step: Step,
    /// What the reply in progress answers, or what comes next of it.
    turn: Turn,
    /// The reply that a [step](Step) has come to.
    problem: Option<BytesMut>,
    answer: Option<BytesMut>,
    /// What the session becomes when that is given.
    becoming: Becoming,
    /// The connection is to be reset before others get it.
    reset: bool,
    /// In which schema the session is nobody knows but its connection.
    adrift: bool,
    /// The connection knows an id that the session has made: a trigger or a view may ask for it, whosever session that is in.
    knows_id: bool,
    /// No reset would make the connection as good as new.
    spoilt: bool,
    /// Of the session nothing is left that could be on it.
    ended: bool,
    /// There is no client: it is a reset that is followed.
    resets: bool,
    /// It is for a copy of a request, and another server.
    is_shadow: bool,
    /// Which server it is, as far as is known: until there is a connection, the one that clients are told of.
    server: Collations,
    met: bool,
    /// There was a `COM_RESET_CONNECTION` before that.
    anew: bool,
    /// Who the client is, for when it says that it is another.
    admitted: Option<Box<Admitted>>,
    /// It is saying that.
    entrance: Option<Box<Entrance>>,
    /// The state that the connection is given for a statement to be prepared again in.
    detour: Option<State>,
    /// What the request in progress needs.
    access: Access,
    /// For what the connection that it has was lent.
    lent: Access,
    causal: Causal,
}

impl Pooled {
    /// Follows a client that was let in, of whom it is taken that it sees such a server.
    pub fn new(admitted: &Admitted, version: &str) -> Self {
        let collation = Collations::of(version.as_bytes()).at_login(admitted.identity.collation);
        let state = State::begun(&admitted.schema, &collation)
            .ignoring_spaces(admitted.agreed.has(Capabilities::IGNORE_SPACE));
        let machine = Self::begin(admitted.identity.clone(), admitted.lane, admitted.agreed, state);
        let mut machine = Self { admitted: Some(Box::new(admitted.clone())), ..machine };
        machine.sees(Collations::of(version.as_bytes()));
        machine
    }

    /// Follows the reset of a connection that nobody has.
    pub fn for_reset() -> Self {
        let agreed = Capabilities::PROTOCOL_41;
        let machine = Self::begin(Arc::default(), Lane::default(), agreed, State::set_up(b""));
        Self { resets: true, ..machine }
    }

    fn begin(
        identity: Arc<Identity>,
        lane: Lane,
        capabilities: Capabilities,
        state: State,
    ) -> Self {
        Self {
            lane,
            capabilities,
            identity,
            begun: state.clone(),
            fingerprint: state.fingerprint(),
            state,
            statements: Statements::new(capabilities, StatementLimits::default()),
            prepared: HashMap::default(),
            pin: None,
            multi: capabilities.has(Capabilities::MULTI_STATEMENTS),
            next_transaction: None,
            past: Diagnostics::NONE,
            forgotten: false,
            insert: 0,
            status: StatusFlags::AUTOCOMMIT,
            transaction: None,
            characteristics: false,
            place: None,
            transcoder: Transcoder::new(Capabilities(0), capabilities),
            doing: Doing::default(),
            sending: Sending::Nothing,
            client: Scanner::default(),
            renumber: Renumber::default(),
            files: 0,
            step: Step::None,
            turn: Turn::default(),
            problem: None,
            answer: None,
            becoming: Becoming::default(),
            reset: false,
            adrift: false,
            knows_id: false,
            spoilt: false,
            ended: false,
            resets: false,
            is_shadow: false,
            server: Collations::Mysql8,
            met: false,
            anew: false,
            admitted: None,
            entrance: None,
            detour: None,
            access: Access::Write,
            lent: Access::Write,
            causal: Causal::default(),
        }
    }

    /// Why the session keeps its connection, if it does beyond the request in progress.
    pub fn pin(&self) -> Option<&str> {
        self.pin.as_deref()
    }

    fn pin_for(&mut self, why: impl Into<String>) {
        if self.pin.is_none() {
            self.pin = Some(why.into());
        }
    }

    /// The session has this state.
    fn is_now(&mut self, state: State) {
        if self.state != state {
            self.fingerprint = state.fingerprint();
            if self.state.schema() != state.schema() {
                self.identity = Arc::new(self.identity.with_schema(state.schema()));
            }
            self.state = state;
        }
    }

    /// What the session is like before anything is said, or after a reset.
    fn begins(&self, anew: bool) -> State {
        let mut state = self.begun.clone();
        if anew
            && self.server == Collations::Mysql8
            && let Some(collation) = self.server.get(MYSQL_COLLATION)
        {
            // MySQL takes the server's own character set then, MariaDB that of the login.
            state = State::begun(b"", &collation);
        }
        state.set_schema(self.state.schema());
        if anew { state.ignoring_spaces(false) } else { state }
    }

    fn sees(&mut self, server: Collations) {
        self.server = server;
        self.statements.speak_as_mariadb(server != Collations::Mysql8);
    }

    /// There is a connection, to such a server: where it is another than clients are told of, logins and resets mean what they
    /// mean there.
    fn meets(&mut self, server: Collations) {
        if self.server != server {
            let began = self.is_shadow.then(|| self.begins(self.anew));
            self.sees(server);
            if !self.resets {
                let collation = server.at_login(self.identity.collation);
                let spaces = self.capabilities.has(Capabilities::IGNORE_SPACE);
                self.begun = State::begun(b"", &collation).ignoring_spaces(spaces);
            }
            if !self.met && !self.resets {
                self.is_now(self.begins(self.anew));
            } else if let Some(began) = began {
                let begins = self.begins(self.anew);
                self.is_now(self.state.clone().beginning_as(&began, &begins));
            }
        }
        self.met = true;
    }

    /// The session is as it was when it began, but for the schema.
    fn begin_anew(&mut self) {
        self.anew |= !self.met;
        self.is_now(self.begins(true));
        self.statements.clear();
        self.prepared.clear();
        self.transcoder.tell_also(Vec::new());
        (self.pin, self.next_transaction, self.transaction) = (None, None, None);
        self.characteristics = false;
        self.status = StatusFlags::AUTOCOMMIT;
        (self.past, self.insert) = (Diagnostics::NONE, 0);
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
        match mem::take(&mut self.step) {
            Step::None if self.place.is_none() => Hold::Close,
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
        self.entrance.is_some() || self.sending != Sending::Nothing && self.step == Step::None
    }

    fn on_failed(&mut self, _: &Mysql) {
        self.statements.on_failed();
        (self.step, self.detour) = (Step::None, None);
        (self.problem, self.answer, self.entrance) = (None, None, None);
        self.becoming = Becoming::Same;
        self.causal.late = false;
        self.doing = Doing::default();
    }

    fn lane(&self) -> u64 {
        self.lane.in_schema(!self.state.schema().is_empty()).0
    }

    fn needs_same(&self) -> bool {
        !self.doing.traits.asks.is_empty()
    }

    fn begins_to_hold(&self) -> bool {
        // Without autocommit what reads no table begins no transaction: then it is given back at once.
        let begins = self.doing.traits.begins || !self.status.has(StatusFlags::AUTOCOMMIT);
        self.executes() && (begins && self.doing.set.is_none() || self.doing.traits.pin.is_some())
    }

    fn attach(&mut self, place: Place) {
        if self.transcoder.upstream() != place.capabilities {
            self.transcoder.turn_to(place.capabilities);
        }
        self.meets(Collations::of(&place.version));
        self.place = Some(place);
        self.lent = self.access;
        self.asks_a_stranger();
    }

    fn detach(&mut self) -> Place {
        (self.past, self.insert, self.forgotten) = (Diagnostics::NONE, 0, false);
        (self.reset, self.spoilt, self.ended, self.characteristics) = (false, false, false, false);
        (self.transaction, self.next_transaction) = (None, None);
        (self.adrift, self.knows_id) = (false, false);
        self.place.take().unwrap_or_default()
    }

    fn access(&mut self, _: &Mysql, request: &MysqlFrame) -> Access {
        self.access = self.judge(request);
        self.access
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
        match self.must_hold() && !self.ended {
            true => Hold::Held,
            false => self.released(),
        }
    }

    fn owner(&self) -> &[u8] {
        self.identity.user.as_bytes()
    }

    fn cancelled(&mut self, cancel: &Cancel, outcome: Cancelled) -> Option<MysqlFrame> {
        Some(reply(self.killed(cancel, outcome)))
    }

    fn leave(&mut self, _: &Mysql) -> Hold<Mysql> {
        self.reset |= self.must_hold();
        self.released()
    }

    fn answer(&mut self) -> Option<MysqlFrame> {
        self.become_it();
        self.answer.take().map(reply)
    }

    fn farewell(&mut self, _: &Mysql, failure: &Failure) -> Option<MysqlFrame> {
        let answers = self.place.is_some() && !self.transcoder.is_done();
        let says = self.sending != Sending::Nothing || self.entrance.is_some();
        if answers || says || self.resets {
            return None;
        }
        // It takes this for the answer to its next command.
        Some(reply(error::refusal(Refusal::Idle, 1, failure)))
    }
}

#[cfg(test)]
mod tests;
