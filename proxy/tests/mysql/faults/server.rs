//! A server that has every kind of reply, tells what changes in its sessions, and can be cut off anywhere.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::BytesMut;
use tokio::net::TcpStream;
use wiremesh_mysql::{
    Capabilities, Command,
    wire::{put_lenenc_bytes, put_packet},
};

use crate::{
    common::thread::ServerThread,
    peers::{Talk, greeting},
};

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::TRANSACTIONS.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_WITH_DB.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::LOCAL_FILES.0
    | Capabilities::MULTI_RESULTS.0
    | Capabilities::PS_MULTI_RESULTS.0
    | Capabilities::SESSION_TRACK.0
    | Capabilities::DEPRECATE_EOF.0;

/// What an OK tells when something has changed that has no name.
const CHANGED: &[u8] = b"\x02\x011";

const AUTOCOMMIT: u16 = 2;
const MORE: u16 = 8;
const CURSOR: u16 = 0x40;
const LAST_ROW: u16 = 0x80;
const STATE: u16 = 0x4000;

/// A server on a thread of its own.
pub struct Server {
    pub thread: ServerThread,
    pub wire: Arc<Wire>,
}

/// What a server says, on all its connections.
#[derive(Default)]
pub struct Wire {
    plan: Mutex<Plan>,
    open: AtomicU64,
}

#[derive(Default)]
struct Plan {
    /// So many bytes are still said.
    left: Option<usize>,
    cut: bool,
    listens: bool,
    /// The lengths of what was said since it was listened.
    packets: Vec<usize>,
    /// What clients said since then: command and text.
    heard: Vec<String>,
}

impl Wire {
    /// From now on, and until the witness is heard, what is said and heard is written down.
    pub fn listen(&self) {
        *self.plan.lock().expect("not poisoned") = Plan { listens: true, ..Plan::default() };
    }

    /// The lengths of the packets that were said, and what was heard.
    pub fn listened(&self) -> (Vec<usize>, Vec<String>) {
        let mut plan = self.plan.lock().expect("not poisoned");
        (mem::take(&mut plan.packets), mem::take(&mut plan.heard))
    }

    /// After so many more bytes the connection ends that says the last of them, if that is before the witness is heard.
    pub fn cut_after(&self, bytes: usize) {
        *self.plan.lock().expect("not poisoned") = Plan { left: Some(bytes), ..Plan::default() };
    }

    /// Whether that has happened, and the connection is closed.
    pub fn is_cut(&self) -> bool {
        self.plan.lock().expect("not poisoned").cut
    }

    /// Nothing is cut off or written down any more.
    fn let_be(&self) {
        let mut plan = self.plan.lock().expect("not poisoned");
        (plan.left, plan.listens) = (None, false);
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// How much of so many bytes may be said, and whether the connection goes on.
    fn may_say(&self, len: usize) -> (usize, bool) {
        let mut plan = self.plan.lock().expect("not poisoned");
        if plan.listens {
            plan.packets.push(len);
        }
        let Some(left) = plan.left else { return (len, true) };
        if len < left {
            plan.left = Some(left - len);
            return (len, true);
        }
        plan.left = None;
        (left, false)
    }

    fn hears(&self, what: String) {
        let mut plan = self.plan.lock().expect("not poisoned");
        if plan.listens {
            plan.heard.push(what);
        }
    }
}

impl Server {
    pub fn start() -> Self {
        let wire = Arc::<Wire>::default();
        let thread = ServerThread::each({
            let wire = wire.clone();
            move |stream| {
                let wire = wire.clone();
                async move {
                    wire.open.fetch_add(1, Relaxed);
                    let mut session = Session::new(stream, wire.clone());
                    session.serve().await;
                    let cut = session.cut;
                    drop(session);
                    wire.open.fetch_sub(1, Relaxed);
                    wire.plan.lock().expect("not poisoned").cut |= cut;
                }
            }
        });
        Self { thread, wire }
    }
}

/// A prepared statement.
struct Prepared {
    text: String,
    /// How much was said of its parameters beforehand.
    long: usize,
    /// The rows that can still be fetched.
    rows: Vec<String>,
}

struct Session {
    talk: Talk,
    wire: Arc<Wire>,
    schema: String,
    zone: String,
    variable: String,
    /// What was agreed on.
    agreed: Capabilities,
    prepared: HashMap<u32, Prepared>,
    last: u32,
    seq: u8,
    cut: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Binary,
}

impl Session {
    fn new(stream: TcpStream, wire: Arc<Wire>) -> Self {
        Self {
            talk: Talk::new(stream),
            wire,
            schema: String::new(),
            zone: "SYSTEM".into(),
            variable: String::new(),
            agreed: Capabilities(0),
            prepared: HashMap::new(),
            last: 40,
            seq: 0,
            cut: false,
        }
    }

