use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::BytesMut;
use wiremesh::{Digested, Frame, HeaderView, Kind, Status};

use crate::{
    Command,
    classify::{ROUTE, Reading, classify},
    digest::{Dialect, digest},
    error,
    identity::Identity,
    reply::{ErrPacket, Shape},
};

/// What can be passed on at once: a packet, the beginning or the rest of one, or all that is there of a reply.
#[derive(Clone, Debug)]
pub struct MysqlFrame {
    pub(crate) bytes: BytesMut,
    pub(crate) what: What,
    /// Whose request it is.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Of a request: the sequence number that the reply begins with, where it can be known.
    pub(crate) reply_seq: Option<u8>,
    /// Of a request that came compressed: the number that the reply's first frame has in the layer that compresses.
    pub(crate) layer_seq: Option<u8>,
    /// Of a request: which statement it is about.
    pub(crate) statement: Statement,
    /// Of a reply: the error that it has ended with.
    pub(crate) error: Option<ErrPacket>,
    /// Of a reply: how many rows end in it.
    pub(crate) rows: u64,
}

/// The statement that a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) enum Statement {
    /// There is none.
    #[default]
    None,
    /// There is one, and nobody knows which.
    Unknown,
    /// It is in the frame.
    Text {
        /// Where it begins and ends.
        at: Range<usize>,
        /// It is all there.
        whole: bool,
        /// How it is to be read.
        dialect: Dialect,
    },
    /// It was prepared or unpacked, and has this digest.
    Known(Known),
}

impl Statement {
    /// Appends its digest, where there is one; `frame` are the bytes that it may be in.
    pub(crate) fn digest(&self, frame: &[u8], out: &mut Vec<u8>) -> Digested {
        let whole = match self {
            Self::None => return Digested::None,
            Self::Unknown => return Digested::Unknown,
            Self::Text { at, whole, dialect } => {
                digest(frame.get(at.clone()).unwrap_or_default(), *dialect, *whole, out)
            }
            Self::Known(Known { digest, whole }) => {
                out.extend_from_slice(digest);
                *whole
            }
        };
        if whole { Digested::Whole } else { Digested::Beginning }
    }

    /// Its digest, to be kept without the bytes that it may be in; `None` where there is none.
    pub(crate) fn known(&self, frame: &[u8]) -> Option<Known> {
        let mut digest = Vec::new();
        let digested = self.digest(frame, &mut digest);
        let whole = digested == Digested::Whole;
        digested.is_some().then(|| Known { digest: digest.into(), whole })
    }
}

/// A statement's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its text.
    pub(crate) digest: Arc<[u8]>,
    /// It is of the whole statement.
    pub(crate) whole: bool,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The server's first packet.
    Greeting,
    /// The client's wish to go on by TLS.
    SslRequest,
    /// The client's answer to the greeting.
    Login,
    /// A command, or its beginning; `None`: one that is not known.
    Command(Option<Command>),
    /// What the client says in the middle of something: the rest of a long command, its part in a login, a file.
    Rest,
    /// A part of a reply.
    Reply {
        /// The reply ends with it.
        last: bool,
    },
    /// A server's RSA key, for which the proxy has asked.
    Key,
    /// An error that the server tells unasked.
    Notice,
}

impl MysqlFrame {
    pub(crate) fn new(what: What, bytes: BytesMut) -> Self {
        Self {
            bytes,
            what,
            identity: None,
            reply_seq: None,
            layer_seq: None,
            statement: Statement::None,
            error: None,
            rows: 0,
        }
    }

    /// What it is.
    pub fn what(&self) -> What {
        self.what
    }

    /// Its bytes, packets' heads included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the digest of the statement that a request is about, and answers what it tells.
    pub fn digest(&self, out: &mut Vec<u8>) -> Digested {
        self.statement.digest(&self.bytes, out)
    }

    /// Where its statement says that it is to go.
    fn route(&self) -> Option<&str> {
        let Statement::Text { at, dialect, .. } = &self.statement else { return None };
        let text = self.bytes.get(at.clone())?;
        classify(text, Reading { dialect: *dialect, ..Reading::default() }).route(text)
    }

    /// Who sent it, if it is a request.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// The error that a reply has ended with.
    pub fn error(&self) -> Option<ErrPacket> {
        self.error
    }
}

impl HeaderView for MysqlFrame {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        if name == ROUTE
            && let Some(route) = self.route()
        {
            return Some(Cow::Borrowed(route));
        }
        self.identity.as_ref()?.header(name)
    }

    fn for_each_header(&self, each: &mut dyn FnMut(&str, &str)) {
        let route = self.route();
        if let Some(route) = route {
            each(ROUTE, route);
        }
        if let Some(identity) = &self.identity {
            identity.for_each_header(&mut |name, value| {
                if route.is_none() || name != ROUTE {
                    each(name, value);
                }
            });
        }
    }

    fn caller(&self) -> Option<Cow<'_, str>> {
        self.header("program_name")
    }
}

impl Frame for MysqlFrame {
    fn kind(&self) -> Kind {
        match self.what {
            What::Login => Kind::Request,
            What::Command(command) if Shape::of(command) != Shape::None => Kind::Request,
            What::Command(_) | What::Rest | What::SslRequest => Kind::OneWay,
            What::Reply { .. } | What::Key => Kind::Response,
            What::Greeting | What::Notice => Kind::Push,
        }
    }

    fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    fn status(&self) -> Status {
        match &self.error {
            Some(error) if self.kind() == Kind::Response => error::status(error),
            _ => Status::Ok,
        }
    }

    fn is_partial_fault(&self) -> bool {
        self.error.as_ref().is_some_and(error::is_partial)
    }

    fn error_class(&self) -> Option<&'static str> {
        self.error.as_ref().map(error::class)
    }

    fn items(&self) -> u64 {
        self.rows
    }

    fn service(&self) -> Option<Cow<'_, str>> {
        self.header("schema")
    }

    fn method(&self) -> Option<Cow<'_, str>> {
        method(self.what).map(Cow::Borrowed)
    }
}

/// What a request is called.
pub(crate) fn method(what: What) -> Option<&'static str> {
    match what {
        What::SslRequest => Some("SSL_REQUEST"),
        What::Login => Some("LOGIN"),
        What::Command(Some(command)) => Some(command.name()),
        What::Command(None) => Some("COM_UNKNOWN"),
        What::Greeting | What::Rest | What::Reply { .. } | What::Key | What::Notice => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_a_header() {
        let frame = |text: &[u8]| {
            let dialect = Dialect::default();
            let statement = Statement::Text { at: 5..5 + text.len(), whole: true, dialect };
            let what = What::Command(Some(Command::Query));
            let bytes = BytesMut::from(&[b"\0\0\0\0\x03", text].concat()[..]);
            MysqlFrame { statement, ..MysqlFrame::new(what, bytes) }
        };
        let hinted = frame(b"/* wiremesh: route=archive */ select 1");
        assert_eq!(hinted.header("route").as_deref(), Some("archive"));
        let mut all = Vec::new();
        hinted.for_each_header(&mut |name, value| all.push(format!("{name}={value}")));
        assert_eq!(all, ["route=archive"]);
        assert_eq!(frame(b"select 1").header("route"), None);
    }
}
