//! The proxy logs in at servers.

use wiremesh::{
    Password,
    correlation::{Departure, Handshake, Progress},
};

use super::{
    Accounts, Lane,
    entrance::{OVER, class, whole},
    packet,
    state::{LOGIN_COLLATION, setup},
};
use crate::{
    Capabilities, Command, Mysql, MysqlFrame,
    auth::{AuthError, Channel, KeySource},
    frame::What,
    handshake::{
        Attributes, ClientConfig, ClientHandshake, ClientStep, Established, HandshakeError, TlsWish,
    },
    session::Changes,
};

/// What is asked for beside what lanes have.
const WANTED: Capabilities =
    Capabilities(Capabilities::SESSION_TRACK.0 | Capabilities::DEPRECATE_EOF.0);

/// What stands before a statement that has no attributes, where it might have some: none, in one set.
const NO_ATTRIBUTES: &[u8] = &[0, 1];

/// The proxy's login at a server, for clients of one [`Lane`]: the handshake, and the [statement](setup) that has the server
/// tell of the session's state.
#[derive(Debug)]
pub struct UpstreamLogin {
    stage: Stage,
    number: Option<u64>,
    logged_in: Option<Box<LoggedIn>>,
}

#[derive(Debug)]
enum Stage {
    /// Nobody has this lane.
    Nobody,
    Handshake(Box<ClientHandshake>),
    /// The server was told to tell of the session's state.
    SetUp,
    Over,
}

/// A connection on which the proxy has logged in.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What was agreed on, what the server said first, and what its OK told.
    pub established: Established,
    /// What the server tells of the session's state.
    pub tracking: Tracking,
}

/// What a server tells of a session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// Nothing: it cannot, has refused the [statement](setup), or does not tell what that has set. What is done on the connection stays on it, unseen.
    Nothing,
    /// What it was told to.
    State,
}

impl UpstreamLogin {
    /// For a server that has just been connected to.
    pub fn new(accounts: &Accounts, lane: Lane, departure: &Departure) -> Self {
        let stage = accounts.upstream(lane).map_or(Stage::Nobody, |upstream| {
            let wanted = WANTED | lane.capabilities();
            let config = config(&upstream.user, &upstream.password, wanted, departure);
            Stage::Handshake(Box::new(ClientHandshake::new(config)))
        });
        Self { stage, number: None, logged_in: None }
    }

    /// For this account, and for what the proxy itself has to ask: with nothing but what the protocol of 4.1 has.
    pub fn plain(user: &[u8], password: &Password, departure: &Departure) -> Self {
        let config = config(user, password, Capabilities(0), departure);
        let stage = Stage::Handshake(Box::new(ClientHandshake::new(config)));
        Self { stage, number: None, logged_in: None }
    }

    /// The connection, once the login is done.
    pub fn into_logged_in(self) -> Option<LoggedIn> {
        match self.stage {
            Stage::Over => self.logged_in.map(|logged_in| *logged_in),
            _ => None,
        }
    }

    fn follow(&mut self, step: Result<ClientStep, HandshakeError>) -> Progress<Mysql> {
        match step {
            Ok(ClientStep::Wait) => Progress::Continue(None),
            Ok(ClientStep::Send(bytes)) => {
                Progress::Continue(Some(MysqlFrame::new(What::Login, bytes)))
            }
            Ok(ClientStep::StartTls(bytes)) => {
                Progress::StartTls(Some(MysqlFrame::new(What::SslRequest, bytes)))
            }
            Ok(ClientStep::Done(established)) => {
                self.number = Some(established.greeting.connection.into());
                let set = query(setup(&established.greeting.version), established.agreed);
                let tells = established.agreed.has(Capabilities::SESSION_TRACK);
                let tracking = Tracking::Nothing;
                self.logged_in = Some(Box::new(LoggedIn { established: *established, tracking }));
                if tells {
                    self.stage = Stage::SetUp;
                    return Progress::Continue(Some(set));
                }
                self.stage = Stage::Over;
                Progress::Done(None)
            }
            Err(error) => {
                self.stage = Stage::Over;
                self.logged_in = None;
                Progress::Refused(None, why(&error))
            }
        }
    }

