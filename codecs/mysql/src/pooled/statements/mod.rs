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
mod problem;
mod recut;

use std::{collections::HashMap, sync::Arc};

use bytes::{BufMut, BytesMut};
use rustc_hash::FxBuildHasher;

use self::{
    execute::{BODY, Execution, Wrong},
    place::Entry,
    recut::Recut,
};
pub use self::{
    key::{Key, Setting},
    place::{Prepared, PreparedLimits},
    problem::Problem,
};
use crate::{
    Capabilities, Command, StatusFlags,
    wire::{HEAD, Head, Reader, Short, put_packet},
};

/// By this id MariaDB's clients mean the statement that was prepared last.
const LAST: u32 = u32::MAX;

/// So much of an execution is waited for at most, in order to know its types.
const MAX_WANTED: usize = 1 << 20;

/// How much a client may prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementLimits {
    /// Statements: as many as MySQL allows for a whole server unless configured.
    pub statements: usize,
    /// The length of their texts, schemas and digests, in bytes.
    pub bytes: usize,
    /// The length of one statement's text, in bytes.
    pub text: usize,
}

impl Default for StatementLimits {
    fn default() -> Self {
        Self { statements: 16_382, bytes: 16 << 20, text: 1 << 20 }
    }
}

/// A client's prepared statement.
#[derive(Debug)]
pub struct Statement {
    key: Arc<Key>,
    digest: Arc<[u8]>,
    parameters: u16,
    columns: u16,
    /// Two bytes for each parameter, as the client has said last.
    types: Option<Arc<[u8]>>,
    long_data: LongData,
}

/// Whether parts of parameters were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LongData {
    #[default]
    None,
    Sent,
    /// They could not be.
    Lost,
}

impl Statement {
    /// Its text.
    pub fn text(&self) -> &[u8] {
        self.key.text()
    }

    /// The digest of its text.
    pub fn digest(&self) -> &Arc<[u8]> {
        &self.digest
    }

    /// The setting that it was prepared under.
    pub fn setting(&self) -> Setting<'_> {
        self.key.setting()
    }

    /// How many parameters it has.
    pub fn parameters(&self) -> u16 {
        self.parameters
    }

    /// How many columns its rows have, as the server said last when it was prepared.
    pub fn columns(&self) -> u16 {
        self.columns
    }

    fn len(&self) -> usize {
        self.key.len().saturating_add(self.digest.len())
    }
}

/// What is to be done with a client's command.
#[derive(Debug)]
pub enum Plan {
    /// It needs a connection: ask again with one.
    Lend,
    /// It is to be sent as it is now. Of a long one [the rest](Statements::on_rest) follows.
    Send,
    /// These packets are to be sent first. One reply comes, to the last of them, a `COM_STMT_PREPARE`: its first packet is
    /// for [`Statements::on_prepare_reply`], the rest for nobody.
    First(BytesMut),
    /// It goes to no server; the client is told this.
    Refuse(Problem),
    /// It goes to no server; the client is told OK.
    Done,
    /// It goes to no server, and has no answer.
    Drop,
}

/// What the reply to a `COM_STMT_PREPARE` means.
#[derive(Debug)]
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
    asked: Asked,
    under_way: Option<UnderWay>,
    recut: Option<Recut>,
}

/// Which statement the upstream is to prepare.
#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    /// A new one of the client's.
    Own { key: Arc<Key>, digest: Arc<[u8]> },
    /// One that it has, for a command of this kind.
    Again { id: u32, command: Command },
}

