//! What the client says.

use bytes::BytesMut;
use wiremesh::{DecodeError, Limits, correlation::Attachment};

use super::{
    Follows, Pooled,
    doing::{Becoming, Doing, Instead},
    prepare::Step,
};
use crate::{
    Command, MysqlFrame, StatusFlags,
    classify::{Diagnostics, Traits, classify},
    digest::DIGEST_MAX,
    error,
    frame::{BODY, Known, Statement, What},
    handshake::{ChangeUser, MAX_HANDSHAKE},
    pooled::{
        state::without_tracking,
        statements::{Need, Problem, Setting, Statements},
        transcode::Renumber,
    },
    reply::Shape,
    statement::{text_offset, used_schema},
    wire::{HEAD, Head, Scanner},
};

/// Statements up to this length are waited for until they are whole, in bytes. Of a longer one only the beginning is known, and
/// that pins.
const WHOLE: usize = 1 << 20;

/// Whether the digest of a statement that was prepared is certainly of all of it.
fn is_whole(text: &[u8], digest: &[u8]) -> bool {
    const READ: usize = 4 << 10;
    text.len() <= READ && !(digest.len() >= DIGEST_MAX / 2 && digest.ends_with(b" ..."))
}

type Taken = Result<Option<MysqlFrame>, DecodeError>;

/// What the client has begun to send and not ended.
#[derive(Debug)]
pub(super) enum Sending {
    Nothing,
    /// A command.
    Command(Scanner),
    /// A file.
    File(Scanner, Renumber),
}

impl Sending {
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// What the client says in a login.
fn take_turn(input: &mut BytesMut) -> Taken {
    let Some(head) = Head::read(input) else { return Ok(None) };
    let end = head.len.saturating_add(HEAD);
    if end > MAX_HANDSHAKE {
        return Err(DecodeError::limit("handshake", MAX_HANDSHAKE, end));
    }
    let reply_seq = Some(head.seq.wrapping_add(1));
    Ok((input.len() >= end).then(|| {
        let frame = MysqlFrame::new(What::Login, input.split_to(end));
        MysqlFrame { reply_seq, ..frame }
    }))
}

impl Pooled {
    pub(super) fn take_client(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        match self.sending {
            Sending::Nothing if self.doing.own.becoming.is_unsure() => take_turn(input),
            Sending::Nothing => self.take_command(limits, input),
            Sending::Command(_) => self.take_rest(input),
            Sending::File(..) => self.take_file(input),
        }
    }

    /// A command, or its beginning.
    fn take_command(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        let Some(head) = Head::read(input) else { return Ok(None) };
        let end = head.len.saturating_add(HEAD);
        let command = input.get(HEAD).copied().filter(|_| head.len > 0).and_then(Command::of);
        if input.len() < end.min(BODY) {
            return Ok(None);
        }
        let wanted = match command {
            Some(command) if Statements::concerns(command) => {
                let there = input.get(..end.min(input.len())).unwrap_or_default();
                self.statements.wanted(there)
            }
            _ => WHOLE,
        };
        let wanted = wanted.min(end);
        if wanted > limits.max_frame {
            return Err(DecodeError::limit("max_frame", limits.max_frame, wanted));
        }
        if input.len() < wanted {
            return Ok(None);
        }
        let whole = input.len() >= end && !head.is_continued();
        if command == Some(Command::ChangeUser) && whole {
            let body = input.get(BODY..end).unwrap_or_default();
            // What is no login is refused as that.
            if let Ok(change) = ChangeUser::parse(body, self.session.capabilities) {
                change.attributes.check(limits)?;
            }
        }
        let bytes = input.split_to(end.min(input.len()));
        let mut reply_seq = (whole && head.seq == 0).then_some(1);
        if !whole {
            let mut packets = Scanner::default();
            packets.next(&bytes, &mut 0)?;
            self.sending = Sending::Command(packets);
            reply_seq = None;
        }
        let statement = self.statement(command, whole, &bytes);
        let executed = match command {
            Some(Command::StmtExecute) if whole => self.statements.may_have_attributes(&bytes),
            _ => None,
        };
        let identity = Some(self.session.identity.clone());
        let frame = MysqlFrame::new(What::Command(command), bytes);
        Ok(Some(MysqlFrame { identity, reply_seq, statement, executed, ..frame }))
    }

