use wiremesh::DecodeError;

use super::{ErrPacket, OkPacket, Shape};
use crate::{
    Capabilities, StatusFlags,
    wire::{MAX_BODY, Passed, Reader, Short},
};

const OK: u8 = 0x00;
const INFILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;

/// The longest EOF. A row that begins like one is longer.
const MAX_EOF: usize = 8;

/// The number of an ERR that is none: MariaDB's report of how far a statement is.
const PROGRESS: u16 = 0xffff;

/// More columns than any server has.
const MAX_COLUMNS: u64 = 0xffff;

/// What a reply has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the last OK or EOF said; `None`: there was none yet.
    pub ok: Option<OkPacket>,
    /// The error that has ended it.
    pub error: Option<ErrPacket>,
    /// How many rows came.
    pub rows: u64,
    /// How many results came to their end.
    pub results: u32,
    /// How many rows the results' OKs said were changed.
    pub affected: u64,
    /// How many files the client was asked for.
    pub files: u32,
    /// The id of the statement that was prepared.
    pub statement: Option<u32>,
}

/// Where a reply is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    capabilities: Capabilities,
    pub(crate) shape: Shape,
    pub(crate) phase: Phase,
    /// The rows are those of OUT parameters, behind which there is an OK always. MySQL says so before the rows only.
    pub(crate) out_parameters: bool,
    pub(crate) outcome: Outcome,
}

/// What a packet is to those who give it another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A description, a row, a text, or what belongs to a login: the same for everybody.
    Plain,
    /// How many columns there are, or which file is wanted.
    Head,
    Ok,
    /// An EOF, or the OK that stands for it, behind rows, descriptions alone, or in place of an OK.
    End,
    /// An EOF behind descriptions, which rows may follow.
    DefinitionsEnd,
    Prepared,
    Error,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Done,
    Single,
    Text,
    /// The first packet of a result.
    Result,
    /// As that, after the client's file.
    Upload,
    /// Descriptions of so many parameters or columns, one at least.
    Definitions(u64, Then),
    /// Their EOF.
    DefinitionsEnd(Then),
    Rows,
    Fields,
    Prepared,
    Login,
    Relay,
}

/// What comes after descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Rows,
    /// Descriptions of so many columns.
    Columns(u16, bool),
    Done,
}

impl Progress {
    pub(crate) fn new(capabilities: Capabilities) -> Self {
        let outcome = Outcome::default();
        let (shape, phase) = (Shape::None, Phase::Done);
        Self { capabilities, shape, phase, out_parameters: false, outcome }
    }

    pub(crate) fn begin(&mut self, shape: Shape) {
        self.shape = shape;
        self.phase = match shape {
            Shape::None => Phase::Done,
            Shape::Single => Phase::Single,
            Shape::Text => Phase::Text,
            Shape::Results | Shape::Execution => Phase::Result,
            Shape::Rows => Phase::Rows,
            Shape::Fields => Phase::Fields,
            Shape::Prepared => Phase::Prepared,
            Shape::Login => Phase::Login,
            Shape::Relay => Phase::Relay,
        };
        self.out_parameters = false;
        self.outcome = Outcome::default();
    }

    fn has(&self, capability: Capabilities) -> bool {
        self.capabilities.has(capability)
    }

    /// What the packet is that comes next, by the first byte and the length of its body.
    pub(crate) fn part(&self, first: Option<u8>, len: usize) -> Part {
        match (self.phase, first) {
            (Phase::Rows, Some(1..=250)) => Part::Plain,
            (_, Some(ERR)) => Part::Error,
            (Phase::Rows | Phase::Fields, Some(EOF)) if self.is_end(first, len) => Part::End,
            (Phase::Single | Phase::Result | Phase::Upload | Phase::Login, Some(OK)) => Part::Ok,
            (Phase::Single, _) => Part::End,
            (Phase::Result | Phase::Upload, _) if self.is_end(first, len) => Part::End,
            (Phase::Result | Phase::Upload, _) => Part::Head,
            (Phase::DefinitionsEnd(_), _) => Part::DefinitionsEnd,
            (Phase::Prepared, _) => Part::Prepared,
            _ => Part::Plain,
        }
    }

