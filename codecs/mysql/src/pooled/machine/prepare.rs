//! What goes before a request on the connection that it is lent.

use bytes::BytesMut;
use wiremesh::correlation::{Hold, Ready};

use super::{Becoming, Pooled, client::Sending};
use crate::{
    Capabilities, Command, Mysql, MysqlFrame,
    classify::{Diagnostics, Pin},
    frame::{BODY, Statement, What},
    handshake::reset_connection,
    pooled::{
        Place,
        entrance::reply,
        login::query,
        state::{Difference, Replay, State, Tracking, setup},
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
        if matches!(self.becoming, Becoming::Same) {
            return self.answer.take().map(|answer| Ready::Answer(Some(reply(answer))));
        }
        self.step = Step::Reset;
        self.transcoder.begin(Shape::Single, 1, self.status);
        let what = What::Command(Some(Command::ResetConnection));
        Some(Ready::First(MysqlFrame::new(what, reset_connection())))
    }

    /// What is to be done next for a request.
    pub(super) fn next_step(&mut self, request: &mut MysqlFrame) -> Ready<Mysql> {
        if let Some(problem) = self.problem.take() {
            return Ready::Answer((!problem.is_empty()).then(|| reply(problem)));
        }
        let What::Command(command) = request.what else { return Ready::Send };
        let Some(place) = &mut self.place else { return Ready::Send };
        match self.detour.as_ref().unwrap_or(&self.state).replay_on(&place.state) {
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
                self.step = match first.what {
                    What::Command(Some(Command::InitDb)) => Step::Schema,
                    _ => Step::Set,
                };
                self.transcoder.begin(Shape::Single, 1, self.status);
                return Ready::First(first);
            }
        }
        self.send(command, request)
    }

    /// The connection is as the session wants it.
    fn send(&mut self, command: Option<Command>, request: &mut MysqlFrame) -> Ready<Mysql> {
        if let Some(place) = &mut self.place
            && place.multi != self.multi
        {
            self.step = Step::Multi;
            self.transcoder.begin(Shape::Single, 1, self.status);
            return Ready::First(packet(Command::SetOption, &[u8::from(!self.multi), 0]));
        }
        if (std::mem::take(&mut self.doing.forgets_id) || self.may_hide_a_question())
            && let Some(place) = &self.place
        {
            let knows = self.past.has(Diagnostics::LAST_INSERT_ID);
            self.step = Step::Id;
            self.transcoder.begin(Shape::Results, 1, self.status);
            return Ready::First(match knows {
                true => query(NO_COUNTS, place.capabilities),
                false => forget_id(place),
            });
        }
        if self.doing.pings {
            request.bytes = packet(Command::Ping, b"").bytes;
        } else if let (Some(command), Some(place)) = (command, &mut self.place)
            && Statements::concerns(command)
        {
            let (schema, fingerprint) = (place.state.schema(), place.state.fingerprint());
            let setting = Setting { schema, fingerprint };
            let detour = self.detour.take();
            match self.statements.plan(&mut request.bytes, &setting, &mut place.prepared) {
                Plan::Send if place.capabilities.has(Capabilities::QUERY_ATTRIBUTES) => {}
                // They are not in it any more.
                Plan::Send => request.executed = None,
                Plan::First(packets) => {
                    self.step = Step::Statement(None);
                    self.transcoder.begin(Shape::Prepared, 1, self.status);
                    let what = What::Command(Some(Command::StmtPrepare));
                    return Ready::First(MysqlFrame::new(what, packets));
                }
                // It means what it meant when the client has prepared it: the connection is made so for that, and back.
                Plan::Refuse(problem) if problem.is_to_prepare_again() && detour.is_none() => {
                    let id = self.statements.id_of(&request.bytes);
                    let state = id.and_then(|id| self.prepared.get(&id)).map(|it| &it.state);
                    self.detour = state.map(|state| self.state.reading_as(state));
                    return match self.detour {
                        Some(_) => self.next_step(request),
                        None => Ready::Answer(Some(reply(problem.packet(1)))),
                    };
                }
                Plan::Refuse(problem) => return Ready::Answer(Some(reply(problem.packet(1)))),
                Plan::Drop => return Ready::Answer(None),
            }
        }
        if let Some(Tracking { text, .. }) = &self.doing.instead {
            let agreed = self.place.as_ref().map_or(Capabilities(0), |place| place.capabilities);
            request.bytes = query(text, agreed).bytes;
        } else if command == Some(Command::Query) {
            self.fit_attributes(request);
        }
        self.turn.begin_request(&request.bytes);
        let shape = Shape::of(command);
        if shape != Shape::None {
            self.files = 0;
            self.transcoder.begin(shape, 1, self.status);
            if self.sending == Sending::Nothing
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
        self.executes()
            && self.place.as_ref().is_some_and(|place| place.tells)
            && traits.pin.is_some_and(Pin::hides)
            && traits.asks.is_empty()
            && !self.forgotten
            && !self.past.has(Diagnostics::LAST_INSERT_ID.and(Diagnostics::FOUND_ROWS))
    }

    /// A server that knows no query attributes would take them for the statement. They become blanks, which servers pass over
    /// there: so no packet has another length, however many there are.
    fn fit_attributes(&self, request: &mut MysqlFrame) {
        let taken = self.place.as_ref().map_or(Capabilities(0), |place| place.capabilities);
        let Statement::Text { at, .. } = &request.statement else { return };
        if !taken.has(Capabilities::QUERY_ATTRIBUTES)
            && let Some(attributes) = request.bytes.get_mut(BODY..at.start)
        {
            attributes.fill(b' ');
        }
    }

    /// What went before the request, or a reset, was answered.
    pub(super) fn stepped(&mut self, step: Step, failed: bool) -> Hold<Mysql> {
        let Some(place) = &mut self.place else { return Hold::Close };
        match step {
            Step::Reset | Step::Setup if failed => return Hold::Close,
            Step::Id if failed && self.resets => return Hold::Close,
            Step::Reset => {
                self.step = Step::Setup;
                self.transcoder.begin(Shape::Single, 1, self.status);
                let set = setup(&place.version);
                return Hold::Answer(query(set, place.capabilities));
            }
            Step::Setup => {
                place.state = State::after_reset(place.state.schema());
                place.prepared.clear();
                if self.resets {
                    return Hold::Release { reset: None };
                }
                self.become_it();
                (self.reset, self.ended) = (false, false);
            }
            Step::Schema | Step::Set | Step::Multi | Step::Id if failed => {
                // What of it holds nobody knows: it is not to be used by others as it is.
                self.reset = true;
            }
            Step::Schema => {
                self.problem = None;
                place.state.set_schema(self.detour.as_ref().unwrap_or(&self.state).schema());
            }
            Step::Set => {
                self.problem = None;
                let mut state = self.detour.as_ref().unwrap_or(&self.state).clone();
                state.set_schema(place.state.schema());
                place.state = state;
            }
            Step::Wait => {
                let reached = !failed && self.transcoder.outcome().rows > 0;
                self.causal.waited(reached, place);
            }
            Step::Statement(Some(Outcome::Drop)) => self.problem = Some(BytesMut::new()),
            Step::Multi => place.multi = self.multi,
            Step::Id if self.resets => return Hold::Release { reset: None },
            Step::Id => {
                self.forgotten = true;
                self.past = self.past.and(Diagnostics::ROW_COUNT);
            }
            Step::Statement(_) | Step::None => {}
        }
        Hold::Prepared
    }

    /// Looks into the reply to what goes before the request.
    pub(super) fn look(&mut self, bytes: &mut BytesMut, error: bool) {
        match &mut self.step {
            Step::Schema | Step::Set | Step::Multi | Step::Id if error => {
                self.problem = Some(bytes.clone());
            }
            Step::Statement(seen @ None) => {
                let Some(place) = &mut self.place else { return };
                let body = bytes.get_mut(HEAD..).unwrap_or_default();
                let reply = self.statements.on_prepare_reply(body, &mut place.prepared);
                *seen = Some(match reply {
                    PrepareReply::Pass | PrepareReply::Again => Outcome::Again,
                    PrepareReply::Drop => Outcome::Drop,
                    PrepareReply::Refuse(problem) => {
                        self.problem = Some(problem.packet(1));
                        Outcome::Refused
                    }
                });
            }
            _ => {}
        }
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
