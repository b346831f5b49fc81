use thiserror::Error;
use wiremesh::DecodeError;

use crate::Capabilities;
use crate::auth::AuthError;
use crate::wire::{Reader, Short};

/// Why a handshake cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A packet cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A proof cannot be given, or asked for.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The server says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The server does not offer what we cannot do without.
    #[error("the server does not offer {0}")]
    Lacks(&'static str),
    /// A packet's sequence number is not the next.
    #[error("a packet of number {seen} where {wanted} was to come")]
    OutOfOrder {
        /// The number that was to come.
        wanted: u8,
        /// The one that came.
        seen: u8,
    },
    /// A packet has no place here.
    #[error("{0}")]
    Unexpected(&'static str),
}

/// An ERR packet, as the answer to a login.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{number} ({}): {text}", String::from_utf8_lossy(sqlstate))]
pub struct Denial {
    /// The error's number.
    pub number: u16,
    /// Its SQLSTATE; `HY000` where there is none, as before the login.
    pub sqlstate: [u8; 5],
    /// What it says.
    pub text: String,
}

impl Denial {
    /// Reads an ERR's body.
    ///
    /// # Errors
    /// It has no number.
    pub fn parse(body: &[u8]) -> Result<Self, Short> {
        let mut body = Reader::new(body);
        body.u8()?;
        let number = body.u16()?;
        let (sqlstate, text) = match body.rest() {
            [b'#', a, b, c, d, e, text @ ..] => ([*a, *b, *c, *d, *e], text),
            text => (*b"HY000", text),
        };
        Ok(Self { number, sqlstate, text: String::from_utf8_lossy(text).into_owned() })
    }

    /// An ERR's body, as the client takes it that has these capabilities: without the SQLSTATE before the protocol of 4.1.
    pub fn body(&self, capabilities: Capabilities) -> Vec<u8> {
        let mut body = vec![0xff];
        body.extend(self.number.to_le_bytes());
        if capabilities.has(Capabilities::PROTOCOL_41) {
            body.push(b'#');
            body.extend(self.sqlstate);
        }
        body.extend(self.text.as_bytes());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_read_back() {
        let denial = Denial { number: 1045, sqlstate: *b"28000", text: "Access denied".into() };
        let body = denial.body(Capabilities::PROTOCOL_41);
        assert_eq!(body, b"\xff\x15\x04#28000Access denied");
        assert_eq!(Denial::parse(&body), Ok(denial.clone()));
        assert_eq!(denial.to_string(), "1045 (28000): Access denied");
        let early = Denial::parse(b"\xff\x10\x04Too many connections").expect("it has a number");
        assert_eq!((early.number, &early.sqlstate), (1040, b"HY000"));
        assert_eq!(early.body(Capabilities(0)), b"\xff\x10\x04Too many connections");
        assert_eq!(Denial::parse(b"\xff\x10"), Err(Short));
    }
}
