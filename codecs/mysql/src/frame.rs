use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::BytesMut;
use wiremesh::{Digested, Frame, HeaderView, Kind, Status};

use crate::{
    Command, QueryAttributes, Value,
    classify::{ROUTE, Reading, classify},
    digest::{Dialect, digest},
    error,
    identity::Identity,
    pooled::statements::attributes,
    reply::{ErrPacket, Shape},
    wire::{HEAD, Reader},
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
    /// Of an execution that is all there and may have attributes: how many parameters its statement has.
    pub(crate) executed: Option<u16>,
    /// Of a reply: the error that it has ended with.
    pub(crate) error: Option<ErrPacket>,
    /// Of a reply: how many rows end in it.
    pub(crate) rows: u64,
}

/// Where what follows a command's code begins.
pub(crate) const BODY: usize = HEAD + 1;

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
            executed: None,
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

    /// Its statement, as far as it is there.
    pub(crate) fn text(&self) -> &[u8] {
        match &self.statement {
            Statement::Text { at, .. } => self.bytes.get(at.clone()).unwrap_or_default(),
            Statement::None | Statement::Unknown | Statement::Known(_) => &[],
        }
    }

    /// What the client says with a request beside the statement, as far as it is known.
    pub fn attributes(&self) -> QueryAttributes<'_> {
        let body = self.bytes.get(BODY..).unwrap_or_default();
        let found = match (self.what, &self.statement, self.executed) {
            (What::Command(Some(Command::Query)), Statement::Text { at, .. }, _)
                if at.start > BODY =>
            {
                QueryAttributes::take(&mut Reader::new(body)).ok()
            }
            (_, _, Some(parameters)) => attributes(body, parameters),
            _ => None,
        };
        found.unwrap_or_else(QueryAttributes::none)
    }

    /// Where an attribute says that it is to go.
    pub(crate) fn asked_route(&self) -> Option<Cow<'_, str>> {
        let is_route = |name: &[u8]| name.eq_ignore_ascii_case(ROUTE.as_bytes());
        self.attributes().find(|(name, _)| is_route(name)).and_then(|(_, value)| value.text())
    }

    /// Where a comment in its statement says that it is to go.
    fn hinted_route(&self) -> Option<&str> {
        let Statement::Text { dialect, .. } = &self.statement else { return None };
        let text = self.text();
        classify(text, Reading { dialect: *dialect, ..Reading::default() }).route(text)
    }

    /// What it says itself, whoever has sent it.
    fn said(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            // Who that is no request says.
            "user" | "schema" => None,
            ROUTE => self.asked_route().or_else(|| self.hinted_route().map(Cow::Borrowed)),
            name => self.attributes().get(name).and_then(Value::text),
        }
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
        self.said(name).or_else(|| self.identity.as_ref()?.header(name))
    }

    fn for_each_header(&self, each: &mut dyn FnMut(&str, &str)) {
        let route = self.said(ROUTE);
        if let Some(route) = &route {
            each(ROUTE, route);
        }
        for (name, value) in self.attributes() {
            let name = String::from_utf8_lossy(name);
            let other = name.eq_ignore_ascii_case(ROUTE) || matches!(&*name, "user" | "schema");
            if let Some(value) = value.text().filter(|_| !other) {
                each(&name, &value);
            }
        }
        if let Some(identity) = &self.identity {
            identity.for_each_header(&mut |name, value| {
                if self.said(name).is_none() {
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
    use crate::{handshake::Attributes, wire::put_lenenc_bytes};

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

    fn query(attributes: &[(&str, &str)], text: &str) -> MysqlFrame {
        let mut bytes = BytesMut::from(&[0, 0, 0, 0, 3, attributes.len() as u8, 1][..]);
        if !attributes.is_empty() {
            bytes.extend_from_slice(&[0, 1]);
        }
        for (name, _) in attributes {
            bytes.extend_from_slice(b"\xfe\0");
            put_lenenc_bytes(&mut bytes, name.as_bytes());
        }
        for (_, value) in attributes {
            put_lenenc_bytes(&mut bytes, value.as_bytes());
        }
        let start = bytes.len();
        bytes.extend_from_slice(text.as_bytes());
        let dialect = Dialect::default();
        let statement = Statement::Text { at: start..bytes.len(), whole: true, dialect };
        let login = Attributes::of([("program_name", "shop"), ("route", "own"), ("_os", "Linux")]);
        let identity = Identity { user: "ada".into(), attributes: login, ..Identity::default() };
        let what = What::Command(Some(Command::Query));
        MysqlFrame { statement, identity: Some(identity.into()), ..MysqlFrame::new(what, bytes) }
    }

    #[test]
    fn attributes_are_headers() {
        let asked = [("Route", "archive"), ("program_name", "batch"), ("user", "root"), ("a", "1")];
        let frame = query(&asked, "/* wiremesh: route=primary */ select 1");
        let header = |name| frame.header(name);
        assert_eq!(header("route").as_deref(), Some("archive"));
        assert_eq!(header("program_name").as_deref(), Some("batch"));
        assert_eq!(header("a").as_deref(), Some("1"));
        assert_eq!(header("user").as_deref(), Some("ada"));
        assert_eq!(header("schema"), None);
        let mut all = Vec::new();
        frame.for_each_header(&mut |name, value| all.push(format!("{name}={value}")));
        assert_eq!(all, ["route=archive", "program_name=batch", "a=1", "user=ada", "_os=Linux"]);
    }

    #[test]
    fn the_hint_counts_where_no_attribute_says_otherwise() {
        let text = "/* wiremesh: route=primary */ select 1";
        assert_eq!(query(&[("a", "1")], text).header("route").as_deref(), Some("primary"));
        assert_eq!(query(&[], text).header("route").as_deref(), Some("primary"));
        assert_eq!(query(&[], "select 1").header("route").as_deref(), Some("own"));
        assert_eq!(query(&[], "select 1").header("a"), None);
    }
}
