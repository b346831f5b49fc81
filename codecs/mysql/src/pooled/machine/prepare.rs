//! What goes before a request on the connection that it is lent.

use bytes::BytesMut;
use wiremesh::correlation::{Hold, Ready};

use super::{
    Follows, Pooled,
    doing::{Becoming, Instead},
    lent::Owed,
};
use crate::{
    Capabilities, Command, Mysql, MysqlFrame,
    classify::{Diagnostics, Pin},
    frame::{BODY, Statement, What},
    handshake::reset_connection,
    pooled::{
        Place,
        entrance::reply,
        login::query,
        state::{Difference, Replay, State, setup},
        statements::{Plan, PrepareReply, Setting, Statements},
    },
    reply::Shape,
    wire::{HEAD, put_packet},
};

/// What is under way before the request, or after a reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    None,
    /// The session's schema is being made the connection's.
    Schema,
    /// The session's variables are.
    Set,
    /// Several statements in one text are being allowed, or forbidden.
    Multi,
    /// `LAST_INSERT_ID()` is being made nobody's.
    Id,
    /// A statement is being prepared; the first packet of the reply: was it seen, and what did it say.
    Statement(Option<Outcome>),
    /// The session's own writes are being waited for.
    Wait,
    /// The connection is being reset.
    Reset,
    /// It is being set up after that.
    Setup,
}

/// What a new session would be told is what is told from here on, unless an id is made; and how many rows were found or changed
/// is this statement's own.
const NO_ID: &str = "SELECT LAST_INSERT_ID(0)";

/// The same, and the id stays.
const NO_COUNTS: &str = "SELECT 1";

/// Makes `LAST_INSERT_ID()` nobody's.
pub(super) fn forget_id(place: &Place) -> MysqlFrame {
    query(NO_ID, place.capabilities)
}

/// What became of a statement that was prepared again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Again,
    Refused,
    Drop,
}

impl Pooled {
    /// For a request that ends the session as it was: what the connection has of it goes before that is answered.
    pub(super) fn forgets(&mut self) -> Option<Ready<Mysql>> {
        if !matches!(self.doing.own.becoming, Becoming::Anew | Becoming::Another(_)) {
            return self.doing.own.answer.take().map(|answer| Ready::Answer(Some(reply(answer))));
        }
        self.doing.before.step = Step::Reset;
        self.transcoder.begin(Shape::Single, 1, self.session.status);
        let what = What::Command(Some(Command::ResetConnection));
        Some(Ready::First(MysqlFrame::new(what, reset_connection())))
    }

    /// What is to be done next for a request.
    pub(super) fn next_step(&mut self, request: &mut MysqlFrame) -> Ready<Mysql> {
        if let Some(problem) = self.doing.before.problem.take() {
            return Ready::Answer((!problem.is_empty()).then(|| reply(problem)));
        }
        let What::Command(command) = request.what else { return Ready::Send };
        let Some(place) = &self.lent.place else { return Ready::Send };
        match self.doing.before.wants(&self.session).replay_on(&place.state) {
            Replay::Fits => {}
            Replay::Unfit => {
                return Ready::Answer(Some(reply(super::holds::unfit().packet(1))));
            }
            Replay::First(Difference { schema, set, set_first }) => {
                let first = match (schema, set) {
                    (Some(schema), None) => packet(Command::InitDb, &schema),
                    (Some(schema), Some(_)) if !set_first => packet(Command::InitDb, &schema),
                    (_, Some(set)) => query(&set, place.capabilities),
                    (None, None) => return self.send(command, request),
                };
                self.doing.before.step = match first.what {
                    What::Command(Some(Command::InitDb)) => Step::Schema,
                    _ => Step::Set,
                };
                self.transcoder.begin(Shape::Single, 1, self.session.status);
                return Ready::First(first);
            }
        }
        self.send(command, request)
    }

