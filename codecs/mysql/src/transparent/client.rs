//! What the client says.

use std::sync::Arc;

use bytes::BytesMut;
use wiremesh::{DecodeError, Limits};

use super::{Change, Sending, Stage, Transparent};
use crate::{
    Command, MysqlFrame, StatusFlags,
    digest::{Charset, Dialect},
    frame::{Statement, What},
    handshake::{ChangeUser, Login, MAX_HANDSHAKE, is_ssl_request},
    statement::{text_offset, used_schema},
    wire::{HEAD, Head},
};

/// So much of a command comes with its first frame, if it is that long: what tells it from others.
const FIRST: usize = 16 * 1024;

type Taken = Result<Option<MysqlFrame>, DecodeError>;

impl Transparent {
    pub(super) fn take_client(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        match self.stage {
            Stage::Commands if self.layer.is_some() => self.take_packed_client(limits, input),
            _ => self.take_stage(limits, input),
        }
    }

    /// Takes packets off, at whatever point the session is.
    pub(super) fn take_stage(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        match (self.stage, self.sending) {
            (Stage::Relay, _) => Ok(Some(MysqlFrame::new(What::Rest, input.split()))),
            // What it says before the greeting waits for it.
            (Stage::Greeting, _) => Ok(None),
            (Stage::Over, _) => {
                Err(DecodeError::Malformed { what: "request: the session is over" })
            }
            (_, Sending::Command) => self.take_rest(input),
            (_, Sending::File) => self.take_file(input),
            _ if self.is_login_of_ours() => self.take_turn_of_ours(input),
            _ if self.tracker.is_login() => self.take_turn(input),
            (Stage::Login, _) => self.take_login(limits, input),
            (Stage::Commands, _) => self.take_command(limits, input),
        }
    }

    /// The answer to the greeting.
    fn take_login(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        let Some((head, mut bytes)) = take_whole(input)? else { return Ok(None) };
        let body = bytes.get(HEAD..).unwrap_or_default();
        let reply_seq = Some(head.seq.wrapping_add(1));
        if is_ssl_request(body) {
            self.tls.check_request()?;
            let frame = MysqlFrame::new(What::SslRequest, bytes);
            return Ok(Some(MysqlFrame { reply_seq, ..frame }));
        }
        let login = Login::parse(body)?;
        login.attributes.check(limits)?;
        self.tls.log_in(&login.plugin, &mut bytes)?;
        self.capabilities = login.agreed(self.offered);
        self.tracker = crate::reply::Tracker::new(self.capabilities);
        let identity = Arc::new(login.into());
        self.change = Change::Identity(Arc::clone(&identity));
        let frame = MysqlFrame::new(What::Login, bytes);
        Ok(Some(MysqlFrame { identity: Some(identity), reply_seq, ..frame }))
    }

    /// A command, or its beginning.
    fn take_command(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        let Some(head) = Head::read(input) else { return Ok(None) };
        let end = head.len.saturating_add(HEAD);
        if input.len() < end.min(FIRST.saturating_add(HEAD)) {
            return Ok(None);
        }
        let code = input.get(HEAD).copied().filter(|_| head.len > 0).unwrap_or_default();
        let command = Command::of(code);
        if command == Some(Command::ChangeUser) {
            if end > MAX_HANDSHAKE {
                return Err(DecodeError::limit("COM_CHANGE_USER", MAX_HANDSHAKE, end));
            }
            if input.len() < end {
                return Ok(None);
            }
        }
        let whole = input.len() >= end && !head.is_continued();
        let bytes = input.split_to(end.min(input.len()));
        let body = bytes.get(HEAD.saturating_add(1)..).unwrap_or_default();
        let statement = self.statement(command, whole, body);
        self.change = match command {
            Some(Command::StmtPrepare) if self.wanted.digests => {
                Change::Prepared(statement.known(&bytes))
            }
            Some(Command::Query) => match &statement {
                Statement::Text { at, whole: true, .. } => self.use_by(bytes.get(at.clone())),
                _ => Change::Nothing,
            },
            _ => self.change_by(command, whole, body, limits)?,
        };
        // Of one that does not begin at 0 servers complain in their own way.
        let mut reply_seq = (whole && head.seq == 0).then_some(1);
        if !whole {
            self.sending = Sending::Command;
            self.client.begin(None);
            self.client.next(&bytes, &mut 0)?;
            reply_seq = None;
        }
        let identity = Some(Arc::clone(&self.identity));
        let frame = MysqlFrame::new(What::Command(command), bytes);
        Ok(Some(MysqlFrame { identity, reply_seq, statement, ..frame }))
    }