    /// Which statement a command is about.
    fn statement(&self, command: Option<Command>, whole: bool, bytes: &BytesMut) -> Statement {
        match command {
            Some(Command::Query) => {
                let body = bytes.get(BODY..).unwrap_or_default();
                text_offset(body, self.session.capabilities).map_or(Statement::Unknown, |from| {
                    let at = BODY.saturating_add(from)..bytes.len();
                    Statement::Text { at, whole, dialect: self.session.dialect() }
                })
            }
            Some(Command::StmtPrepare) => {
                Statement::Text { at: BODY..bytes.len(), whole, dialect: self.session.dialect() }
            }
            Some(Command::StmtExecute | Command::StmtBulkExecute | Command::StmtFetch) => {
                match self.statements.statement(bytes) {
                    Some(statement) => Statement::Known(Known {
                        digest: statement.digest().clone(),
                        whole: is_whole(statement.text(), statement.digest()),
                    }),
                    None => Statement::Unknown,
                }
            }
            Some(_) => Statement::None,
            None => Statement::Unknown,
        }
    }

    /// More of a command that is longer than what came first.
    fn take_rest(&mut self, input: &mut BytesMut) -> Taken {
        let Sending::Command(packets) = &mut self.sending else { return Ok(None) };
        let mut at = 0;
        let is_over = packets.next(input, &mut at)?.is_some();
        let reply_seq = packets.next_seq().unwrap_or(1);
        let mut bytes = input.split_to(at);
        self.statements.on_rest(&mut bytes);
        self.turn.sent(&bytes);
        if is_over {
            self.sending = Sending::Nothing;
            if !self.transcoder.has_begun() {
                self.transcoder.resume(reply_seq);
            }
        }
        Ok((at > 0).then(|| MysqlFrame::new(What::Rest, bytes)))
    }

    /// More of a file, which an empty packet ends.
    fn take_file(&mut self, input: &mut BytesMut) -> Taken {
        let Sending::File(packets, renumber) = &mut self.sending else { return Ok(None) };
        let (mut at, mut is_over) = (0, false);
        while !is_over && let Some(packet) = packets.next(input, &mut at)? {
            is_over = packet.len == 0;
        }
        let mut bytes = input.split_to(at);
        renumber.apply(&mut bytes);
        self.turn.sent(&bytes);
        if is_over {
            self.transcoder.resume(packets.next_seq().unwrap_or(1));
            self.sending = Sending::Nothing;
        }
        Ok((at > 0).then(|| MysqlFrame::new(What::Rest, bytes)))
    }

    /// What a command needs.
    pub(super) fn on_command(
        &mut self,
        command: Option<Command>,
        request: &MysqlFrame,
    ) -> Attachment {
        use Command as C;
        self.doing = Doing::new(command);
        let whole = self.sending.is_over();
        match command {
            Some(C::Quit) => return Attachment::Quit,
            Some(C::ResetConnection) if self.lent.adrift => {
                return self.refuse(&Problem::unsupported(
                    "COM_RESET_CONNECTION in a schema that is not known",
                ));
            }
            Some(C::ResetConnection) => return self.on_reset(),
            Some(C::Query) if self.follows == Follows::Reset => {
                self.doing.before.step = Step::Id;
                self.transcoder.begin(Shape::Results, 1, self.session.status);
                return Attachment::Upstream;
            }
            Some(C::Query) => {
                if matches!(request.statement, Statement::Unknown) {
                    return self.refuse(&match whole {
                        true => Problem::malformed(self.session.is_mariadb()),
                        false => Problem::unsupported("query attributes of more than 1 MiB"),
                    });
                }
                let instead = whole.then(|| without_tracking(request.text())).flatten();
                let text = instead.as_ref().map_or_else(|| request.text(), |it| it.text.as_bytes());
                let traits = classify(text, self.session.reading(whole));
                if traits.kills {
                    return self.kill(text, &traits);
                }
                if let Some(refusal) = self.unanswerable(&traits) {
                    return self.refuse(&refusal);
                }
                if traits.explained {
                    self.doing.set = Some(text.into());
                    self.doing.schema = used_schema(text).map(Into::into);
                }
                let knows = self.lent.past.has(Diagnostics::LAST_INSERT_ID);
                self.doing.before.forgets_id = traits.asks_made_id && !knows;
                self.doing.traits = traits;
                self.doing.instead =
                    instead.map_or(Instead::None, |it| Instead::Text(Box::new(it)));
            }
            Some(command) if Statements::concerns(command) => {
                return self.on_statement(command, request);
            }
            // Nobody knows what it would leave on a connection that others get.
            None => return self.refuse(&Problem::unknown_command()),
            // It would be a replica's connection, and others get it.
            Some(C::RegisterSlave) => {
                return self.refuse(&Problem::unsupported("this command in pooled mode"));
            }
            Some(C::ProcessKill) => return self.kill_process(request.bytes.get(BODY..)),
            Some(C::InitDb) => self.doing.schema = request.bytes.get(BODY..).map(Into::into),
            Some(C::SetOption) => {
                self.doing.multi = match request.bytes.get(BODY..) {
                    Some([0, 0]) => Some(true),
                    Some([1, 0]) => Some(false),
                    _ => None,
                };
            }
            _ => {}
        }
        match Shape::of(command) {
            Shape::Relay | Shape::Login => {
                self.refuse(&Problem::unsupported("this command in pooled mode"))
            }
            _ => Attachment::Upstream,
        }
    }