    /// The connection is as the session wants it.
    fn send(&mut self, command: Option<Command>, request: &mut MysqlFrame) -> Ready<Mysql> {
        if let Some(place) = &mut self.lent.place
            && place.multi != self.session.multi
        {
            self.doing.before.step = Step::Multi;
            self.transcoder.begin(Shape::Single, 1, self.session.status);
            return Ready::First(packet(Command::SetOption, &[u8::from(!self.session.multi), 0]));
        }
        if (std::mem::take(&mut self.doing.before.forgets_id) || self.may_hide_a_question())
            && let Some(place) = &self.lent.place
        {
            let knows = self.lent.past.has(Diagnostics::LAST_INSERT_ID);
            self.doing.before.step = Step::Id;
            self.transcoder.begin(Shape::Results, 1, self.session.status);
            return Ready::First(match knows {
                true => query(NO_COUNTS, place.capabilities),
                false => forget_id(place),
            });
        }
        if let (Some(command), Some(place)) = (command, &mut self.lent.place)
            && Statements::concerns(command)
            && !matches!(self.doing.instead, Instead::Ping)
        {
            let (schema, fingerprint) = (place.state.schema(), place.state.fingerprint());
            let setting = Setting { schema, fingerprint };
            let detour = self.doing.before.detour.take();
            match self.statements.plan(&mut request.bytes, &setting, &mut place.prepared) {
                Plan::Send if place.capabilities.has(Capabilities::QUERY_ATTRIBUTES) => {}
                // They are not in it any more.
                Plan::Send => request.executed = None,
                Plan::First(packets) => {
                    self.doing.before.step = Step::Statement(None);
                    self.transcoder.begin(Shape::Prepared, 1, self.session.status);
                    let what = What::Command(Some(Command::StmtPrepare));
                    return Ready::First(MysqlFrame::new(what, packets));
                }
                // It means what it meant when the client has prepared it: the connection is made so for that, and back.
                Plan::Refuse(problem) if problem.is_to_prepare_again() && detour.is_none() => {
                    let id = self.statements.id_of(&request.bytes);
                    let state = id.and_then(|id| self.prepared.get(&id)).map(|it| &it.state);
                    self.doing.before.detour =
                        state.map(|state| self.session.state().reading_as(state));
                    return match self.doing.before.detour {
                        Some(_) => self.next_step(request),
                        None => Ready::Answer(Some(reply(problem.packet(1)))),
                    };
                }
                Plan::Refuse(problem) => return Ready::Answer(Some(reply(problem.packet(1)))),
                Plan::Drop => return Ready::Answer(None),
            }
        }
        let agreed = self.lent.place.as_ref().map_or(Capabilities(0), |place| place.capabilities);
        match &self.doing.instead {
            Instead::Text(it) => request.bytes = query(&it.text, agreed).bytes,
            Instead::Ping => request.bytes = packet(Command::Ping, b"").bytes,
            Instead::None if command == Some(Command::Query) => fit_attributes(request, agreed),
            Instead::None => {}
        }
        self.turn.begin_request(&request.bytes);
        let shape = Shape::of(command);
        if shape != Shape::None {
            self.transcoder.begin(shape, 1, self.session.status);
            if self.sending.is_over()
                && let Some(seq) = request.reply_seq
            {
                self.transcoder.resume(seq);
            }
        }
        Ready::Send
    }

    /// Whether the request may ask for a stranger's id or counts by something whose text is not seen: once, until the connection is
    /// given back, they are made nobody's before that.
    fn may_hide_a_question(&self) -> bool {
        let traits = &self.doing.traits;
        // Where the server does not tell of session state nobody had the connection before.
        self.doing.executes()
            && self.lent.place.as_ref().is_some_and(|place| place.tells)
            && traits.pin.is_some_and(Pin::hides)
            && traits.asks.is_empty()
            && !self.lent.forgotten
            && !self.lent.past.has(Diagnostics::LAST_INSERT_ID.and(Diagnostics::FOUND_ROWS))
    }

