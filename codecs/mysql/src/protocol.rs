use std::{borrow::Cow, sync::Arc};

use bytes::BytesMut;
use wiremesh::{
    Bearing, DecodeError, Detection, Digested, Failure, Frame, HeaderSupport, Limits, OptionError,
    Peer, Protocol, Status, Summary, WriteBuf,
    correlation::{Arrival, Departure, Handshake, Progress, Session, Sessioned},
};

use crate::{
    Capabilities, Command, MysqlFrame,
    compress::FRAME_HEAD,
    digest::{Dialect, digest},
    error::{self, Refusal, refusal},
    frame::{What, method},
    handshake::{Greeting, Login, is_ssl_request},
    reply::{ErrPacket, Shape},
    transparent::Transparent,
    wire::{HEAD, Head},
};

/// MySQL's protocol, of MySQL and MariaDB.
#[derive(Clone, Debug, Default)]
pub struct Mysql {
    /// How clients get at servers.
    pub mode: Mode,
}

/// How clients get at servers: the option `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each client has an upstream connection of its own, and the two speak with each other: `transparent`.
    #[default]
    Transparent,
}

/// What is kept of a request in order to answer it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead {
    what: What,
    seq: u8,
    layer_seq: Option<u8>,
}

impl Protocol for Mysql {
    type Frame = MysqlFrame;
    type State = ();
    type Head = RequestHead;
    type Correlation = Session;

    const NAME: &'static str = "mysql";
    const HEADERS: HeaderSupport = HeaderSupport::Read;
    const SERVER_FIRST: bool = true;
    const STARTS_TLS: bool = true;

    /// A client's first packet is the login, or the wish for TLS: number 1, 32 bytes or more, and of the protocol of 4.1.
    fn detect(prefix: &[u8]) -> Detection {
        let flags = Capabilities::PROTOCOL_41.0.to_le_bytes();
        match prefix {
            [_, _, _, seq, ..] if *seq != 1 => Detection::Mismatch,
            [a, b, c, ..] if u32::from_le_bytes([*a, *b, *c, 0]) < 32 => Detection::Mismatch,
            [_, _, _, _, _, flag, ..] if flag & flags[1] == 0 => Detection::Mismatch,
            [_, _, _, _, _, _, ..] => Detection::Match,
            _ => Detection::NeedMore(6),
        }
    }