    /// What the server answers to the statement. One that refuses it tells nothing, and so does one that does not tell of what was
    /// set by it, as somebody in between may be.
    fn set_up(&mut self, packet: &[u8]) -> Progress<Mysql> {
        let agreed = self.logged_in.as_ref().map(|it| it.established.agreed).unwrap_or_default();
        let tells = |ok| Changes::of_ok(ok, agreed).is_ok_and(|mut told| told.next().is_some());
        let tracking = match whole(packet) {
            Ok((1, ok @ [0x00, ..])) if tells(ok) => Tracking::State,
            Ok((1, [0x00 | 0xff, ..])) => Tracking::Nothing,
            _ => return self.follow(Err(HandshakeError::Unexpected("no answer to SET"))),
        };
        if let Some(logged_in) = &mut self.logged_in {
            logged_in.tracking = tracking;
        }
        self.stage = Stage::Over;
        Progress::Done(None)
    }
}

impl Handshake<Mysql> for UpstreamLogin {
    fn start(&mut self, _: &Mysql) -> Progress<Mysql> {
        match self.stage {
            Stage::Nobody => Progress::Refused(None, "no user has these connections any more"),
            _ => Progress::Continue(None),
        }
    }

    fn on_frame(&mut self, _: &Mysql, frame: MysqlFrame) -> Progress<Mysql> {
        let step = match &mut self.stage {
            Stage::SetUp => return self.set_up(&frame.bytes),
            Stage::Handshake(handshake) => {
                whole(&frame.bytes).and_then(|(seq, body)| handshake.on_packet(seq, body))
            }
            Stage::Nobody | Stage::Over => Err(OVER),
        };
        self.follow(step)
    }

    fn on_secured(&mut self, _: &Mysql) -> Progress<Mysql> {
        let step = match &mut self.stage {
            Stage::Handshake(handshake) => handshake.secured(),
            _ => Err(OVER),
        };
        self.follow(step)
    }

    fn number(&self) -> Option<u64> {
        self.number
    }
}

fn config(
    user: &[u8],
    password: &Password,
    wanted: Capabilities,
    departure: &Departure,
) -> ClientConfig {
    ClientConfig {
        user: user.into(),
        password: password.clone(),
        schema: Vec::new(),
        wanted,
        tls: if departure.tls { TlsWish::Required } else { TlsWish::Off },
        channel: if departure.private { Channel::Private } else { Channel::Open },
        keys: KeySource::Asked,
        attributes: Attributes::of([("_client_name", "wiremesh")]),
        collation: LOGIN_COLLATION.id.to_le_bytes()[0],
        max_packet: 1 << 30,
        zstd_level: 0,
    }
}

/// A statement, on a connection on which these capabilities were agreed on.
pub(crate) fn query(text: &str, agreed: Capabilities) -> MysqlFrame {
    let attributes = if agreed.has(Capabilities::QUERY_ATTRIBUTES) { NO_ATTRIBUTES } else { b"" };
    packet(Command::Query, &[attributes, text.as_bytes()].concat())
}

/// Why a login has failed, for logs.
fn why(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::Denied(denial) => class(denial),
        HandshakeError::Lacks("TLS") => "the server does not offer TLS",
        HandshakeError::Lacks(_) => "the server does not speak the protocol of 4.1",
        HandshakeError::Auth(AuthError::UnknownPlugin(_)) => {
            "the server wants an authentication plugin that is not known here"
        }
        HandshakeError::Auth(AuthError::NeedsPrivacy(_) | AuthError::NeedsKey(_)) => {
            "the server wants the password, and the connection is not encrypted"
        }
        HandshakeError::Auth(_) => "the server's authentication plugin does not do as it should",
        HandshakeError::OutOfOrder { .. } => "the server's packets are out of order",
        HandshakeError::Decode(_) => "what the server says is no handshake",
        HandshakeError::Unexpected(why) => why,
    }
}