    /// What went before the request, or a reset, was answered.
    pub(super) fn stepped(&mut self, step: Step, failed: bool) -> Hold<Mysql> {
        let Some(place) = &mut self.lent.place else { return Hold::Close };
        match step {
            Step::Reset | Step::Setup if failed => return Hold::Close,
            Step::Id if failed && self.follows == Follows::Reset => return Hold::Close,
            Step::Reset => {
                self.doing.before.step = Step::Setup;
                self.transcoder.begin(Shape::Single, 1, self.session.status);
                let set = setup(&place.version);
                return Hold::Answer(query(set, place.capabilities));
            }
            Step::Setup => {
                place.state = State::after_reset(place.state.schema());
                place.prepared.clear();
                if self.follows == Follows::Reset {
                    return Hold::Release { reset: None };
                }
                self.become_it();
                self.lent.was_reset();
            }
            Step::Schema | Step::Set | Step::Multi | Step::Id if failed => {
                // What of it holds nobody knows: it is not to be used by others as it is.
                self.lent.owes(Owed::Reset);
            }
            Step::Schema => {
                self.doing.before.problem = None;
                place.state.set_schema(self.doing.before.wants(&self.session).schema());
            }
            Step::Set => {
                self.doing.before.problem = None;
                let mut state = self.doing.before.wants(&self.session).clone();
                state.set_schema(place.state.schema());
                place.state = state;
            }
            Step::Wait => {
                let reached = !failed && self.transcoder.outcome().rows > 0;
                self.causal.waited(reached, place);
            }
            Step::Statement(Some(Outcome::Drop)) => {
                self.doing.before.problem = Some(BytesMut::new());
            }
            Step::Multi => place.multi = self.session.multi,
            Step::Id if self.follows == Follows::Reset => return Hold::Release { reset: None },
            Step::Id => {
                self.lent.forgotten = true;
                self.lent.past = self.lent.past.and(Diagnostics::ROW_COUNT);
            }
            Step::Statement(_) | Step::None => {}
        }
        Hold::Prepared
    }

    /// Looks into the reply to what goes before the request.
    pub(super) fn look(&mut self, bytes: &mut BytesMut, error: bool) {
        match &mut self.doing.before.step {
            Step::Schema | Step::Set | Step::Multi | Step::Id if error => {
                self.doing.before.problem = Some(bytes.clone());
            }
            Step::Statement(seen @ None) => {
                let Some(place) = &mut self.lent.place else { return };
                let body = bytes.get_mut(HEAD..).unwrap_or_default();
                let reply = self.statements.on_prepare_reply(body, &mut place.prepared);
                *seen = Some(match reply {
                    PrepareReply::Pass | PrepareReply::Again => Outcome::Again,
                    PrepareReply::Drop => Outcome::Drop,
                    PrepareReply::Refuse(problem) => {
                        self.doing.before.problem = Some(problem.packet(1));
                        Outcome::Refused
                    }
                });
            }
            _ => {}
        }
    }
}

/// A server that knows no query attributes would take them for the statement. They become blanks, which servers pass over there:
/// so no packet has another length, however many there are.
fn fit_attributes(request: &mut MysqlFrame, agreed: Capabilities) {
    let Statement::Text { at, .. } = &request.statement else { return };
    if !agreed.has(Capabilities::QUERY_ATTRIBUTES)
        && let Some(attributes) = request.bytes.get_mut(BODY..at.start)
    {
        attributes.fill(b' ');
    }
}

/// A command that is laid out alike on all connections: a statement is a [`query`].
pub(crate) fn packet(command: Command, body: &[u8]) -> MysqlFrame {
    let mut text = Vec::with_capacity(body.len().saturating_add(1));
    text.push(command as u8);
    text.extend_from_slice(body);
    let mut bytes = BytesMut::new();
    put_packet(&mut bytes, 0, &text);
    MysqlFrame::new(What::Command(Some(command)), bytes)
}