    /// One packet, as it would be understood outside of a session: sessions cut frames by their machine.
    fn decode(
        &self,
        from: Peer,
        (): &mut (),
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<MysqlFrame>, DecodeError> {
        let Some(head) = Head::read(input) else { return Ok(None) };
        let len = head.len.saturating_add(HEAD);
        if len > limits.max_frame {
            return Err(DecodeError::limit("max_frame", limits.max_frame, len));
        }
        if input.len() < len {
            return Ok(None);
        }
        let bytes = input.split_to(len);
        let body = bytes.get(HEAD..).unwrap_or_default();
        let frame = match from {
            Peer::Client if head.seq == 0 => {
                let code = body.first().copied().unwrap_or_default();
                MysqlFrame::new(What::Command(Command::of(code)), bytes)
            }
            Peer::Client if is_ssl_request(body) => MysqlFrame::new(What::SslRequest, bytes),
            Peer::Client => match Login::parse(body) {
                Ok(login) => MysqlFrame {
                    identity: Some(Arc::new(login.into())),
                    ..MysqlFrame::new(What::Login, bytes)
                },
                Err(_) => MysqlFrame::new(What::Rest, bytes),
            },
            Peer::Upstream if head.seq == 0 && Greeting::parse(body).is_ok() => {
                MysqlFrame::new(What::Greeting, bytes)
            }
            Peer::Upstream => {
                let error = body.first().filter(|first| **first == 0xff);
                let error = error.and_then(|_| ErrPacket::parse(body).ok());
                MysqlFrame { error, ..MysqlFrame::new(What::Reply { last: true }, bytes) }
            }
        };
        Ok(Some(MysqlFrame { reply_seq: Some(head.seq.wrapping_add(1)), ..frame }))
    }

    fn encode(&self, frame: MysqlFrame, out: &mut WriteBuf) {
        out.put(frame.bytes);
    }

    fn head(&self, request: &MysqlFrame) -> RequestHead {
        let seq = request.reply_seq.unwrap_or(1);
        RequestHead { what: request.what, seq, layer_seq: request.layer_seq }
    }

    fn reply(&self, request: &RequestHead, failure: &Failure) -> Option<MysqlFrame> {
        let login = request.what == What::Login;
        match failure.status {
            // Nobody is let in but by the server.
            Status::Ok if login => None,
            Status::Ok => {
                let bytes = stored(error::done(request.seq), request.layer_seq);
                Some(MysqlFrame::new(What::Reply { last: true }, bytes))
            }
            _ if login => Some(refused(Refusal::Login, request.seq, request.layer_seq, failure)),
            _ => Some(refused(Refusal::Command, request.seq, request.layer_seq, failure)),
        }
    }

    /// That of a query, and of what is done with a prepared statement.
    fn digest(&self, request: &MysqlFrame, out: &mut Vec<u8>) -> Digested {
        request.digest(out)
    }

    fn digest_of(text: &str) -> Option<(Vec<u8>, Digested)> {
        let mut out = Vec::new();
        let whole = digest(text.as_bytes(), Dialect::default(), true, &mut out);
        Some((out, if whole { Digested::Whole } else { Digested::Beginning }))
    }

    fn bearing(&self, request: &MysqlFrame) -> Bearing {
        use Command as C;
        match request.what {
            What::SslRequest => Bearing::Blindness,
            What::Login => Bearing::Upkeep,
            What::Command(command) => match command {
                Some(C::StmtPrepare) => Bearing::Preparation,
                Some(
                    C::Quit
                    | C::InitDb
                    | C::Ping
                    | C::ChangeUser
                    | C::ResetConnection
                    | C::SetOption
                    | C::StmtSendLongData
                    | C::StmtClose
                    | C::StmtReset,
                ) => Bearing::Upkeep,
                command if Shape::of(command) == Shape::Relay => Bearing::Blindness,
                _ => Bearing::Execution,
            },
            What::Greeting | What::Rest | What::Reply { .. } | What::Key | What::Notice => {
                Bearing::Execution
            }
        }
    }

    fn summarize(&self, request: &MysqlFrame, summary: &mut Summary) {
        for word in [request.service(), request.method()].into_iter().flatten() {
            summary.word(word.as_bytes());
        }
        let mut digest = Vec::new();
        request.digest(&mut digest);
        digest
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
            .for_each(|word| summary.word(word));
    }

    fn method_of<'a>(&self, request: &'a RequestHead) -> Option<Cow<'a, str>> {
        method(request.what).map(Cow::Borrowed)
    }

    fn set_option(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        match (name, value) {
            ("mode", "transparent") => self.mode = Mode::Transparent,
            ("mode", _) => return Err(OptionError::Value("`mode` can be `transparent`".into())),
            _ => return Err(OptionError::Unknown("there is `mode`")),
        }
        Ok(())
    }
}

/// The proxy's own error, as a frame.
pub(crate) fn refused(
    to: Refusal,
    seq: u8,
    layer_seq: Option<u8>,
    failure: &Failure,
) -> MysqlFrame {
    let bytes = refusal(to, seq, failure);
    let error = bytes.get(HEAD..).and_then(|body| ErrPacket::parse(body).ok());
    MysqlFrame { error, ..MysqlFrame::new(What::Reply { last: true }, stored(bytes, layer_seq)) }
}

/// A packet as the layer that compresses has it, where there is one: stored, in a frame of this number.
fn stored(packet: BytesMut, layer_seq: Option<u8>) -> BytesMut {
    let Some(seq) = layer_seq else { return packet };
    let mut frame = BytesMut::with_capacity(packet.len().saturating_add(FRAME_HEAD));
    frame.extend_from_slice(&Head { len: packet.len(), seq }.bytes());
    frame.extend_from_slice(&[0; 3]);
    frame.extend_from_slice(&packet);
    frame
}

impl Sessioned for Mysql {
    type Machine = Transparent;
    type ClientHandshake = Greeted;
    type UpstreamHandshake = Greeted;
    type Place = ();

    fn machine(&self) -> Transparent {
        Transparent::default()
    }

    fn client_handshake(&self, _: Arrival) -> Greeted {
        Greeted
    }

    fn upstream_handshake(&self, _lane: u64, _: Departure) -> Greeted {
        Greeted
    }

    fn end_to_end(&self) -> bool {
        self.mode == Mode::Transparent
    }
}

/// Waits for a greeting, as health checks do: a server that has a place for one more client sends one.
#[derive(Clone, Copy, Debug)]
pub struct Greeted;

impl Handshake<Mysql> for Greeted {
    fn start(&mut self, _: &Mysql) -> Progress<Mysql> {
        Progress::Continue(None)
    }

    fn on_frame(&mut self, _: &Mysql, frame: MysqlFrame) -> Progress<Mysql> {
        match frame.what {
            What::Greeting => Progress::Done(None),
            _ => Progress::Refused(
                None,
                frame.error_class().unwrap_or("what the server says is no greeting"),
            ),
        }
    }
}