/// The command that a server is to answer.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    id: u32,
    command: Command,
    /// Types of parameters go with it.
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
            asked: Asked::Nothing,
            under_way: None,
            recut: None,
        }
    }

    /// Whether a command is for [`plan`](Self::plan).
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

    /// How long the beginning of a command's first packet must be, its head included, for [`plan`](Self::plan); judged
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

    /// Gives a `COM_STMT_PREPARE` of the client's an upstream connection to be sent on, or the reason why not.
    ///
    /// `frame` is the packet, all of it. On [`Plan::Send`] it may have commands before it that have no reply.
    pub fn prepare(
        &mut self,
        frame: &mut BytesMut,
        digest: impl FnOnce() -> Arc<[u8]>,
        setting: &Setting<'_>,
        place: Option<&mut Prepared>,
    ) -> Plan {
        self.begin();
        let text = frame.get(BODY..).unwrap_or_default();
        let whole = Head::read(frame).is_some_and(|head| {
            frame.len() == head.len.saturating_add(HEAD) && !head.is_continued()
        });
        if !whole || text.len() > self.limits.text {
            return Plan::Refuse(Problem::too_long());
        }
        if self.len() >= self.limits.statements {
            return Plan::Refuse(Problem::too_many(self.len()));
        }
        if self.bytes.saturating_add(text.len()) > self.limits.bytes {
            return Plan::Refuse(Problem::too_much(self.limits.bytes));
        }
        let Some(place) = place else { return Plan::Lend };
        let key = place.known(Key::new(text, setting));
        let mut packets = BytesMut::new();
        place.make_room(key.len());
        place.put_closes(&mut packets);
        if !packets.is_empty() {
            packets.put_slice(frame);
            *frame = packets;
        }
        self.asked = Asked::Own { key, digest: digest() };
        Plan::Send
    }

    /// What is to be done with a command about a statement that there is.
    ///
    /// `frame` is its first packet or [as much of it as is wanted](Self::wanted), which is changed for the
    /// connection on [`Plan::Send`] only. `setting` is the session's. `place` is the connection that the client has, or was
    /// lent for this; `None` where it has none: then the answer may be [`Plan::Lend`].
    pub fn plan(
        &mut self,
        frame: &mut BytesMut,
        setting: &Setting<'_>,
        place: Option<&mut Prepared>,
    ) -> Plan {
        self.begin();
        let command = frame.get(HEAD).copied().and_then(Command::of);
        let Some((command, id)) = command.zip(id_of(frame)) else {
            return match command {
                Some(Command::StmtClose | Command::StmtSendLongData) => Plan::Drop,
                _ => Plan::Refuse(Problem::malformed()),
            };
        };
        let own = self.resolve(id);
        if !self.statements.contains_key(&own) {
            return unknown(command, id);
        }
        match command {
            Command::StmtClose => self.close(frame, own, place),
            Command::StmtReset => self.reset(frame, own, place),
            Command::StmtFetch => self.fetch(frame, own, id, place),
            Command::StmtSendLongData => self.send_long_data(frame, own, setting, place),
            Command::StmtExecute | Command::StmtBulkExecute => {
                self.execute(command, frame, own, setting, place)
            }
            _ => Plan::Refuse(Problem::unknown_command()),
        }
    }

    /// A new command: what was under way is over.
    fn begin(&mut self) {
        self.asked = Asked::Nothing;
        self.under_way = None;
        self.recut = None;
    }

    fn resolve(&self, id: u32) -> u32 {
        if id == LAST { self.last.unwrap_or(LAST) } else { id }
    }

    fn close(&mut self, frame: &mut BytesMut, own: u32, place: Option<&mut Prepared>) -> Plan {
        if let Some(statement) = self.statements.remove(&own) {
            self.bytes = self.bytes.saturating_sub(statement.len());
        }
        if self.last == Some(own) {
            self.last = None;
        }
        match place.and_then(|place| place.forget(own)) {
            Some(id) => {
                put_id(frame, id);
                Plan::Send
            }
            None => Plan::Drop,
        }
    }

    fn reset(&mut self, frame: &mut BytesMut, own: u32, place: Option<&mut Prepared>) -> Plan {
        let Some(statement) = self.statements.get_mut(&own) else { return Plan::Done };
        statement.long_data = LongData::None;
        match place.filter(|place| place.is_taken(own)) {
            Some(place) => {
                if let Some(entry) = place.find(own, &statement.key) {
                    put_id(frame, entry.id);
                }
                self.under_way =
                    Some(UnderWay { id: own, command: Command::StmtReset, types: false });
                Plan::Send
            }
            // There is nothing in it anywhere.
            None => Plan::Done,
        }
    }

    fn fetch(
        &mut self,
        frame: &mut BytesMut,
        own: u32,
        id: u32,
        place: Option<&mut Prepared>,
    ) -> Plan {
        let statement = self.statements.get(&own);
        let place = place.filter(|place| place.is_taken(own));
        let entry =
            statement.zip(place).and_then(|(statement, place)| place.find(own, &statement.key));
        let Some(entry) = entry else { return Plan::Refuse(Problem::no_cursor(id)) };
        put_id(frame, entry.id);
        self.under_way = Some(UnderWay { id: own, command: Command::StmtFetch, types: false });
        Plan::Send
    }

    fn send_long_data(
        &mut self,
        frame: &mut BytesMut,
        own: u32,
        setting: &Setting<'_>,
        place: Option<&mut Prepared>,
    ) -> Plan {
        let Some(statement) = self.statements.get_mut(&own) else { return Plan::Drop };
        let here = place.as_ref().is_some_and(|place| place.is_taken(own));
        if statement.long_data == LongData::Sent && !here {
            statement.long_data = LongData::Lost;
        }
        if statement.long_data == LongData::Lost {
            // The rest alone would be another value.
            return Plan::Drop;
        }
        let Some(place) = place else { return Plan::Lend };
        let Some(entry) = place.find(own, &statement.key) else {
            let plan = self.prepare_again(Command::StmtSendLongData, own, setting, place);
            return match plan {
                Plan::Refuse(_) => {
                    self.lose(own);
                    Plan::Drop
                }
                plan => plan,
            };
        };
        put_id(frame, entry.id);
        statement.long_data = LongData::Sent;
        place.take(own, &statement.key);
        Plan::Send
    }

    fn execute(
        &mut self,
        command: Command,
        frame: &mut BytesMut,
        own: u32,
        setting: &Setting<'_>,
        place: Option<&mut Prepared>,
    ) -> Plan {
        let Some(statement) = self.statements.get_mut(&own) else {
            return Plan::Refuse(Problem::malformed());
        };
        let body = frame.get(BODY..).unwrap_or_default();
        let parameters = statement.parameters;
        let execution = match Execution::parse(command, body, parameters, self.named) {
            Ok(execution) => execution,
            Err(wrong) => return Plan::Refuse(problem(wrong)),
        };
        let here = place.as_ref().is_some_and(|place| place.is_taken(own));
        if statement.long_data != LongData::None && !here {
            statement.long_data = LongData::None;
            return Plan::Refuse(Problem::long_data_lost());
        }
        let says = match execution.types(body, parameters) {
            Some(said) => {
                let known = statement.types.as_deref().unwrap_or_default();
                if statement.types.is_none() || !said.clone().eq(known.iter().copied()) {
                    statement.types = Some(said.collect());
                }
                true
            }
            None => false,
        };
        if parameters > 0 && !says && statement.types.is_none() {
            return Plan::Refuse(Problem::no_types());
        }
        let Some(place) = place else { return Plan::Lend };
        if command == Command::StmtBulkExecute
            && !place.capabilities.has(Capabilities::MARIADB_STMT_BULK)
        {
            return Plan::Refuse(Problem::unknown_command());
        }
        let to_named = place.capabilities.has(Capabilities::QUERY_ATTRIBUTES);
        let Some(entry) = place.find(own, &statement.key) else {
            return self.prepare_again(command, own, setting, place);
        };
        if entry.parameters != parameters {
            return Plan::Refuse(Problem::prepare_again());
        }
        let others = parameters > 0 && entry.types != statement.types;
        let put_in = statement.types.as_ref().filter(|_| others && !says);
        if put_in.is_some() || execution.differs(to_named) {
            match execution.rewrite(frame, parameters, to_named, put_in) {
                Ok(None) => {}
                Ok(Some(more)) => self.recut = recut(frame, more),
                Err(wrong) => return Plan::Refuse(problem(wrong)),
            }
        }
        put_id(frame, entry.id);
        if others {
            entry.types.clone_from(&statement.types);
        }
        if execution.wants_cursor() {
            // Of one that asks for none the server opens none.
            place.take(own, &statement.key);
        }
        self.under_way = Some(UnderWay { id: own, command, types: says || others });
        Plan::Send
    }

    /// What prepares a statement that the client has on this connection, where it is not.
    fn prepare_again(
        &mut self,
        command: Command,
        own: u32,
        setting: &Setting<'_>,
        place: &mut Prepared,
    ) -> Plan {
        let Some(statement) = self.statements.get(&own) else {
            return Plan::Refuse(Problem::prepare_again());
        };
        let key = &statement.key;
        if key.setting() != *setting {
            // There its text might mean something else.
            return Plan::Refuse(Problem::prepare_again());
        }
        let mut packets = BytesMut::new();
        place.make_room(key.len());
        place.put_closes(&mut packets);
        let mut body = Vec::with_capacity(key.text().len().saturating_add(1));
        body.put_u8(Command::StmtPrepare as u8);
        body.put_slice(key.text());
        put_packet(&mut packets, 0, &body);
        self.asked = Asked::Again { id: own, command };
        Plan::First(packets)
    }

    /// The first packet of the reply to a `COM_STMT_PREPARE`, the client's own or that of [`Plan::First`]: its body, or the
    /// first 12 bytes of one that is no ERR.
    pub fn on_prepare_reply(&mut self, body: &mut [u8], place: &mut Prepared) -> PrepareReply {
        let reply = PrepareOk::parse(body);
        match std::mem::take(&mut self.asked) {
            Asked::Nothing => PrepareReply::Pass,
            Asked::Own { key, digest } => {
                self.last = None;
                if let Ok(ok) = reply {
                    let own = self.add(key, digest, &ok, place);
                    if let Some(id) = body.get_mut(1..5) {
                        id.copy_from_slice(&own.to_le_bytes());
                    }
                }
                PrepareReply::Pass
            }
            Asked::Again { id, command } => {
                let problem = match (reply, self.statements.get_mut(&id)) {
                    (Ok(ok), Some(statement)) if ok.parameters == statement.parameters => {
                        statement.columns = ok.columns;
                        let entry = Entry::new(ok.id, ok.parameters);
                        place.insert(Arc::clone(&statement.key), entry);
                        return PrepareReply::Again;
                    }
                    (Ok(ok), _) => {
                        place.close(ok.id);
                        Problem::prepare_again()
                    }
                    (Err(Short), _) => Problem::of(body).unwrap_or_else(Problem::prepare_again),
                };
                if command == Command::StmtSendLongData {
                    self.lose(id);
                    return PrepareReply::Drop;
                }
                PrepareReply::Refuse(problem)
            }
        }
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
        place.insert(Arc::clone(&key), Entry::new(ok.id, ok.parameters));
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
        let Some(UnderWay { id, command, types }) = self.under_way.take() else { return };
        let Some(statement) = self.statements.get_mut(&id) else { return };
        statement.long_data = LongData::None;
        if error {
            // It may have come before the types were read, and with parts of parameters or a cursor left.
            place.discard(id);
            if types && let Some(entry) = place.find(id, &statement.key) {
                entry.types = None;
            }
            return;
        }
        let open = match command {
            Command::StmtFetch => !status.has(StatusFlags::LAST_ROW_SENT),
            Command::StmtExecute => status.has(StatusFlags::CURSOR_EXISTS),
            _ => false,
        };
        match open {
            true => place.take(id, &statement.key),
            false => place.give_back(id),
        }
    }

    /// The request in progress will not be answered by a server any more.
    pub fn on_failed(&mut self) {
        if let Asked::Again { id, command: Command::StmtSendLongData } = self.asked {
            self.lose(id);
        }
        self.begin();
    }

    /// The client has none any more: after `COM_RESET_CONNECTION` and `COM_CHANGE_USER`.
    pub fn clear(&mut self) {
        self.begin();
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

fn put_id(frame: &mut BytesMut, id: u32) {
    if let Some(place) = frame.get_mut(BODY..).and_then(<[u8]>::first_chunk_mut) {
        *place = id.to_le_bytes();
    }
}

/// What servers say where there is no such statement.
fn unknown(command: Command, id: u32) -> Plan {
    let to = match command {
        Command::StmtClose | Command::StmtSendLongData => return Plan::Drop,
        Command::StmtReset => "mysqld_stmt_reset",
        Command::StmtFetch => "mysqld_stmt_fetch",
        _ => "mysqld_stmt_execute",
    };
    Plan::Refuse(Problem::unknown(id, to))
}

fn problem(wrong: Wrong) -> Problem {
    match wrong {
        Wrong::Short | Wrong::Untyped => Problem::malformed(),
        Wrong::Attributes => Problem::unsupported("query attributes"),
        Wrong::TooLong => {
            Problem::unsupported("executions of more than 16 MiB with query attributes")
        }
    }
}

/// The first packet takes no more: from here on the command is cut anew.
fn recut(frame: &mut BytesMut, more: usize) -> Option<Recut> {
    let mut recut = Recut::new(Head::read(frame)?, more);
    let mut out = BytesMut::with_capacity(frame.len().saturating_add(HEAD));
    recut.put(frame.get(HEAD..).unwrap_or_default(), &mut out);
    *frame = out;
    Some(recut)
}
