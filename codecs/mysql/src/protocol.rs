use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::BytesMut;
use wiremesh::{
    Bearing, DecodeError, Detection, Digested, Failure, Frame, HeaderSupport, Limits, OptionError,
    Peer, Protocol, Status, Summary, User, WriteBuf,
    correlation::{Arrival, Cancel, Departure, Handshake, Progress, Session, Sessioned},
    topology::{Topology, TopologyError, TopologyOptions},
};

use crate::{
    Capabilities, Command, Machine, MysqlFrame,
    compress::FRAME_HEAD,
    digest::{Dialect, digest},
    error::{self, Refusal, refusal},
    frame::{What, method},
    handshake::{Greeting, Login, is_ssl_request},
    pooled::{Accounts, Entrance, Lane, Place, Pooled, Tracking, Upstream, UpstreamLogin, packet},
    reply::{ErrPacket, Shape},
    topology,
    wire::{HEAD, Head},
};

/// MySQL's protocol, of MySQL and MariaDB.
#[derive(Clone, Debug, Default)]
pub struct Mysql {
    /// How clients get at servers.
    pub mode: Mode,
    /// Which server clients are to take the proxy for, where it greets them: the option `version`.
    pub version: Option<String>,
    /// Who may log in, where the proxy asks for that.
    pub accounts: Arc<Accounts>,
    /// Clients that are lent connections read on a copy what they have written themselves: for so long it is waited for there before
    /// they read on the primary instead. `None`: nothing is waited for. The option `causal_reads`.
    pub causal_reads: Option<Duration>,
    /// For which of the users health checks log in, and ask whether a server is well; `None`: they wait for its greeting. The
    /// option `health_user`.
    pub health_user: Option<String>,
}

/// Which server clients take the proxy for unless the configuration says otherwise: what they do not dare to do with older ones
/// the servers behind may know, and nothing newer is asked for.
const VERSION: &str = "8.0.33-wiremesh";

/// How clients get at servers: the option `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each client has an upstream connection of its own, and the two speak with each other: `transparent`.
    #[default]
    Transparent,
    /// The proxy logs clients in, and has upstream connections of its own, of which each client has one while it must:
    /// `pooled`.
    Pooled,
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
                Ok(login) => {
                    login.attributes.check(limits)?;
                    let identity = Some(Arc::new(login.into()));
                    MysqlFrame { identity, ..MysqlFrame::new(What::Login, bytes) }
                }
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

    fn turn_away(&self, failure: &Failure) -> Option<MysqlFrame> {
        Some(refused(Refusal::Greeting, 0, None, failure))
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
            ("mode", "pooled") => self.mode = Mode::Pooled,
            ("mode", _) => {
                let why = "`mode` can be `transparent` or `pooled`";
                return Err(OptionError::Value(why.into()));
            }
            ("version", version) => {
                if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_graphic()) {
                    let why = "`version` is one word, such as 8.0.33";
                    return Err(OptionError::Value(why.into()));
                }
                self.version = Some(version.into());
            }
            ("causal_reads", value) => {
                let longest = Duration::from_secs(60);
                let time = duration(value).filter(|time| *time <= longest).ok_or_else(|| {
                    OptionError::Value(
                        "`causal_reads` is a time such as 500ms or 2s, up to 60s; 0 is off".into(),
                    )
                })?;
                self.causal_reads = Some(time).filter(|time| !time.is_zero());
            }
            ("health_user", user) => self.health_user = Some(user.into()),
            _ => {
                return Err(OptionError::Unknown(
                    "there are `mode`, `version`, `causal_reads` and `health_user`",
                ));
            }
        }
        Ok(())
    }

    fn set_users(&mut self, users: &[User]) -> Result<(), OptionError> {
        if self.mode == Mode::Transparent {
            return Err(OptionError::Unknown(
                "it is the servers that know them; with the option `mode: pooled` it is the proxy",
            ));
        }
        self.accounts = Arc::new(Accounts::new(users)?);
        match &self.health_user {
            Some(user) if self.health_login().is_none() => {
                let why = format!("`health_user` is {user:?}, who is none of them");
                Err(OptionError::Value(why.into()))
            }
            _ => Ok(()),
        }
    }
}

/// Whole milliseconds or seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    let seconds = text.strip_suffix('s');
    seconds.or_else(|| (text == "0").then_some(text))?.parse().ok().map(Duration::from_secs)
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

