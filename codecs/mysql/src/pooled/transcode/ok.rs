//! OK and EOF packets, in the form that a client is given them.

use bytes::{BufMut, BytesMut};
use wiremesh::DecodeError;

use crate::{
    Capabilities, StatusFlags,
    reply::OkPacket,
    session::Changes,
    wire::{Reader, Short, put_lenenc_bytes, put_lenenc_int},
};

const OK: u8 = 0x00;
const EOF: u8 = 0xfe;

/// The longest body of an EOF that comes where an OK would stand for it.
const SHORT_EOF: usize = 5;

/// The kinds of changes that a client is told, with what servers track unless they are told otherwise.
const VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;

/// The variables that every client is told of: those that `session_track_system_variables` names unless it is set.
const TOLD: [&[u8]; 5] = [
    b"autocommit",
    b"character_set_client",
    b"character_set_connection",
    b"character_set_results",
    b"time_zone",
];

/// What an OK or EOF says, texts included.
pub(super) struct Said<'a> {
    pub(super) ok: OkPacket,
    /// It is the end of something, and not the answer by itself.
    is_end: bool,
    /// It came in the form of an EOF.
    is_eof: bool,
    info: &'a [u8],
    /// The text has its length before it.
    is_measured: bool,
    block: &'a [u8],
}

impl<'a> Said<'a> {
    /// Reads a body.
    pub(super) fn parse(
        body: &'a [u8],
        is_end: bool,
        upstream: Capabilities,
    ) -> Result<Self, DecodeError> {
        let is_eof =
            is_end && (body.len() <= SHORT_EOF || !upstream.has(Capabilities::DEPRECATE_EOF));
        let parsed = match is_eof {
            true => OkPacket::parse_eof(body).map(|ok| Self::plain(ok, is_end, is_eof)),
            false => Self::parse_ok(body, is_end, upstream),
        };
        parsed.map_err(|Short| DecodeError::Malformed { what: "OK packet" })
    }

    fn plain(ok: OkPacket, is_end: bool, is_eof: bool) -> Self {
        Self { ok, is_end, is_eof, info: &[], is_measured: true, block: &[] }
    }

    fn parse_ok(body: &'a [u8], is_end: bool, upstream: Capabilities) -> Result<Self, Short> {
        let mut rest = Reader::new(body);
        rest.u8()?;
        let (affected, insert_id) = (rest.lenenc_int()?, rest.lenenc_int()?);
        let (status, warnings) = (StatusFlags(rest.u16()?), rest.u16()?);
        let ok = OkPacket { affected, insert_id, status, warnings };
        let said = Self::plain(ok, is_end, false);
        let text = rest.rest();
        if text.is_empty() {
            return Ok(said);
        }
        let measured = rest.lenenc_bytes();
        if upstream.has(Capabilities::SESSION_TRACK) {
            let tells = status.has(StatusFlags::STATE_CHANGED);
            let block = if tells { rest.lenenc_bytes()? } else { &[] };
            return Ok(Self { info: measured?, block, ..said });
        }
        // Servers give the length here, too; their documentation has the text without.
        Ok(match measured {
            Ok(info) if rest.is_empty() => Self { info, ..said },
            _ => Self { info: text, is_measured: false, ..said },
        })
    }

    /// The changes that it tells.
    pub(super) fn changes(&self) -> Changes<'a> {
        Changes::new(self.block)
    }

    /// Appends it as a body for these capabilities; or answers that as it came it is right.
    /// Of these variables, too, the client is told.
    pub(super) fn put(
        &self,
        client: Capabilities,
        also: &[Box<[u8]>],
        out: &mut BytesMut,
    ) -> Result<bool, Short> {
        let as_eof = self.is_end && !client.has(Capabilities::DEPRECATE_EOF);
        let tracks = client.has(Capabilities::SESSION_TRACK);
        let same_form = as_eof == self.is_eof && self.is_measured;
        // MariaDB says of an EOF, too, that it tells of changes.
        let tells = self.ok.status.has(StatusFlags::STATE_CHANGED) && !(as_eof && tracks);
        if same_form && !tells {
            return Ok(false);
        }
        let OkPacket { affected, insert_id, status, warnings } = self.ok;
        let status = status.without(StatusFlags::STATE_CHANGED);
        if as_eof {
            out.put_u8(EOF);
            out.put_u16_le(warnings);
            out.put_u16_le(status.0);
            return Ok(true);
        }
        let mut told = BytesMut::new();
        if tracks {
            put_told(self.block, also, &mut told)?;
        }
        if same_form && !told.is_empty() && *told == *self.block {
            return Ok(false);
        }
        let status = match told.is_empty() {
            true => status,
            false => status.with(StatusFlags::STATE_CHANGED),
        };
        out.put_u8(if self.is_end { EOF } else { OK });
        put_lenenc_int(out, affected);
        put_lenenc_int(out, insert_id);
        out.put_u16_le(status.0);
        out.put_u16_le(warnings);
        if !self.info.is_empty() || !told.is_empty() {
            put_lenenc_bytes(out, self.info);
        }
        if !told.is_empty() {
            put_lenenc_bytes(out, &told);
        }
        Ok(true)
    }
}

/// Appends an EOF's body.
pub(super) fn put_eof(ok: OkPacket, out: &mut BytesMut) {
    out.put_u8(EOF);
    out.put_u16_le(ok.warnings);
    out.put_u16_le(ok.status.0);
}

/// Appends what a client is told of a block of changes.
fn put_told(block: &[u8], also: &[Box<[u8]>], out: &mut BytesMut) -> Result<(), Short> {
    let mut rest = Reader::new(block);
    while !rest.is_empty() {
        let kind = rest.u8()?;
        let data = rest.lenenc_bytes()?;
        match kind {
            SCHEMA => {
                out.put_u8(SCHEMA);
                put_lenenc_bytes(out, data);
            }
            VARIABLES => put_variables(data, also, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn put_variables(data: &[u8], also: &[Box<[u8]>], out: &mut BytesMut) -> Result<(), Short> {
    let wanted = |name: &[u8]| also.iter().any(|also| **also == *name || **also == *b"*");
    let mut rest = Reader::new(data);
    while !rest.is_empty() {
        let begin = rest.rest();
        let name = rest.lenenc_bytes()?;
        rest.lenenc_bytes()?;
        let len = begin.len().saturating_sub(rest.rest().len());
        if TOLD.contains(&name) || wanted(name) {
            // One entry each, as most servers have it.
            out.put_u8(VARIABLES);
            put_lenenc_bytes(out, begin.get(..len).unwrap_or_default());
        }
    }
    Ok(())
}
