//! A session with a server: a login, and commands with their answers.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, BytesMut};
use wiremesh::Password;
use wiremesh_mysql::auth::{Channel, KeySource};
use wiremesh_mysql::handshake::{Attributes, ClientConfig, ClientHandshake, Established, TlsWish};
use wiremesh_mysql::wire::{Reader, put_lenenc_bytes, put_lenenc_int, put_packet};
use wiremesh_mysql::{Capabilities, Command, StatusFlags};

use crate::client::converse;
use crate::link::Link;
use crate::reply::{Answer, Column, Done, Failure, Prepared, Reply, Table};

/// Who logs in, and how.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) schema: String,
    pub(crate) collation: u8,
    /// Beside the necessary.
    pub(crate) wanted: Capabilities,
}

impl Login {
    /// With what most clients ask for, and no schema.
    pub(crate) fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
            schema: String::new(),
            collation: 45,
            wanted: Capabilities::MULTI_STATEMENTS
                | Capabilities::MULTI_RESULTS
                | Capabilities::PS_MULTI_RESULTS
                | Capabilities::DEPRECATE_EOF,
        }
    }

    fn config(&self) -> ClientConfig {
        ClientConfig {
            user: self.user.clone().into(),
            password: Password::new(self.password.as_str()),
            schema: self.schema.clone().into(),
            wanted: self.wanted,
            tls: TlsWish::Off,
            channel: Channel::Open,
            keys: KeySource::Asked,
            attributes: Attributes::of([("program_name", "mysql-check")]),
            collation: self.collation,
            max_packet: 1 << 24,
            zstd_level: 3,
        }
    }
}

/// What a statement with parameters is executed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution<'a> {
    pub(crate) id: u32,
    /// Strings, or NULL; what was sent as long data is `Parameter::Long`.
    pub(crate) parameters: &'a [Parameter<'a>],
    /// Whether their types are told.
    pub(crate) types: bool,
    pub(crate) cursor: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameter<'a> {
    Null,
    Text(&'a str),
    Number(i64),
    Long,
}

/// What is said beside every other statement, and with executions that tell types, where query attributes were agreed on: one
/// of the values is NULL.
const ATTRIBUTES: [(&str, Option<&str>); 2] = [("who", Some("wm")), ("nobody", None)];

pub(crate) struct Conn {
    link: Link,
    established: Box<Established>,
    pub(crate) agreed: Capabilities,
    /// The sequence number that is due.
    seq: u8,
    /// The bodies of what came, where somebody wants them.
    tap: Option<Vec<BytesMut>>,
}

impl Conn {
    pub(crate) fn login(address: SocketAddr, login: &Login) -> anyhow::Result<Self> {
        let mut link = Link::new(TcpStream::connect(address)?)?;
        let (established, _) = converse(&mut link, ClientHandshake::new(login.config()), None)?;
        let agreed = established.agreed;
        Ok(Self { link, established, agreed, seq: 0, tap: None })
    }

    /// As the server names its version.
    pub(crate) fn version(&self) -> String {
        String::from_utf8_lossy(&self.established.greeting.version).into_owned()
    }

    /// What the login was answered with.
    pub(crate) fn welcome(&self) -> anyhow::Result<Done> {
        Done::ok(&self.established.ok, self.agreed)
    }

    pub(crate) fn change_user(&mut self, login: &Login) -> anyhow::Result<()> {
        let (handshake, step) = ClientHandshake::change_user(login.config(), &self.established)?;
        self.established = converse(&mut self.link, handshake, Some(step))?.0;
        Ok(())
    }