    async fn serve(&mut self) -> Option<()> {
        self.greet().await?;
        loop {
            let (seq, said) = self.talk.receive().await?;
            self.seq = seq.wrapping_add(1);
            let command = Command::of(said[0]).expect("it is known");
            self.answer(command, &said[1..]).await?;
        }
    }

    async fn greet(&mut self) -> Option<()> {
        let greeting = greeting(CAPS, 7, "mysql_native_password");
        self.say(&greeting).await?;
        let login = self.hear().await?;
        let wanted = u32::from_le_bytes(*login.first_chunk().expect("flags"));
        self.agreed = Capabilities(u64::from(wanted) & CAPS);
        self.let_in(&login[32..]).await
    }

    /// What comes in the middle of an exchange.
    async fn hear(&mut self) -> Option<Vec<u8>> {
        let (seq, said) = self.talk.receive().await?;
        self.seq = seq.wrapping_add(1);
        Some(said)
    }

    /// Whoever logs in is to use another plugin first; of `ann` it wants the password itself, and `eve` is not let in.
    async fn let_in(&mut self, login: &[u8]) -> Option<()> {
        if login.starts_with(b"ann\0") {
            self.say(b"\xfecaching_sha2_password\0saltsaltmoresaltmore\0").await?;
            self.hear().await?;
            self.say(b"\x01\x04").await?;
            self.hear().await?;
            self.say(b"\x01-----BEGIN PUBLIC KEY-----").await?;
            self.hear().await?;
        } else {
            self.say(b"\xfemysql_native_password\0saltsaltmoresaltmore\0").await?;
            self.hear().await?;
        }
        if login.starts_with(b"eve\0") {
            self.say(b"\xff\x15\x04#28000no eve").await?;
            return None;
        }
        self.ok(0, 0, "", b"").await
    }

    /// The next packet, or as much of it as may be said.
    async fn say(&mut self, body: &[u8]) -> Option<()> {
        let mut packet = BytesMut::new();
        put_packet(&mut packet, self.seq, body);
        self.seq = self.seq.wrapping_add(1);
        let (len, goes_on) = self.wire.may_say(packet.len());
        self.cut = !goes_on;
        self.talk.write(&packet[..len]).await?;
        goes_on.then_some(())
    }

    async fn ok(&mut self, affected: u8, more: u16, info: &str, changes: &[u8]) -> Option<()> {
        self.end(0, affected, more, info, changes).await
    }

    /// An OK, or with another first byte the end of rows.
    async fn end(
        &mut self,
        first: u8,
        affected: u8,
        more: u16,
        info: &str,
        changes: &[u8],
    ) -> Option<()> {
        let changes = if self.agreed.has(Capabilities::SESSION_TRACK) { changes } else { b"" };
        let status = AUTOCOMMIT | more | if changes.is_empty() { 0 } else { STATE };
        let [low, high] = status.to_le_bytes();
        if first == 0xfe && !self.agreed.has(Capabilities::DEPRECATE_EOF) {
            return self.say(&[first, 0, 0, low, high]).await;
        }
        let mut body = BytesMut::from(&[first, affected, 0, low, high, 0, 0][..]);
        if !info.is_empty() || !changes.is_empty() {
            put_lenenc_bytes(&mut body, info.as_bytes());
        }
        if !changes.is_empty() {
            put_lenenc_bytes(&mut body, changes);
        }
        self.say(&body).await
    }

    async fn error(&mut self, tag: &str) -> Option<()> {
        let mut body = b"\xff\x28\x04#42000no ".to_vec();
        body.extend(tag.bytes());
        self.say(&body).await
    }