    pub(crate) fn on_packet(&mut self, packet: Passed<'_>) -> Result<(), DecodeError> {
        // Rows first: there are many of them.
        let first = packet.first();
        if self.phase == Phase::Rows && !matches!(first, Some(EOF | ERR)) {
            self.outcome.rows = self.outcome.rows.saturating_add(1);
            return Ok(());
        }
        if first == Some(ERR) {
            return self.on_error(packet);
        }
        let next = match self.phase {
            Phase::Done | Phase::Relay => Ok(self.phase),
            Phase::Single => self.on_single(packet),
            Phase::Text => Ok(Phase::Done),
            Phase::Result | Phase::Upload => self.on_result(packet),
            Phase::Definitions(left, then) => Ok(self.definitions(left.saturating_sub(1), then)),
            Phase::DefinitionsEnd(then) => self.on_definitions_end(packet, then),
            Phase::Rows => self.on_rows_end(packet),
            Phase::Fields => self.on_field(packet),
            Phase::Prepared => self.on_prepared(packet),
            Phase::Login => self.on_login(packet),
        };
        self.phase = next.map_err(|Short| DecodeError::Malformed { what: "reply" })?;
        Ok(())
    }

    fn on_error(&mut self, packet: Passed<'_>) -> Result<(), DecodeError> {
        let error = ErrPacket::parse(packet.start)
            .map_err(|Short| DecodeError::Malformed { what: "error packet" })?;
        if error.number == PROGRESS && self.has(Capabilities::MARIADB_PROGRESS) {
            return Ok(());
        }
        self.outcome.error = Some(error);
        self.phase = Phase::Done;
        Ok(())
    }

    /// Keeps what an OK or EOF said.
    fn note(&mut self, ok: OkPacket) -> StatusFlags {
        self.outcome.ok = Some(ok);
        self.outcome.affected = self.outcome.affected.saturating_add(ok.affected);
        ok.status
    }

    /// An EOF, or the OK that stands for it.
    fn note_end(&mut self, packet: Passed<'_>) -> Result<StatusFlags, Short> {
        let ok = match packet.len {
            // Servers send some of the old kind to clients of the new, too.
            0..=5 => OkPacket::parse_eof(packet.start)?,
            _ if self.has(Capabilities::DEPRECATE_EOF) => OkPacket::parse(packet.start)?,
            _ => OkPacket::parse_eof(packet.start)?,
        };
        Ok(self.note(ok))
    }

    /// Whether a packet that begins like it is the end of rows, and not one of them.
    fn is_end(&self, first: Option<u8>, len: usize) -> bool {
        let max = if self.has(Capabilities::DEPRECATE_EOF) { MAX_BODY - 1 } else { MAX_EOF };
        first == Some(EOF) && len <= max
    }

    /// One result is over.
    fn after_result(&mut self, status: StatusFlags) -> Phase {
        self.outcome.results = self.outcome.results.saturating_add(1);
        let several = matches!(self.shape, Shape::Results | Shape::Execution);
        let out_parameters = std::mem::take(&mut self.out_parameters);
        let more = status.has(StatusFlags::MORE_RESULTS) || out_parameters;
        if several && more { Phase::Result } else { Phase::Done }
    }

    fn on_single(&mut self, packet: Passed<'_>) -> Result<Phase, Short> {
        match packet.first() {
            Some(OK) => {
                self.note(OkPacket::parse(packet.start)?);
            }
            Some(EOF) => {
                self.note_end(packet)?;
            }
            _ => return Err(Short),
        }
        Ok(Phase::Done)
    }