    /// Which statement a command is about. Of a long one the beginning counts, however much of it has come.
    fn statement(&mut self, command: Option<Command>, whole: bool, body: &[u8]) -> Statement {
        const BEFORE: usize = HEAD + 1;
        let text = |from: usize| {
            let end = body.len().min(FIRST - 1);
            let at = from.min(end).saturating_add(BEFORE)..end.saturating_add(BEFORE);
            let whole = whole && end == body.len();
            Statement::Text { at, whole, dialect: self.dialect() }
        };
        match command {
            Some(Command::Query) => {
                let first = body.get(..FIRST - 1).unwrap_or(body);
                text_offset(first, self.capabilities).map_or(Statement::Unknown, text)
            }
            Some(Command::StmtPrepare) => text(0),
            Some(Command::StmtExecute | Command::StmtBulkExecute | Command::StmtFetch) => {
                self.prepared.get(body).map_or(Statement::Unknown, Statement::Known)
            }
            Some(Command::StmtClose) => {
                self.prepared.remove(body);
                Statement::None
            }
            None => Statement::Unknown,
            Some(_) => Statement::None,
        }
    }

    fn dialect(&self) -> Dialect {
        Dialect {
            ansi_quotes: self.status.has(StatusFlags::ANSI_QUOTES),
            no_backslash_escapes: self.status.has(StatusFlags::NO_BACKSLASH_ESCAPES),
            charset: Charset::of_collation(self.identity.collation),
        }
    }

    /// What a statement will have changed when it was done.
    fn use_by(&self, text: Option<&[u8]>) -> Change {
        match text.and_then(used_schema) {
            Some(schema) => Change::Schema(Arc::new(self.identity.with_schema(schema))),
            None => Change::Nothing,
        }
    }

    /// What a command will have changed when it was done.
    fn change_by(
        &self,
        command: Option<Command>,
        whole: bool,
        body: &[u8],
        limits: &Limits,
    ) -> Result<Change, DecodeError> {
        Ok(match command {
            Some(Command::InitDb) if whole => {
                Change::Schema(Arc::new(self.identity.with_schema(body)))
            }
            Some(Command::ResetConnection) => Change::Reset,
            Some(Command::ChangeUser) => match ChangeUser::parse(body, self.capabilities) {
                Ok(change) => {
                    change.attributes.check(limits)?;
                    Change::Identity(Arc::new(change.into()))
                }
                // The server will say what it thinks of it.
                Err(_) => Change::Nothing,
            },
            _ => Change::Nothing,
        })
    }

    /// More of a command that is longer than what came first.
    fn take_rest(&mut self, input: &mut BytesMut) -> Taken {
        let mut at = 0;
        if self.client.next(input, &mut at)?.is_some() {
            self.sending = Sending::Nothing;
            if !self.tracker.has_begun() {
                self.tracker.expect(self.client.next_seq());
            }
        }
        Ok(rest(input, at))
    }

    /// More of a file, which an empty packet ends.
    fn take_file(&mut self, input: &mut BytesMut) -> Taken {
        let mut at = 0;
        while let Some(packet) = self.client.next(input, &mut at)? {
            if packet.len == 0 {
                self.sending = Sending::Nothing;
                self.tracker.expect(self.client.next_seq());
                break;
            }
        }
        Ok(rest(input, at))
    }

    /// What the client says in a login. Numbers begin anew with what comes after it: that waits.
    pub(super) fn take_turn(&mut self, input: &mut BytesMut) -> Taken {
        let mut at = 0;
        while at < input.len() {
            if self.client.is_between() {
                let Some(head) = input.get(at..).and_then(Head::read) else { break };
                if head.seq == 0 {
                    break;
                }
                self.client.expect(None);
            }
            if self.client.next(input, &mut at)?.is_some() {
                self.tracker.expect(self.client.next_seq());
                self.client_spoke = true;
            }
        }
        Ok(rest(input, at))
    }
}

fn rest(input: &mut BytesMut, len: usize) -> Option<MysqlFrame> {
    (len > 0).then(|| MysqlFrame::new(What::Rest, input.split_to(len)))
}

/// A packet of the handshake's, when it is all there.
pub(super) fn take_whole(input: &mut BytesMut) -> Result<Option<(Head, BytesMut)>, DecodeError> {
    let Some(head) = Head::read(input) else { return Ok(None) };
    let end = head.len.saturating_add(HEAD);
    if end > MAX_HANDSHAKE {
        return Err(DecodeError::limit("handshake", MAX_HANDSHAKE, end));
    }
    Ok((input.len() >= end).then(|| (head, input.split_to(end))))
}
