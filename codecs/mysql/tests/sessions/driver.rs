//! What the proxy does with a session, in memory: bytes of either side in, bytes for either side out.

#![allow(dead_code)] // each user has use for a part of it

use bytes::BytesMut;
use wiremesh::{
    Bearing, DecodeError, Failure, Frame, Kind, Limits, Peer, Protocol, Status, Wanted, WriteBuf,
    correlation::{Attachment, Hold, SessionMachine},
};
use wiremesh_mysql::{Mysql, Transparent, What};

/// One session.
pub struct Driver {
    protocol: Mysql,
    pub limits: Limits,
    pub machine: Transparent,
    /// What came from client and upstream and was not taken yet.
    pub input: [BytesMut; 2],
    /// What came from client and upstream and was passed on.
    pub passed: [Vec<u8>; 2],
    /// A request is in progress.
    pub busy: bool,
    /// One of the two is to be closed, and so both.
    pub closed: bool,
    /// The session could end without a loss.
    pub clean: bool,
    pub seen: Vec<Seen>,
    /// Those of the requests, where they have one.
    pub digests: Vec<String>,
    /// Of the reply in progress.
    rows: u64,
}

/// What the proxy gets to know of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Push(Option<&'static str>),
    Request { kind: Kind, method: String, user: Option<String>, schema: Option<String> },
    Reply { status: Status, error: Option<&'static str>, rows: u64 },
}

impl Default for Driver {
    fn default() -> Self {
        let protocol = Mysql::default();
        let mut machine = Transparent::default();
        let wanted = Wanted { digests: true, all: false };
        assert!(SessionMachine::<Mysql>::watch(&mut machine, wanted));
        Self {
            machine,
            protocol,
            limits: Limits::default(),
            input: Default::default(),
            passed: Default::default(),
            busy: false,
            closed: false,
            clean: true,
            seen: Vec::new(),
            digests: Vec::new(),
            rows: 0,
        }
    }
}

impl Driver {
    /// Bytes have come. A request that waits for its turn goes first: the server's next bytes are its answer, where somebody was
    /// recorded who has not waited.
    pub fn receive(&mut self, from: Peer, bytes: &[u8]) -> Result<(), DecodeError> {
        self.input[from as usize].extend_from_slice(bytes);
        while self.take(Peer::Client)? || self.take(Peer::Upstream)? {}
        Ok(())
    }

    fn take(&mut self, from: Peer) -> Result<bool, DecodeError> {
        let input = &mut self.input[from as usize];
        let waits = from == Peer::Client && self.busy && !self.machine.is_open();
        if input.is_empty() || waits || self.closed {
            return Ok(false);
        }
        let before = input.clone();
        let taken = self.machine.take(&self.protocol, from, &mut (), &self.limits, input)?;
        let Some(frame) = taken else {
            assert_eq!(*input, before, "nothing was taken");
            return Ok(false);
        };
        assert!(frame.wire_len() > 0 && frame.bytes().len() == frame.wire_len());
        assert_eq!(frame.bytes(), &before[..frame.wire_len()]);
        assert_eq!(*input, before[frame.wire_len()..]);
        match from {
            Peer::Client => self.on_request(&frame),
            Peer::Upstream => self.on_reply(&frame),
        }
        let mut out = WriteBuf::default();
        self.protocol.encode(frame, &mut out);
        self.passed[from as usize].extend_from_slice(&out.to_bytes());
        Ok(true)
    }

    fn on_request(&mut self, frame: &wiremesh_mysql::MysqlFrame) {
        let attachment = self.machine.on_request(&self.protocol, frame);
        if attachment == Attachment::Continue {
            assert_eq!(frame.what(), What::Rest);
            return;
        }
        assert!(!self.busy, "{frame:?} while another is in progress");
        let mut digest = Vec::new();
        let counts = self.protocol.bearing(frame) != Bearing::Preparation;
        if counts && self.protocol.digest(frame, &mut digest).is_some() {
            self.digests.push(String::from_utf8_lossy(&digest).into_owned());
        }
        self.busy = attachment == Attachment::Upstream;
        self.closed = attachment == Attachment::Quit;
        let text = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
        self.seen.push(Seen::Request {
            kind: frame.kind(),
            method: text(frame.method()).unwrap_or_default(),
            user: text(wiremesh::HeaderView::header(frame, "user")),
            schema: text(frame.service()),
        });
    }

    fn on_reply(&mut self, frame: &wiremesh_mysql::MysqlFrame) {
        let hold = self.machine.on_reply(&self.protocol, frame);
        self.closed |= matches!(hold, Hold::Close);
        self.clean = matches!(hold, Hold::Release { .. });
        self.rows += frame.items();
        if frame.kind() == Kind::Push {
            self.seen.push(Seen::Push(frame.error_class()));
        } else if !matches!(hold, Hold::Pending) {
            assert!(self.busy);
            self.busy = false;
            self.seen.push(Seen::Reply {
                status: frame.status(),
                error: frame.error_class(),
                rows: std::mem::take(&mut self.rows),
            });
        }
    }

    /// The proxy answers the request in progress itself.
    pub fn refuse(&mut self) {
        assert!(self.busy && !self.machine.is_open());
        self.busy = false;
        self.machine.on_failed(&self.protocol);
    }

    /// What the client is told before it is closed.
    pub fn farewell(&mut self, failure: &Failure) -> Option<Vec<u8>> {
        self.machine.farewell(&self.protocol, failure).map(|frame| frame.bytes().to_vec())
    }

    /// Everything was passed on.
    pub fn is_even(&self) -> bool {
        self.input.iter().all(BytesMut::is_empty)
    }

    /// The methods of the requests so far.
    pub fn methods(&self) -> Vec<&str> {
        let method = |seen: &'_ Seen| matches!(seen, Seen::Request { .. });
        self.seen
            .iter()
            .filter(|seen| method(seen))
            .map(|seen| match seen {
                Seen::Request { method, .. } => method.as_str(),
                _ => "",
            })
            .collect()
    }
}
