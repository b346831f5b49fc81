//! Prepared statements (the binary protocol) of one client on many upstream connections.
//!
//! A client's statements have ids of our own ([`Statements`]). What is prepared on an upstream connection belongs to that
//! connection ([`Prepared`]) and is found by [what makes statements one](Key): a client's statement is prepared on a
//! connection when it is first needed there, and is then anybody's who has prepared the same.
//!
//! What the server keeps of an execution is made right each time: the types of parameters that were said last, which the
//! client need not say again, are put in where the connection has others. A statement in which something of the client's
//! is (an open cursor, parts of parameters) is the client's alone, and its connection is [held](Prepared::holds).

mod execute;
mod key;
mod place;
mod plan;
mod problem;
mod recut;
mod statement;

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;
use rustc_hash::FxBuildHasher;

pub(crate) use self::execute::{COUNT_AVAILABLE, attributes};
use self::{
    execute::{Execution, Wrong},
    place::Entry,
    recut::Recut,
    statement::LongData,
};
pub use self::{
    key::{Key, Setting},
    place::{Prepared, PreparedLimits},
    problem::Problem,
    statement::{Statement, StatementLimits},
};
use crate::{
    Capabilities, Command, StatusFlags,
    frame::BODY,
    wire::{HEAD, Head, Reader, Short},
};

/// By this id MariaDB's clients mean the statement that was prepared last.
const LAST: u32 = u32::MAX;

/// So much of an execution is waited for at most, in order to know its types.
const MAX_WANTED: usize = 1 << 20;

/// What a client's command needs.
#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// A connection: the one that the client has, or any. There ask for a [plan](Statements::plan).
    Upstream,
    /// Nothing: the client is told this.
    Refuse(Problem),
    /// Nothing: the client is told OK.
    Done,
    /// Nothing, and it has no answer.
    Drop,
}

/// What is to be done with a client's command on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is to be sent as it is now. Of a long one [the rest](Statements::on_rest) follows.
    Send,
    /// These packets are to be sent first. One reply comes, to the last of them, a `COM_STMT_PREPARE`: its first packet is
    /// for [`Statements::on_prepare_reply`], the rest for nobody.
    First(BytesMut),
    /// It goes to no server; the client is told this.
    Refuse(Problem),
    /// It goes to no server, and has no answer.
    Drop,
}

/// What the reply to a `COM_STMT_PREPARE` means.
#[derive(Debug, PartialEq, Eq)]
pub enum PrepareReply {
    /// It is the answer to the client's own: all of it is the client's. The id in it is the client's now.
    Pass,
    /// It is that of [`Plan::First`]: ask for a plan again.
    Again,
    /// It is that of [`Plan::First`]: the client's command is not to be sent, and is answered by this.
    Refuse(Problem),
    /// It is that of [`Plan::First`]: the client's command is not to be sent, and has no answer.
    Drop,
}

/// The prepared statements of one client.
#[derive(Debug)]
pub struct Statements {
    limits: StatementLimits,
    /// The client's executions are laid out as query attributes want them.
    named: bool,
    statements: HashMap<u32, Statement, FxBuildHasher>,
    bytes: usize,
    /// The id that was given out last.
    id: u32,
    last: Option<u32>,
    request: Option<Request>,
    /// The reply to a `COM_STMT_PREPARE` that was sent [first](Plan::First) is to come.
    again: bool,
    recut: Option<Recut>,
    /// Errors are in the words of MariaDB.
    mariadb: bool,
}

/// The command in progress.
#[derive(Debug)]
enum Request {
    /// There is to be a new one. So many bytes were put before it.
    Prepare { key: Arc<Key>, digest: Arc<[u8]>, before: usize },
    /// It is about one that there is.
    Of(Subject),
}

/// What a command is about, and how it was changed for the connection that it was sent on last.
#[derive(Clone, Copy, Debug)]
struct Subject {
    command: Command,
    /// The client's statement.
    own: u32,
    /// The frame is laid out as query attributes want it.
    named: bool,
    /// Types of parameters go with it that the connection did not have.
    types: bool,
}

impl Statements {
    /// Those of a client on whose connection these capabilities were agreed on: none so far.
    pub fn new(capabilities: Capabilities, limits: StatementLimits) -> Self {
        Self {
            limits,
            named: capabilities.has(Capabilities::QUERY_ATTRIBUTES),
            statements: HashMap::default(),
            bytes: 0,
            id: 0,
            last: None,
            request: None,
            again: false,
            recut: None,
            mariadb: false,
        }
    }