    fn on_result(&mut self, packet: Passed<'_>) -> Result<Phase, Short> {
        match packet.first() {
            Some(OK) => {
                let status = self.note(OkPacket::parse(packet.start)?);
                Ok(self.after_result(status))
            }
            // Some servers answer so where there are neither rows nor counts.
            Some(EOF) if self.is_end(packet.first(), packet.len) => {
                let status = self.note_end(packet)?;
                Ok(self.after_result(status))
            }
            Some(INFILE) => {
                self.outcome.files = self.outcome.files.saturating_add(1);
                Ok(Phase::Upload)
            }
            _ => {
                let mut body = Reader::new(packet.start);
                let columns = body.lenenc_int()?;
                if !(1..=MAX_COLUMNS).contains(&columns) {
                    return Err(Short);
                }
                // MySQL and MariaDB say it in the same place, each only where its flag was agreed on.
                let told = self.has(Capabilities::OPTIONAL_RESULTSET_METADATA)
                    || self.has(Capabilities::MARIADB_CACHE_METADATA);
                let described = !told || body.u8()? != 0;
                Ok(self.definitions(if described { columns } else { 0 }, Then::Rows))
            }
        }
    }

    /// Descriptions are to come, or their end.
    fn definitions(&self, left: u64, then: Then) -> Phase {
        match left {
            0 if self.has(Capabilities::DEPRECATE_EOF) => self.after_definitions(then),
            0 => Phase::DefinitionsEnd(then),
            _ => Phase::Definitions(left, then),
        }
    }

    fn after_definitions(&self, then: Then) -> Phase {
        match then {
            Then::Rows => Phase::Rows,
            Then::Columns(0, _) | Then::Done => Phase::Done,
            Then::Columns(n, described) => {
                self.definitions(if described { n.into() } else { 0 }, Then::Done)
            }
        }
    }

    fn on_definitions_end(&mut self, packet: Passed<'_>, then: Then) -> Result<Phase, Short> {
        if !self.is_end(packet.first(), packet.len) {
            return Err(Short);
        }
        let status = self.note_end(packet)?;
        let fetched_later =
            self.shape == Shape::Execution && status.has(StatusFlags::CURSOR_EXISTS);
        if then == Then::Rows && fetched_later {
            return Ok(self.after_result(status));
        }
        self.out_parameters = then == Then::Rows && status.has(StatusFlags::PS_OUT_PARAMS);
        Ok(self.after_definitions(then))
    }

    /// A packet that begins like the end of rows.
    fn on_rows_end(&mut self, packet: Passed<'_>) -> Result<Phase, Short> {
        if !self.is_end(packet.first(), packet.len) {
            self.outcome.rows = self.outcome.rows.saturating_add(1);
            return Ok(Phase::Rows);
        }
        let status = self.note_end(packet)?;
        Ok(self.after_result(status))
    }

    fn on_field(&mut self, packet: Passed<'_>) -> Result<Phase, Short> {
        if !self.is_end(packet.first(), packet.len) {
            return Ok(Phase::Fields);
        }
        self.note_end(packet)?;
        Ok(Phase::Done)
    }

    fn on_prepared(&mut self, packet: Passed<'_>) -> Result<Phase, Short> {
        let mut body = Reader::new(packet.start);
        if body.u8()? != OK {
            return Err(Short);
        }
        self.outcome.statement = Some(body.u32()?);
        let (columns, parameters) = (body.u16()?, body.u16()?);
        // A byte of no meaning, the count of warnings, and whether descriptions follow.
        let optional = self.has(Capabilities::OPTIONAL_RESULTSET_METADATA);
        let told = body.take(3).and_then(|_| body.u8());
        let described = !optional || told != Ok(0);
        let then = Then::Columns(columns, described);
        Ok(match parameters {
            0 => self.after_definitions(then),
            n => self.definitions(if described { n.into() } else { 0 }, then),
        })
    }

    fn on_login(&mut self, packet: Passed<'_>) -> Result<Phase, Short> {
        if packet.first() != Some(OK) {
            // Another plugin, or more of this one.
            return Ok(Phase::Login);
        }
        self.note(OkPacket::parse(packet.start)?);
        Ok(Phase::Done)
    }
}