impl Mysql {
    /// As whom health checks log in, if they do.
    fn health_login(&self) -> Option<&Upstream> {
        self.accounts.upstream_of(self.health_user.as_ref()?.as_bytes())
    }

    pub(crate) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(VERSION)
    }
}

impl Sessioned for Mysql {
    type Machine = Machine;
    type ClientHandshake = Entrance;
    type UpstreamHandshake = Hail;
    type Place = Place;

    const COPIES: bool = true;
    const SPEAKS_UNASKED: bool = false;

    fn machine(&self) -> Machine {
        match self.mode {
            Mode::Transparent => Machine::Transparent(Box::default()),
            Mode::Pooled => Machine::Pooled(Box::new(Pooled::for_reset())),
        }
    }

    fn client_handshake(&self, arrival: Arrival) -> Entrance {
        Entrance::new(self.accounts.clone(), self.version(), arrival)
    }

    fn upstream_handshake(&self, lane: u64, departure: Departure) -> Hail {
        let login = UpstreamLogin::new(&self.accounts, Lane(lane), &departure);
        Hail::Login(Box::new(login), Lane(lane))
    }

    fn admit(&self, handshake: Entrance) -> Machine {
        match handshake.into_admitted() {
            Some(admitted) => Machine::Pooled(Box::new(Pooled::new(&admitted, self.version()))),
            None => self.machine(),
        }
    }

    fn place(&self, handshake: Hail) -> Place {
        match handshake {
            Hail::Login(login, lane) => login.into_logged_in().map_or_else(Place::default, |it| {
                let greeting = &it.established.greeting;
                let tells = it.tracking != Tracking::Nothing;
                let agreed = it.established.agreed;
                let bare = !lane.has_schema();
                Place::new(agreed, greeting.version.as_ref(), greeting.connection, tells, bare)
            }),
            Hail::Greeting => Place::default(),
        }
    }

    fn interrupt(&self, place: &Place, number: u64, cancel: &Cancel) -> Option<MysqlFrame> {
        place.kill(number, cancel)
    }

    fn probe_handshake(&self, departure: Departure) -> Hail {
        match self.health_login() {
            Some(Upstream { user, password }) => {
                let login = UpstreamLogin::plain(user, password, &departure);
                Hail::Login(Box::new(login), Lane::default())
            }
            None => Hail::Greeting,
        }
    }

    fn probe_question(&self) -> Option<MysqlFrame> {
        self.health_login().map(|_| packet(Command::Ping, b""))
    }

    fn goodbye(&self) -> Option<MysqlFrame> {
        Some(packet(Command::Quit, b""))
    }

    fn topology(
        &self,
        kind: &str,
        options: &TopologyOptions,
    ) -> Result<Box<dyn Topology<Self>>, TopologyError> {
        topology::of(kind, options)
    }

    /// It was to change something, and its server is read-only: 1290, of which that is one of the meanings, and 1836.
    fn is_stale(&self, reply: &MysqlFrame) -> bool {
        reply.error.is_some_and(|error| matches!(error.number, 1290 | 1836))
    }

    fn end_to_end(&self) -> bool {
        self.mode == Mode::Transparent
    }
}

/// What is spoken with a server before its first request.
#[derive(Debug)]
pub enum Hail {
    /// Nothing: a greeting is waited for, as health checks do. A server that has a place for one more client sends one.
    Greeting,
    /// A login.
    Login(Box<UpstreamLogin>, Lane),
}

impl Handshake<Mysql> for Hail {
    fn start(&mut self, mysql: &Mysql) -> Progress<Mysql> {
        match self {
            Self::Greeting => Progress::Continue(None),
            Self::Login(login, _) => login.start(mysql),
        }
    }

    fn on_frame(&mut self, mysql: &Mysql, frame: MysqlFrame) -> Progress<Mysql> {
        match self {
            Self::Greeting if frame.what == What::Greeting => Progress::Done(None),
            Self::Greeting => Progress::Refused(
                None,
                frame.error_class().unwrap_or("what the server says is no greeting"),
            ),
            Self::Login(login, _) => login.on_frame(mysql, frame),
        }
    }

    fn on_secured(&mut self, mysql: &Mysql) -> Progress<Mysql> {
        match self {
            Self::Greeting => Progress::Refused(None, "TLS that nobody asked for"),
            Self::Login(login, _) => login.on_secured(mysql),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Greeting => None,
            Self::Login(login, _) => login.number(),
        }
    }
}
