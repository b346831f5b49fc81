//! What servers answer, taken apart as far as clients see it.

use anyhow::{Context, bail, ensure};
use wiremesh_mysql::wire::Reader;
use wiremesh_mysql::{Capabilities, StatusFlags};

/// The answers to one command; several where it holds several statements, or calls a procedure.
pub(crate) type Reply = Vec<Answer>;

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done(Done),
    Error(Failure),
    Rows(Table),
    /// Of `COM_STATISTICS`.
    Text(String),
    Prepared(Prepared),
}

/// An OK, or the end of rows.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) affected: u64,
    pub(crate) insert_id: u64,
    pub(crate) status: StatusFlags,
    pub(crate) warnings: u16,
    pub(crate) info: Vec<u8>,
    /// What has changed of the session's state, as it came.
    pub(crate) changes: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) number: u16,
    pub(crate) state: String,
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// The EOF behind the columns, where there is one.
    pub(crate) described: Option<Done>,
    /// As they came.
    pub(crate) rows: Vec<Vec<u8>>,
    pub(crate) end: Done,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Column {
    /// Catalog, schema, table, original table, name, original name.
    pub(crate) names: Vec<String>,
    /// MariaDB's further description.
    pub(crate) extended: Vec<u8>,
    pub(crate) charset: u16,
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u16,
    pub(crate) decimals: u8,
    /// Of `COM_FIELD_LIST` alone.
    pub(crate) default: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) id: u32,
    pub(crate) parameters: Vec<Column>,
    pub(crate) columns: Vec<Column>,
    pub(crate) warnings: u16,
}

impl Done {
    /// An OK, whichever byte it begins with.
    pub(crate) fn ok(body: &[u8], agreed: Capabilities) -> anyhow::Result<Self> {
        let mut body = Reader::new(body);
        body.u8()?;
        let (affected, insert_id) = (body.lenenc_int()?, body.lenenc_int()?);
        let (status, warnings) = (StatusFlags(body.u16()?), body.u16()?);
        let (mut info, mut changes) = (body.rest().to_vec(), Vec::new());
        if agreed.has(Capabilities::SESSION_TRACK) && !info.is_empty() {
            info = body.lenenc_bytes()?.to_vec();
            if status.has(StatusFlags::STATE_CHANGED) {
                changes = body.lenenc_bytes()?.to_vec();
            }
            ensure!(body.is_empty(), "an OK goes on behind its end");
        }
        Ok(Self { affected, insert_id, status, warnings, info, changes })
    }

    /// An EOF, or the OK that stands for it.
    pub(crate) fn end(body: &[u8], agreed: Capabilities) -> anyhow::Result<Self> {
        // No OK is that short, and some commands are answered by an EOF whatever was agreed on.
        if agreed.has(Capabilities::DEPRECATE_EOF) && body.len() != 5 {
            return Self::ok(body, agreed);
        }
        ensure!(body.len() == 5 && body[0] == 0xfe, "no EOF: [{}]", body.escape_ascii());
        let mut body = Reader::new(body);
        body.u8()?;
        let warnings = body.u16()?;
        Ok(Self { warnings, status: StatusFlags(body.u16()?), ..Self::default() })
    }
}

impl Failure {
    pub(crate) fn of(body: &[u8]) -> anyhow::Result<Self> {
        let mut body = Reader::new(body);
        body.u8()?;
        let number = body.u16()?;
        let state = match body.rest() {
            [b'#', ..] => String::from_utf8_lossy(body.take(6)?.get(1..).unwrap_or_default()),
            _ => "".into(),
        };
        let text = String::from_utf8_lossy(body.rest()).into_owned();
        Ok(Self { number, state: state.into_owned(), text })
    }
}

impl Column {
    pub(crate) fn of(body: &[u8], agreed: Capabilities) -> anyhow::Result<Self> {
        let mut body = Reader::new(body);
        let mut names = Vec::new();
        for _ in 0..6 {
            names.push(String::from_utf8_lossy(body.lenenc_bytes()?).into_owned());
        }
        let extended = match agreed.has(Capabilities::MARIADB_EXTENDED_METADATA) {
            true => body.lenenc_bytes()?.to_vec(),
            false => Vec::new(),
        };
        ensure!(body.lenenc_int()? == 12, "the fixed fields of a column are twelve bytes");
        let (charset, length, kind) = (body.u16()?, body.u32()?, body.u8()?);
        let (flags, decimals) = (body.u16()?, body.u8()?);
        body.take(2)?;
        let default = body.rest().to_vec();
        Ok(Self { names, extended, charset, length, kind, flags, decimals, default })
    }
}