    async fn definition(&mut self, tag: &str) -> Option<()> {
        let mut body = BytesMut::new();
        for word in ["def", "", tag, tag, "a", "a"] {
            put_lenenc_bytes(&mut body, word.as_bytes());
        }
        body.extend([0x0c, 45, 0, 0, 4, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        self.say(&body).await
    }

    async fn rows(
        &mut self,
        form: Form,
        tag: &str,
        rows: &[String],
        more: u16,
        changes: &[u8],
    ) -> Option<()> {
        self.columns(tag, more).await?;
        self.values(form, rows).await?;
        self.end(0xfe, 0, more, "", changes).await
    }

    /// One, and its end where rows follow it.
    async fn columns(&mut self, tag: &str, more: u16) -> Option<()> {
        self.say(&[1]).await?;
        self.definition(tag).await?;
        self.end_columns(more).await
    }

    /// What ends columns, for those who want it.
    async fn end_columns(&mut self, more: u16) -> Option<()> {
        match self.agreed.has(Capabilities::DEPRECATE_EOF) {
            true => Some(()),
            false => self.end(0xfe, 0, more, "", b"").await,
        }
    }

    async fn values(&mut self, form: Form, rows: &[String]) -> Option<()> {
        for row in rows {
            let mut body = BytesMut::new();
            if form == Form::Binary {
                body.extend([0, 0]);
            }
            put_lenenc_bytes(&mut body, row.as_bytes());
            self.say(&body).await?;
        }
        Some(())
    }

    async fn answer(&mut self, command: Command, said: &[u8]) -> Option<()> {
        let text = String::from_utf8_lossy(said).into_owned();
        if command == Command::Query && tag_of(&text) == "witness" {
            self.wire.let_be();
        } else {
            self.wire.hears(format!("{} {text}", command.name()));
        }
        match command {
            Command::Query => self.query(&text).await,
            Command::InitDb => self.enter(&text).await,
            Command::Statistics => self.say(b"Uptime: 1").await,
            Command::ResetConnection => {
                (self.zone, self.variable) = ("SYSTEM".into(), String::new());
                self.prepared.clear();
                self.ok(0, 0, "", b"").await
            }
            Command::StmtPrepare => self.prepare(text).await,
            Command::StmtClose => {
                self.prepared.remove(&id_in(said));
                Some(())
            }
            Command::StmtSendLongData => {
                let statement = self.prepared.get_mut(&id_in(said)).expect("it is prepared");
                statement.long += said.len() - 6;
                Some(())
            }
            Command::StmtExecute => self.execute(said).await,
            Command::StmtFetch => self.fetch(said).await,
            Command::ChangeUser => {
                (self.schema, self.zone) = (String::new(), "SYSTEM".into());
                self.variable.clear();
                self.prepared.clear();
                self.let_in(said).await
            }
            Command::FieldList => {
                // With its default.
                for _ in 0..2 {
                    self.definition(text.trim_end_matches('\0')).await?;
                }
                self.end(0xfe, 0, 0, "", b"").await
            }
            Command::ProcessInfo => {
                let rows = ["7 joe".to_owned(), "8 joe".to_owned()];
                self.rows(Form::Text, "process", &rows, 0, b"").await
            }
            Command::SetOption | Command::Debug => self.end(0xfe, 0, 0, "", b"").await,
            _ => self.ok(0, 0, "", b"").await,
        }
    }

    async fn enter(&mut self, schema: &str) -> Option<()> {
        self.schema = schema.into();
        let mut name = BytesMut::new();
        put_lenenc_bytes(&mut name, schema.as_bytes());
        let mut changes = BytesMut::from(&[1][..]);
        put_lenenc_bytes(&mut changes, &name);
        changes.extend(CHANGED);
        self.ok(0, 0, "", &changes).await
    }

    async fn query(&mut self, text: &str) -> Option<()> {
        let tag = tag_of(text);
        if let Some(schema) = text.strip_prefix("use ") {
            return self.enter(schema).await;
        }
        if text.starts_with("SET NAMES") {
            return self.ok(0, 0, "", CHANGED).await;
        }
        if let Some((_, zone)) = text.split_once("time_zone") {
            self.zone = zone.split('\'').nth(1).unwrap_or("SYSTEM").into();
            let mut pair = BytesMut::new();
            put_lenenc_bytes(&mut pair, b"time_zone");
            put_lenenc_bytes(&mut pair, self.zone.as_bytes());
            let mut changes = BytesMut::from(&[0][..]);
            put_lenenc_bytes(&mut changes, &pair);
            changes.extend(CHANGED);
            return self.ok(0, 0, "", &changes).await;
        }
        if let Some(value) = text.strip_prefix("set @a = ") {
            self.variable = value.into();
            return self.ok(0, 0, "", CHANGED).await;
        }
        if text.starts_with("load data") {
            return self.load(tag).await;
        }
        let rows = |n| (0..n).map(|row| format!("{tag} row {row}")).collect::<Vec<_>>();
        match text.split([' ', '(']).take(2).collect::<Vec<_>>()[..] {
            ["select", "state"] => {
                let Self { schema, zone, variable, .. } = &self;
                let state = format!("{tag}: {schema:?} {zone:?} {variable:?}");
                self.rows(Form::Text, tag, &[state], 0, b"").await
            }
            ["select", "rows"] => self.rows(Form::Text, tag, &rows(3), 0, b"").await,
            ["select", "none"] => self.rows(Form::Text, tag, &[], 0, b"").await,
            ["select", "long"] => {
                let row = format!("{tag} {}", "l".repeat(100_000));
                self.rows(Form::Text, tag, &[row], 0, b"").await
            }
            ["call", _] => {
                self.ok(1, MORE, tag, b"").await?;
                self.rows(Form::Text, tag, &rows(2), MORE, b"").await?;
                self.rows(Form::Text, tag, &rows(1), MORE, b"").await?;
                self.ok(2, 0, tag, b"").await
            }
            ["select", "fail"] => self.error(tag).await,
            ["select", "midway"] => {
                self.columns(tag, 0).await?;
                self.values(Form::Text, &rows(2)).await?;
                self.error(tag).await
            }
            _ => self.ok(7, 0, tag, b"").await,
        }
    }

    /// Has the client send a file.
    async fn load(&mut self, tag: &str) -> Option<()> {
        let mut ask = vec![0xfb];
        ask.extend(tag.bytes());
        self.say(&ask).await?;
        let mut len = 0;
        loop {
            let (seq, part) = self.talk.receive().await?;
            self.seq = seq.wrapping_add(1);
            if part.is_empty() {
                return self.ok(1, 0, &format!("{tag}: {len} bytes"), b"").await;
            }
            len += part.len();
        }
    }

    async fn prepare(&mut self, text: String) -> Option<()> {
        self.last += 1;
        let parameters = text.bytes().filter(|byte| *byte == b'?').count();
        let mut head = vec![0];
        head.extend(self.last.to_le_bytes());
        head.extend([1, 0, parameters as u8, 0, 0, 0, 0]);
        self.say(&head).await?;
        for _ in 0..parameters {
            self.definition("?").await?;
        }
        if parameters > 0 {
            self.end_columns(0).await?;
        }
        self.definition(tag_of(&text)).await?;
        self.end_columns(0).await?;
        let statement = Prepared { text, long: 0, rows: Vec::new() };
        self.prepared.insert(self.last, statement);
        Some(())
    }

    async fn execute(&mut self, said: &[u8]) -> Option<()> {
        let statement = self.prepared.get_mut(&id_in(said)).expect("it is prepared");
        let (tag, long) = (tag_of(&statement.text).to_owned(), mem::take(&mut statement.long));
        let rows: Vec<_> = (0..3).map(|row| format!("{tag} row {row}, {long} long")).collect();
        if said[4] == 1 {
            statement.rows = rows;
            self.say(&[1]).await?;
            self.definition(&tag).await?;
            // One end is that of the columns and of what was asked.
            return self.end(0xfe, 0, CURSOR, "", b"").await;
        }
        self.rows(Form::Binary, &tag, &rows, 0, b"").await
    }

    async fn fetch(&mut self, said: &[u8]) -> Option<()> {
        let statement = self.prepared.get_mut(&id_in(said)).expect("it is prepared");
        let count = usize::from(said[4]).min(statement.rows.len());
        let rows: Vec<_> = statement.rows.drain(..count).collect();
        let more = if statement.rows.is_empty() { LAST_ROW } else { CURSOR };
        self.values(Form::Binary, &rows).await?;
        self.end(0xfe, 0, more, "", b"").await
    }
}

/// Whose statement it is: each client of the tests has a name of its own for its tables.
fn tag_of(text: &str) -> &str {
    let mut words = text.split([' ', '(', ')', '\'']);
    words.rfind(|word| ["one", "witness"].contains(word)).unwrap_or_default()
}

fn id_in(said: &[u8]) -> u32 {
    u32::from_le_bytes(said[..4].try_into().expect("an id"))
}