    pub(super) fn refuse(&mut self, problem: &Problem) -> Attachment {
        // It is the client's last error now, of which the server knows nothing.
        self.lent.past =
            self.lent.past.without(Diagnostics::WARNINGS).without(Diagnostics::ROW_COUNT);
        self.doing.own.answer = Some(problem.packet(1));
        Attachment::Answered
    }

    /// What of a statement's questions only a connection could answer that the client has not any more.
    fn unanswerable(&self, traits: &Traits) -> Option<Problem> {
        let lost = traits.asks.without(self.lent.past);
        let name = lost.names().next()?;
        Some(Problem::released(name))
    }

    /// A connection was lent for the request in progress, which may have been meant for another that is lost: this one knows
    /// nothing of the session's past.
    pub(super) fn asks_a_stranger(&mut self) {
        if !self.doing.executes() {
            return;
        }
        self.doing.before.forgets_id |= self.doing.traits.asks_made_id;
        if let Some(refusal) = self.unanswerable(&self.doing.traits) {
            self.doing.before.problem = Some(refusal.packet(1));
        }
    }

    fn on_reset(&mut self) -> Attachment {
        if self.follows == Follows::Reset {
            self.doing.before.step = Step::Reset;
            self.transcoder.begin(Shape::Single, 1, self.session.status);
            return Attachment::Upstream;
        }
        self.doing.own.becoming = Becoming::Anew;
        self.answered_anew(!self.session.status.has(StatusFlags::AUTOCOMMIT))
    }

    /// The answer is that of a session that begins anew. Where the connection has what the session would meet on another, its own
    /// locks that is, the server forgets that first; those that do not tell of sessions' state lose the connection in place of that.
    /// `locks`: there may be some, whatever is known of the session.
    pub(super) fn answered_anew(&self, locks: bool) -> Attachment {
        match &self.lent.place {
            None => Attachment::Answered,
            Some(place) if place.tells && (locks || self.must_hold()) => Attachment::Upstream,
            Some(_) => Attachment::Reset,
        }
    }

    fn on_statement(&mut self, command: Command, request: &MysqlFrame) -> Attachment {
        if command == Command::StmtPrepare {
            let text = request.bytes.get(BODY..).unwrap_or_default();
            self.doing.traits = classify(text, self.session.reading(true));
            if self.doing.traits.kills {
                // Its number may come with each execution, and is the proxy's.
                return self.refuse(&Problem::not_prepared());
            }
        }
        let state = self.session.state();
        let setting = Setting { schema: state.schema(), fingerprint: state.fingerprint() };
        let digest = || {
            let mut digest = Vec::new();
            request.digest(&mut digest);
            digest.into()
        };
        let held = self.lent.place.as_ref().map(|place| &place.prepared);
        let need = self.statements.on_request(&request.bytes, &setting, digest, held);
        match command {
            Command::StmtExecute | Command::StmtBulkExecute => {
                let id = self.statements.id_of(&request.bytes);
                let traits = id
                    .and_then(|id| self.prepared.get(&id))
                    .map(|it| it.traits)
                    .unwrap_or_default();
                if let Some(refusal) = self.unanswerable(&traits) {
                    self.statements.on_failed();
                    return self.refuse(&refusal);
                }
                // Which values it sets nobody knows here.
                self.doing.traits = traits;
            }
            _ => {}
        }
        match need {
            Need::Upstream if Shape::of(Some(command)) == Shape::None => {
                Attachment::UpstreamNoReply
            }
            Need::Upstream => Attachment::Upstream,
            Need::Refuse(problem) => self.refuse(&problem),
            // Whether the transaction is still open after an error the server alone knows.
            Need::Done
                if self.lent.place.is_some() && self.session.status.has(StatusFlags::IN_TRANS) =>
            {
                self.doing.instead = Instead::Ping;
                Attachment::Upstream
            }
            Need::Done => {
                // A server would have changed no rows.
                self.lent.past = self.lent.past.without(Diagnostics::ROW_COUNT);
                self.doing.own.answer = Some(error::done_in(1, self.session.status.lasting()));
                Attachment::Answered
            }
            Need::Drop => {
                if command == Command::StmtClose {
                    let id = self.statements.id_of(&request.bytes);
                    id.and_then(|id| self.prepared.remove(&id));
                }
                Attachment::Answered
            }
        }
    }
}