    /// Errors are to be in the words of MariaDB from now on, or in those of MySQL, as they are at first.
    pub fn speak_as_mariadb(&mut self, mariadb: bool) {
        self.mariadb = mariadb;
    }

    /// Ids go on behind those that these gave out, of which none means another statement.
    pub fn begin_after(&mut self, others: &Self) {
        self.id = others.id;
    }

    /// Of these the one that a command is about, under its id. `None`: there is none, or parts of its parameters are on a
    /// connection.
    pub fn of_one(&self, packet: &[u8]) -> Option<Self> {
        let own = self.id_of(packet)?;
        let statement = self.statements.get(&own).filter(|it| it.long_data == LongData::None)?;
        Some(Self {
            limits: self.limits,
            named: self.named,
            statements: [(own, statement.clone())].into_iter().collect(),
            bytes: statement.len(),
            id: self.id,
            last: self.last.filter(|last| *last == own),
            request: None,
            again: false,
            recut: None,
            mariadb: self.mariadb,
        })
    }

    /// Whether a command is for [`on_request`](Self::on_request).
    pub fn concerns(command: Command) -> bool {
        use Command as C;
        matches!(
            command,
            C::StmtPrepare
                | C::StmtExecute
                | C::StmtBulkExecute
                | C::StmtSendLongData
                | C::StmtClose
                | C::StmtReset
                | C::StmtFetch
        )
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The id, of ours, of the statement that a command is about, by the command's first packet or its beginning.
    pub fn id_of(&self, packet: &[u8]) -> Option<u32> {
        id_of(packet).map(|id| self.resolve(id))
    }

    /// The one that a command is about, by the command's first packet or its beginning; of one that prepares, none.
    pub fn statement(&self, packet: &[u8]) -> Option<&Statement> {
        match Command::of(*packet.get(HEAD)?) {
            Some(Command::StmtPrepare) => None,
            Some(command) if Self::concerns(command) => {
                self.statements.get(&self.resolve(id_of(packet)?))
            }
            _ => None,
        }
    }

    /// Of an execution that is all there, and that query attributes may be in: how many parameters its statement has. Where parts of
    /// parameters were sent nobody knows where the attributes' values begin.
    pub(crate) fn may_have_attributes(&self, packet: &[u8]) -> Option<u16> {
        let statement = self.statement(packet).filter(|_| self.named)?;
        (statement.long_data == LongData::None).then_some(statement.parameters)
    }

    /// How long the beginning of a command's first packet must be, its head included, for [`on_request`](Self::on_request); judged
    /// by as much of it as has come, and more than the whole packet where all of it is wanted. It may grow with what
    /// comes, up to 1 MiB or the longest text.
    pub fn wanted(&self, packet: &[u8]) -> usize {
        const FEW: usize = BODY + 10;
        let command = packet.get(HEAD).copied().and_then(Command::of);
        match command {
            Some(Command::StmtPrepare) => BODY.saturating_add(self.limits.text),
            Some(command @ (Command::StmtExecute | Command::StmtBulkExecute)) => {
                let Some(statement) = self.statement(packet) else { return FEW };
                let body = packet.get(BODY..).unwrap_or_default();
                match Execution::parse(command, body, statement.parameters, self.named) {
                    Err(Wrong::Short) => packet.len().saturating_mul(2).clamp(FEW, MAX_WANTED),
                    _ => packet.len(),
                }
            }
            _ => FEW,
        }
    }

    /// What a command of the client's needs that [is of ours](Self::concerns).
    ///
    /// `packet` is its first packet, or [as much of it as is wanted](Self::wanted). `setting` is the session's, `held` the
    /// connection that the client has. The digest is asked for where there is to be a new statement.
    pub fn on_request(
        &mut self,
        packet: &[u8],
        setting: &Setting<'_>,
        digest: impl FnOnce() -> Arc<[u8]>,
        held: Option<&Prepared>,
    ) -> Need {
        (self.request, self.again, self.recut) = (None, false, None);
        let command = packet.get(HEAD).copied().and_then(Command::of);
        if command == Some(Command::StmtPrepare) {
            return self.on_prepare(packet, setting, digest);
        }
        let Some((command, id)) = command.zip(id_of(packet)) else {
            return match command {
                Some(Command::StmtClose | Command::StmtSendLongData) => Need::Drop,
                _ => Need::Refuse(Problem::malformed(self.mariadb)),
            };
        };
        let own = self.resolve(id);
        let Some(statement) = self.statements.get_mut(&own) else {
            return unknown(command, id, self.mariadb);
        };
        self.request = Some(Request::Of(Subject { command, own, named: self.named, types: false }));
        let taken = held.is_some_and(|place| place.is_taken(own));
        match command {
            Command::StmtClose => {
                self.bytes = self.bytes.saturating_sub(statement.len());
                self.statements.remove(&own);
                self.last = self.last.filter(|last| *last != own);
                if taken { Need::Upstream } else { Need::Drop }
            }
            Command::StmtReset => {
                statement.long_data = LongData::None;
                // Else there is nothing in it anywhere.
                if taken { Need::Upstream } else { Need::Done }
            }
            Command::StmtFetch if taken => Need::Upstream,
            Command::StmtFetch => Need::Refuse(Problem::no_cursor(id, self.mariadb)),
            Command::StmtSendLongData => {
                if statement.long_data == LongData::Sent && !taken {
                    statement.long_data = LongData::Lost;
                }
                match statement.long_data {
                    // The rest alone would be another value.
                    LongData::Lost => Need::Drop,
                    _ => Need::Upstream,
                }
            }
            _ => {
                let body = packet.get(BODY..).unwrap_or_default();
                let parsed = Execution::parse(command, body, statement.parameters, self.named);
                let execution = match parsed {
                    Ok(execution) => execution,
                    Err(wrong) => return Need::Refuse(problem(wrong, self.mariadb)),
                };
                if let Some(said) = execution.types(body, statement.parameters) {
                    statement.set_types(said);
                }
                if statement.long_data != LongData::None && !taken {
                    statement.long_data = LongData::None;
                    return Need::Refuse(Problem::long_data_lost());
                }
                match statement.parameters > 0 && statement.types.is_none() {
                    true => Need::Refuse(Problem::no_types(self.mariadb)),
                    false => Need::Upstream,
                }
            }
        }
    }

    fn on_prepare(
        &mut self,
        packet: &[u8],
        setting: &Setting<'_>,
        digest: impl FnOnce() -> Arc<[u8]>,
    ) -> Need {
        let text = packet.get(BODY..).unwrap_or_default();
        let whole = Head::read(packet).is_some_and(|head| {
            packet.len() == head.len.saturating_add(HEAD) && !head.is_continued()
        });
        if !whole || text.len() > self.limits.text {
            return Need::Refuse(Problem::too_long());
        }
        if self.len() >= self.limits.statements {
            return Need::Refuse(Problem::too_many(self.len()));
        }
        if self.bytes.saturating_add(text.len()) > self.limits.bytes {
            return Need::Refuse(Problem::too_much(self.limits.bytes));
        }
        let key = Arc::new(Key::new(text, setting));
        self.request = Some(Request::Prepare { key, digest: digest(), before: 0 });
        Need::Upstream
    }

    fn resolve(&self, id: u32) -> u32 {
        if id == LAST { self.last.unwrap_or(LAST) } else { id }
    }

    /// The first packet of the reply to a `COM_STMT_PREPARE`, the client's own or that of [`Plan::First`]: its body, or the
    /// first 12 bytes of one that is no ERR.
    pub fn on_prepare_reply(&mut self, body: &mut [u8], place: &mut Prepared) -> PrepareReply {
        let reply = PrepareOk::parse(body);
        let Subject { command, own, .. } = match self.request.take() {
            Some(Request::Prepare { key, digest, .. }) => {
                self.last = None;
                if let Ok(ok) = reply {
                    let own = self.add(key, digest, &ok, place);
                    if let Some(id) = body.get_mut(1..5) {
                        id.copy_from_slice(&own.to_le_bytes());
                    }
                }
                return PrepareReply::Pass;
            }
            Some(Request::Of(subject)) if std::mem::take(&mut self.again) => {
                self.request = Some(Request::Of(subject));
                subject
            }
            other => {
                self.request = other;
                return PrepareReply::Pass;
            }
        };
        let problem = match (reply, self.statements.get_mut(&own)) {
            (Ok(ok), Some(statement)) if ok.parameters == statement.parameters => {
                statement.columns = ok.columns;
                place.add(own, &statement.key, Entry::new(&ok));
                return PrepareReply::Again;
            }
            (Ok(ok), _) => {
                place.close(ok.id);
                Problem::prepare_again()
            }
            (Err(Short), _) => Problem::of(body).unwrap_or_else(Problem::prepare_again),
        };
        if command == Command::StmtSendLongData {
            self.lose(own);
            return PrepareReply::Drop;
        }
        PrepareReply::Refuse(problem)
    }

    /// The client has one more. Answers its id.
    fn add(
        &mut self,
        key: Arc<Key>,
        digest: Arc<[u8]>,
        ok: &PrepareOk,
        place: &mut Prepared,
    ) -> u32 {
        loop {
            self.id = self.id.wrapping_add(1);
            if !matches!(self.id, 0 | LAST) && !self.statements.contains_key(&self.id) {
                break;
            }
        }
        let key = place.add(self.id, &key, Entry::new(ok));
        let statement = Statement {
            key,
            digest,
            parameters: ok.parameters,
            columns: ok.columns,
            types: None,
            long_data: LongData::None,
        };
        self.bytes = self.bytes.saturating_add(statement.len());
        self.statements.insert(self.id, statement);
        self.last = Some(self.id);
        self.id
    }

    fn lose(&mut self, id: u32) {
        if let Some(statement) = self.statements.get_mut(&id) {
            statement.long_data = LongData::Lost;
        }
    }

    /// More of a command whose beginning was sent, as the client has sent it: where the beginning was made longer than a
    /// packet may be, it is cut anew, and may be empty then.
    pub fn on_rest(&mut self, frame: &mut BytesMut) {
        if let Some(recut) = &mut self.recut {
            let mut out = BytesMut::with_capacity(frame.len());
            recut.put(frame, &mut out);
            *frame = out;
        }
    }

    /// The sequence number that the reply begins with, if the command was cut anew and has been passed on to its end.
    pub fn reply_seq(&self) -> Option<u8> {
        self.recut.as_ref().filter(|recut| recut.is_done()).map(Recut::next_seq)
    }

    /// The reply to a command has come to its end: whether that was an error, and the status that it told last. Then
    /// [`Prepared::holds`] says whether the connection is held for it.
    pub fn on_reply(&mut self, error: bool, status: StatusFlags, place: &mut Prepared) {
        self.recut = None;
        let Some(Request::Of(Subject { command, own, types, .. })) = self.request.take() else {
            return;
        };
        let Some(statement) = self.statements.get_mut(&own) else { return };
        let over = match command {
            Command::StmtSendLongData => false,
            // Parts of parameters were not looked at, and may be there still.
            Command::StmtFetch => {
                let last = !error && status.has(StatusFlags::LAST_ROW_SENT);
                last && statement.long_data == LongData::None
            }
            _ if error => {
                // It may have come before the types were read, and with parts of parameters or a cursor left.
                statement.long_data = LongData::None;
                place.discard(own);
                if types && let Some(entry) = place.find(own, &statement.key) {
                    entry.types = None;
                }
                false
            }
            _ => {
                statement.long_data = LongData::None;
                let open =
                    command == Command::StmtExecute && status.has(StatusFlags::CURSOR_EXISTS);
                if open {
                    place.take(own, &statement.key);
                }
                !open
            }
        };
        if over {
            place.give_back(own);
        }
    }

    /// The request in progress was answered by the proxy itself, or will be sent again.
    pub fn on_failed(&mut self) {
        if let Some(Request::Of(Subject { command: Command::StmtSendLongData, own, .. })) =
            self.request
        {
            self.lose(own);
        }
        (self.again, self.recut) = (false, None);
    }

    /// The client has none any more: after `COM_RESET_CONNECTION` and `COM_CHANGE_USER`.
    pub fn clear(&mut self) {
        (self.request, self.again, self.recut) = (None, false, None);
        self.statements.clear();
        (self.bytes, self.last) = (0, None);
    }
}

/// What the first packet of the reply to a `COM_STMT_PREPARE` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PrepareOk {
    id: u32,
    columns: u16,
    parameters: u16,
}

impl PrepareOk {
    fn parse(body: &[u8]) -> Result<Self, Short> {
        let mut body = Reader::new(body);
        if body.u8()? != 0 {
            return Err(Short);
        }
        Ok(Self { id: body.u32()?, columns: body.u16()?, parameters: body.u16()? })
    }
}

/// The id that a command begins with.
fn id_of(packet: &[u8]) -> Option<u32> {
    Reader::new(packet.get(BODY..)?).u32().ok()
}

/// What servers say where there is no such statement.
fn unknown(command: Command, id: u32, mariadb: bool) -> Need {
    match command {
        Command::StmtClose | Command::StmtSendLongData => Need::Drop,
        _ => Need::Refuse(Problem::unknown(id, command, mariadb)),
    }
}

fn problem(wrong: Wrong, mariadb: bool) -> Problem {
    match wrong {
        Wrong::Short | Wrong::Untyped => Problem::malformed(mariadb),
    }
}