    /// Sends a command and reads nothing.
    pub(crate) fn send(&mut self, command: Command, rest: &[u8]) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        put_packet(&mut out, 0, &[&[command as u8], rest].concat());
        self.seq = 1;
        self.link.ask(&out)
    }

    /// A statement as text; its results, one after the other.
    pub(crate) fn query(&mut self, text: &str) -> anyhow::Result<Reply> {
        let mut body = BytesMut::new();
        match (self.agreed.has(Capabilities::QUERY_ATTRIBUTES), text.len() % 2) {
            (false, _) => {}
            // None, in one set.
            (true, 0) => body.put_slice(&[0, 1]),
            (true, _) => {
                // The second is NULL, and types are told.
                body.put_slice(&[2, 1, 2, 1]);
                for (name, _) in ATTRIBUTES {
                    put_attribute(&mut body, name);
                }
                for value in ATTRIBUTES.iter().filter_map(|attribute| attribute.1) {
                    put_lenenc_bytes(&mut body, value.as_bytes());
                }
            }
        }
        body.put_slice(text.as_bytes());
        self.send(Command::Query, &body)?;
        self.results(false)
    }

    /// A statement without results, or with one of them.
    pub(crate) fn statement(&mut self, text: &str) -> anyhow::Result<Answer> {
        let mut reply = self.query(text)?;
        ensure!(reply.len() == 1, "{} results", reply.len());
        reply.pop().context("no answer")
    }

    /// A command that is answered by OK, EOF or error.
    pub(crate) fn simple(&mut self, command: Command, rest: &[u8]) -> anyhow::Result<Reply> {
        self.send(command, rest)?;
        let body = self.body()?;
        Ok(vec![match body.first() {
            Some(0) => Answer::Done(Done::ok(&body, self.agreed)?),
            Some(0xfe) => Answer::Done(Done::end(&body, self.agreed)?),
            Some(0xff) => Answer::Error(Failure::of(&body)?),
            other => bail!("{command:?} is answered by {other:?}"),
        }])
    }

    pub(crate) fn statistics(&mut self) -> anyhow::Result<Reply> {
        self.send(Command::Statistics, &[])?;
        let body = self.body()?;
        match body.first() {
            Some(0xff) => Ok(vec![Answer::Error(Failure::of(&body)?)]),
            _ => Ok(vec![Answer::Text(String::from_utf8_lossy(&body).into_owned())]),
        }
    }

    pub(crate) fn field_list(&mut self, table: &str, like: &str) -> anyhow::Result<Reply> {
        self.send(Command::FieldList, &[table.as_bytes(), &[0], like.as_bytes()].concat())?;
        let (mut columns, rows) = (Vec::new(), Vec::new());
        loop {
            let body = self.body()?;
            match body.first() {
                Some(0xff) => return Ok(vec![Answer::Error(Failure::of(&body)?)]),
                Some(0xfe) => {
                    let end = Done::end(&body, self.agreed)?;
                    return Ok(vec![Answer::Rows(Table { columns, described: None, rows, end })]);
                }
                _ => columns.push(Column::of(&body, self.agreed)?),
            }
        }
    }

    pub(crate) fn prepare(&mut self, text: &str) -> anyhow::Result<Reply> {
        self.send(Command::StmtPrepare, text.as_bytes())?;
        self.preparation()
    }

    fn preparation(&mut self) -> anyhow::Result<Reply> {
        let body = self.body()?;
        if body.first() == Some(&0xff) {
            return Ok(vec![Answer::Error(Failure::of(&body)?)]);
        }
        let mut head = Reader::new(&body);
        ensure!(head.u8()? == 0, "it is neither prepared nor refused");
        let (id, columns, parameters) = (head.u32()?, head.u16()?, head.u16()?);
        head.u8()?;
        let warnings = head.u16()?;
        let parameters = self.columns(parameters.into())?;
        let columns = self.columns(columns.into())?;
        Ok(vec![Answer::Prepared(Prepared { id, parameters, columns, warnings })])
    }

    /// Descriptions, and what ends them.
    fn columns(&mut self, count: u64) -> anyhow::Result<Vec<Column>> {
        let mut columns = Vec::new();
        for _ in 0..count {
            let body = self.body()?;
            columns.push(Column::of(&body, self.agreed)?);
        }
        if count > 0 && !self.agreed.has(Capabilities::DEPRECATE_EOF) {
            Done::end(&self.body()?, self.agreed)?;
        }
        Ok(columns)
    }

    pub(crate) fn execute(&mut self, what: Execution<'_>) -> anyhow::Result<Reply> {
        let count = what.parameters.len();
        let mut body = BytesMut::new();
        body.put_u32_le(what.id);
        let named = self.agreed.has(Capabilities::QUERY_ATTRIBUTES);
        let attributes = if named && what.types { &ATTRIBUTES[..] } else { &[] };
        // The count is told, also where there is nothing to count.
        body.put_u8(u8::from(what.cursor) | if named { 8 } else { 0 });
        body.put_u32_le(1);
        let own = count;
        let count = own + attributes.len();
        if named {
            put_lenenc_int(&mut body, count as u64);
        }
        if count > 0 {
            let mut nulls = vec![0_u8; count.div_ceil(8)];
            for (at, parameter) in what.parameters.iter().enumerate() {
                nulls[at / 8] |= u8::from(matches!(parameter, Parameter::Null)) << (at % 8);
            }
            for (at, (_, value)) in attributes.iter().enumerate() {
                nulls[(own + at) / 8] |= u8::from(value.is_none()) << ((own + at) % 8);
            }
            body.put_slice(&nulls);
            body.put_u8(u8::from(what.types));
            for parameter in what.parameters.iter().filter(|_| what.types) {
                body.put_u16_le(match parameter {
                    Parameter::Number(_) => 8,
                    Parameter::Long => 252,
                    Parameter::Null | Parameter::Text(_) => 253,
                });
                if named {
                    put_lenenc_bytes(&mut body, b"");
                }
            }
            for (name, _) in attributes {
                put_attribute(&mut body, name);
            }
            for parameter in what.parameters {
                match parameter {
                    Parameter::Text(text) => put_lenenc_bytes(&mut body, text.as_bytes()),
                    Parameter::Number(number) => body.put_i64_le(*number),
                    Parameter::Null | Parameter::Long => {}
                }
            }
            for value in attributes.iter().filter_map(|attribute| attribute.1) {
                put_lenenc_bytes(&mut body, value.as_bytes());
            }
        }
        self.send(Command::StmtExecute, &body)?;
        self.results(true)
    }

    /// Up to `count` rows of a cursor.
    pub(crate) fn fetch(&mut self, id: u32, count: u32) -> anyhow::Result<Reply> {
        self.send(Command::StmtFetch, &[id.to_le_bytes(), count.to_le_bytes()].concat())?;
        match self.rows(Vec::new(), None)? {
            Ok(table) => Ok(vec![Answer::Rows(table)]),
            Err(failure) => Ok(vec![Answer::Error(failure)]),
        }
    }

    /// Part of a parameter's value; it has no answer.
    pub(crate) fn long_data(&mut self, id: u32, at: u16, data: &[u8]) -> anyhow::Result<()> {
        let head = [&id.to_le_bytes()[..], &at.to_le_bytes()].concat();
        self.send(Command::StmtSendLongData, &[&head, data].concat())
    }

    /// It has no answer.
    pub(crate) fn close(&mut self, id: u32) -> anyhow::Result<()> {
        self.send(Command::StmtClose, &id.to_le_bytes())
    }

    /// Forgets cursor and long data.
    pub(crate) fn restart(&mut self, id: u32) -> anyhow::Result<Reply> {
        self.simple(Command::StmtReset, &id.to_le_bytes())
    }

    /// Passes a command of somebody else's on; the bodies of the packets that it is answered with.
    pub(crate) fn pass(&mut self, command: &[u8]) -> anyhow::Result<Vec<BytesMut>> {
        let (code, rest) = command.split_first().context("an empty command")?;
        let code = Command::of(*code).context("a command that is not known")?;
        self.tap = Some(Vec::new());
        self.send(code, rest)?;
        match code {
            Command::Query => drop(self.results(false)?),
            Command::StmtExecute => drop(self.results(true)?),
            Command::StmtPrepare => drop(self.preparation()?),
            Command::StmtFetch => drop(self.rows(Vec::new(), None)?),
            Command::StmtClose | Command::StmtSendLongData => {}
            _ => drop(self.body()?),
        }
        Ok(self.tap.take().unwrap_or_default())
    }

    fn results(&mut self, executed: bool) -> anyhow::Result<Reply> {
        let mut reply = Vec::new();
        loop {
            let answer = self.result(executed)?;
            let more = answer.done().is_some_and(|done| done.status.has(StatusFlags::MORE_RESULTS));
            reply.push(answer);
            if !more {
                return Ok(reply);
            }
        }
    }

    fn result(&mut self, executed: bool) -> anyhow::Result<Answer> {
        let mut body = self.body()?;
        if body.first() == Some(&0xfb) {
            // It asks for a file, of which this much is there.
            let mut out = BytesMut::new();
            let next = put_packet(&mut out, self.seq, b"1\tfirst\n2\tsecond\n");
            self.seq = put_packet(&mut out, next, b"");
            self.link.send(&out)?;
            body = self.body()?;
        }
        Ok(match body.first() {
            Some(0) => Answer::Done(Done::ok(&body, self.agreed)?),
            Some(0xff) => Answer::Error(Failure::of(&body)?),
            _ => {
                let mut columns = Vec::new();
                for _ in 0..Reader::new(&body).lenenc_int()? {
                    let body = self.body()?;
                    columns.push(Column::of(&body, self.agreed)?);
                }
                let mut described = None;
                if !self.agreed.has(Capabilities::DEPRECATE_EOF) {
                    let end = Done::end(&self.body()?, self.agreed)?;
                    if executed && end.status.has(StatusFlags::CURSOR_EXISTS) {
                        let rows = Vec::new();
                        return Ok(Answer::Rows(Table { columns, described, rows, end }));
                    }
                    described = Some(end);
                }
                match self.rows(columns, described)? {
                    Ok(table) => Answer::Rows(table),
                    Err(failure) => Answer::Error(failure),
                }
            }
        })
    }

    /// Up to their end.
    fn rows(
        &mut self,
        columns: Vec<Column>,
        described: Option<Done>,
    ) -> anyhow::Result<Result<Table, Failure>> {
        let mut rows = Vec::new();
        loop {
            let body = self.body()?;
            match body.first() {
                Some(0xff) => return Ok(Err(Failure::of(&body)?)),
                Some(0xfe) if body.len() < 0xff_ffff => {
                    let end = Done::end(&body, self.agreed)?;
                    return Ok(Ok(Table { columns, described, rows, end }));
                }
                _ => rows.push(body.to_vec()),
            }
        }
    }

    /// The next packet, which has to have the number that is due.
    fn body(&mut self) -> anyhow::Result<BytesMut> {
        let (seq, body) = self.link.packet()?.context("the connection is closed")?;
        // The last part's number is known, of a packet that is continued.
        let parts = u8::try_from(body.len() / 0xff_ffff % 256)?;
        let due = self.seq.wrapping_add(parts);
        // Errors that come between replies are numbered anew by some servers.
        ensure!(seq == due, "packet {seq} came, {due} was due");
        self.seq = due.wrapping_add(1);
        if let Some(tap) = &mut self.tap {
            tap.push(body.clone());
        }
        Ok(body)
    }
}

/// A string's type, and its name.
fn put_attribute(body: &mut BytesMut, name: &str) {
    body.put_u16_le(254);
    put_lenenc_bytes(body, name.as_bytes());
}
