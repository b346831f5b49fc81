use crate::{
    StatusFlags,
    wire::{Reader, Short},
};

/// What an OK says, or an EOF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkPacket {
    /// Rows that a statement has changed, or found.
    pub affected: u64,
    /// The first id that it has made.
    pub insert_id: u64,
    /// The session's status.
    pub status: StatusFlags,
    /// How many warnings there are.
    pub warnings: u16,
}

impl OkPacket {
    /// Reads an OK's body, whatever its first byte, up to the warnings. What follows, the texts, need not be there.
    ///
    /// # Errors
    /// It ends before the warnings.
    pub fn parse(body: &[u8]) -> Result<Self, Short> {
        let mut body = Reader::new(body);
        body.u8()?;
        Ok(Self {
            affected: body.lenenc_int()?,
            insert_id: body.lenenc_int()?,
            status: StatusFlags(body.u16()?),
            warnings: body.u16()?,
        })
    }

    /// Reads an EOF's body.
    ///
    /// # Errors
    /// It is too short.
    pub fn parse_eof(body: &[u8]) -> Result<Self, Short> {
        let mut body = Reader::new(body);
        body.u8()?;
        let warnings = body.u16()?;
        Ok(Self { warnings, status: StatusFlags(body.u16()?), ..Self::default() })
    }
}

/// What an ERR says, but for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrPacket {
    /// The error's number.
    pub number: u16,
    /// Its SQLSTATE; `HY000` where there is none.
    pub sqlstate: [u8; 5],
}

impl ErrPacket {
    /// The SQLSTATE of errors without one of their own.
    pub const GENERAL: [u8; 5] = *b"HY000";

    /// Reads an ERR's body.
    ///
    /// # Errors
    /// It has no number.
    pub fn parse(body: &[u8]) -> Result<Self, Short> {
        let mut body = Reader::new(body);
        body.u8()?;
        let number = body.u16()?;
        let sqlstate = match body.rest() {
            [b'#', a, b, c, d, e, ..] => [*a, *b, *c, *d, *e],
            _ => Self::GENERAL,
        };
        Ok(Self { number, sqlstate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_and_eof() {
        let ok = OkPacket::parse(b"\0\xfc\x10\x27\x05\x03\0\x02\0info").unwrap();
        let status = StatusFlags::IN_TRANS | StatusFlags::AUTOCOMMIT;
        assert_eq!(ok, OkPacket { affected: 10_000, insert_id: 5, status, warnings: 2 });
        assert_eq!(OkPacket::parse(b"\0\0\0\x02\0\0"), Err(Short));
        let eof = OkPacket::parse_eof(b"\xfe\x01\0\x08\0").unwrap();
        assert_eq!((eof.warnings, eof.status), (1, StatusFlags::MORE_RESULTS));
        assert_eq!(OkPacket::parse_eof(b"\xfe\x01\0\x08"), Err(Short));
    }

    #[test]
    fn errors_with_and_without_state() {
        let error = ErrPacket::parse(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!((error.number, &error.sqlstate), (1045, b"28000"));
        let error = ErrPacket::parse(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((error.number, error.sqlstate), (1040, ErrPacket::GENERAL));
        assert_eq!(ErrPacket::parse(b"\xff\x10"), Err(Short));
    }
}