impl Table {
    /// The values of rows that came as text.
    pub(crate) fn texts(&self) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        self.rows.iter().map(|row| values(Reader::new(row), self.columns.len())).collect()
    }

    /// The values of rows that came in binary and hold nothing but strings.
    pub(crate) fn strings(&self) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        let row = |row: &Vec<u8>| {
            let mut row = Reader::new(row);
            row.u8()?;
            let nulls = row.take((self.columns.len() + 9) / 8)?;
            let null = |at: usize| nulls[(at + 2) / 8] & (1 << ((at + 2) % 8)) != 0;
            let mut values = Vec::new();
            for at in 0..self.columns.len() {
                values.push(match null(at) {
                    true => None,
                    false => Some(String::from_utf8_lossy(row.lenenc_bytes()?).into_owned()),
                });
            }
            ensure!(row.is_empty(), "a row goes on behind its end");
            Ok(values)
        };
        self.rows.iter().map(row).collect()
    }
}

fn values(mut row: Reader<'_>, columns: usize) -> anyhow::Result<Vec<Option<String>>> {
    let mut values = Vec::new();
    for _ in 0..columns {
        values.push(match row.rest() {
            [0xfb, ..] => {
                row.u8()?;
                None
            }
            _ => Some(String::from_utf8_lossy(row.lenenc_bytes()?).into_owned()),
        });
    }
    ensure!(row.is_empty(), "a row goes on behind its end");
    Ok(values)
}

impl Answer {
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Error(failure) => Some(failure),
            _ => None,
        }
    }

    pub(crate) fn done(&self) -> Option<&Done> {
        match self {
            Self::Done(done) => Some(done),
            Self::Rows(table) => Some(&table.end),
            _ => None,
        }
    }

    pub(crate) fn done_mut(&mut self) -> Option<&mut Done> {
        match self {
            Self::Done(done) => Some(done),
            Self::Rows(table) => Some(&mut table.end),
            _ => None,
        }
    }

    /// The one value of the one row.
    pub(crate) fn value(&self) -> anyhow::Result<Option<String>> {
        let Self::Rows(table) = self else { bail!("a row was to come, not {self:?}") };
        let [row] = &table.texts()?[..] else { bail!("one row was to come, not {self:?}") };
        let [value] = &row[..] else { bail!("one column was to come, not {self:?}") };
        Ok(value.clone())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(done) => write!(f, "OK {done:?}"),
            Self::Error(failure) => write!(f, "{failure}"),
            Self::Text(text) => write!(f, "text {text:?}"),
            Self::Prepared(prepared) => write!(
                f,
                "prepared, warnings {}, parameters {:?}, columns {:?}",
                prepared.warnings, prepared.parameters, prepared.columns
            ),
            Self::Rows(table) => {
                write!(f, "{} rows:", table.rows.len())?;
                for row in table.rows.iter().take(5) {
                    write!(f, " [{}]", row.escape_ascii())?;
                }
                write!(f, ", columns {:?}, ", table.columns)?;
                if let Some(described) = &table.described {
                    write!(f, "then {described:?}, ")?;
                }
                write!(f, "end {:?}", table.end)
            }
        }
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "affected {}, insert id {}, ", self.affected, self.insert_id)?;
        write!(f, "status {:#x}, warnings {}", self.status.0, self.warnings)?;
        write!(f, ", info {:?}", String::from_utf8_lossy(&self.info))?;
        write!(f, ", changes [{}]", self.changes.escape_ascii())
    }
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} type {} charset {}", self.names.join("."), self.kind, self.charset)?;
        write!(f, " length {} flags {:#x}", self.length, self.flags)?;
        write!(f, " decimals {}", self.decimals)?;
        if !self.extended.is_empty() || !self.default.is_empty() {
            let (extended, default) = (self.extended.escape_ascii(), self.default.escape_ascii());
            write!(f, " extended [{extended}] default [{default}]")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error {} ({}): {}", self.number, self.state, self.text)
    }
}

/// The statement that was prepared.
pub(crate) fn prepared(reply: &Reply) -> anyhow::Result<&Prepared> {
    match reply.first().context("no answer")? {
        Answer::Prepared(prepared) => Ok(prepared),
        other => bail!("it cannot be prepared: {other:?}"),
    }
}
