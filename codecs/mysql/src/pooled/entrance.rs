//! Clients log in at the proxy.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use wiremesh::{
    DecodeError,
    correlation::{Arrival, Handshake, Layer, Progress},
};

use super::{Accounts, Lane, state::LOGIN_COLLATION};
use crate::{
    Capabilities, Identity, Mysql, MysqlFrame, StatusFlags,
    auth::{Channel, ED25519_SALT, SALT, salt_of, sha256},
    compress::{self, Algorithm},
    error,
    frame::What,
    handshake::{
        ChangeUser, Denial, Greeting, HandshakeError, MAX_HANDSHAKE, ServerConfig, ServerHandshake,
        ServerStep, TlsOffer,
    },
    reply::ErrPacket,
    wire::{HEAD, Head, put_packet},
};

/// What clients are offered: what the proxy can hold to, whichever server a statement of theirs will go to.
///
/// Not offered are MariaDB's own (the first flag says that we are MySQL, and then there are none), several factors, result sets without metadata, expired passwords (ours do not expire), and the refusal of
/// `schema.table.column`, which is old.
pub const OFFERED: Capabilities = Capabilities(
    Capabilities::CLIENT_MYSQL.0
        | Capabilities::FOUND_ROWS.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::ODBC.0
        | Capabilities::LOCAL_FILES.0
        | Capabilities::IGNORE_SPACE.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::INTERACTIVE.0
        | Capabilities::IGNORE_SIGPIPE.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::RESERVED.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::PLUGIN_AUTH_LENENC.0
        | Capabilities::SESSION_TRACK.0
        | Capabilities::DEPRECATE_EOF.0
        | Capabilities::COMPRESS.0
        | Capabilities::ZSTD.0
        | Capabilities::QUERY_ATTRIBUTES.0,
);

/// A client's login at the proxy, or its `COM_CHANGE_USER`.
#[derive(Debug)]
pub struct Entrance {
    accounts: Arc<Accounts>,
    number: u64,
    seed: [u8; SEED],
    /// How many salts were made of the seed.
    salts: u32,
    config: ServerConfig,
    handshake: Option<ServerHandshake>,
    greeting: Option<BytesMut>,
    account: Option<usize>,
    /// Of `COM_CHANGE_USER`, which has all of its number.
    collation: Option<u16>,
    admitted: Option<Box<Admitted>>,
}

const SEED: usize = 64 - SALT;

/// A client that has logged in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who it is, which schema and collation it wants, and what else it says.
    pub identity: Arc<Identity>,
    /// The schema that it asks for, as it wrote it; empty for none. Whether there is such a one no server was asked yet.
    pub schema: Vec<u8>,
    /// Its [account](Accounts::account).
    pub account: usize,
    /// Which upstream connections it may be lent.
    pub lane: Lane,
    /// The capabilities that hold with it.
    pub agreed: Capabilities,
    /// Who can read the connection.
    pub channel: Channel,
    /// The number by which it knows its connection.
    pub number: u64,
    /// What another login on the connection needs.
    again: Again,
}

#[derive(Clone, Debug)]
struct Again {
    seed: [u8; SEED],
    salts: u32,
    config: ServerConfig,
}

impl Entrance {
    /// For a client that has just connected. `version` is that of the server that it is to take us for.
    pub fn new(accounts: Arc<Accounts>, version: &str, arrival: Arrival) -> Self {
        let mut salt = [0; SALT];
        let mut seed = [0; SEED];
        let random = arrival.random.iter();
        salt.iter_mut().chain(&mut seed).zip(random).for_each(|(to, from)| *to = *from);
        let config = ServerConfig {
            greeting: Greeting {
                version: version.into(),
                connection: u32::try_from(arrival.number & u64::from(u32::MAX)).unwrap_or_default(),
                capabilities: OFFERED,
                salt: salt_of(salt).to_vec(),
                collation: LOGIN_COLLATION.id.to_le_bytes()[0],
                status: StatusFlags::AUTOCOMMIT,
                plugin: accounts.plugin().name().into(),
            },
            tls: match (arrival.tls, arrival.tls_required) {
                (false, _) => TlsOffer::Off,
                (true, false) => TlsOffer::Offered,
                (true, true) => TlsOffer::Required,
            },
            channel: if arrival.private { Channel::Private } else { Channel::Open },
            key: accounts.key().cloned(),
            host: host(&arrival.peer),
        };
        let (handshake, greeting) = ServerHandshake::new(config.clone());
        Self {
            accounts,
            number: arrival.number,
            seed,
            salts: 0,
            config,
            handshake: Some(handshake),
            greeting: Some(greeting),
            account: None,
            collation: None,
            admitted: None,
        }
    }

    /// Another login of a client's, on the same connection: `frame` is its `COM_CHANGE_USER`. What follows of it goes to
    /// [`on_frame`](Handshake::on_frame). A client that is refused is to be closed.
    pub fn change_user(
        accounts: Arc<Accounts>,
        client: Admitted,
        frame: &MysqlFrame,
    ) -> (Self, Progress<Mysql>) {
        let Admitted { agreed, channel, number, again, .. } = client;
        let mut entrance = Self {
            accounts,
            number,
            seed: again.seed,
            salts: again.salts,
            config: again.config,
            handshake: None,
            greeting: None,
            account: None,
            collation: None,
            admitted: None,
        };
        let begun = whole(&frame.bytes).and_then(|(seq, body)| {
            let change = ChangeUser::parse(body.get(1..).unwrap_or_default(), agreed)?;
            entrance.collation = change.collation;
            let config = entrance.config.clone();
            ServerHandshake::change_user(config, agreed, channel, seq, body)
        });
        let step = begun.map(|handshake| {
            entrance.handshake = Some(handshake);
            ServerStep::Account
        });
        let progress = entrance.follow(step, &frame.bytes);
        (entrance, progress)
    }

    /// The client, once it has logged in.
    pub fn into_admitted(self) -> Option<Admitted> {
        self.admitted.map(|admitted| *admitted)
    }

    /// What comes of the handshake's next step.
    fn follow(
        &mut self,
        mut step: Result<ServerStep, HandshakeError>,
        packet: &[u8],
    ) -> Progress<Mysql> {
        loop {
            step = match step {
                Ok(ServerStep::Account) => self.look_up(),
                Ok(ServerStep::Wait) => return Progress::Continue(None),
                Ok(ServerStep::Send(bytes)) => return Progress::Continue(Some(reply(bytes))),
                Ok(ServerStep::StartTls) => return Progress::StartTls(None),
                Ok(ServerStep::Denied(bytes, denial)) => {
                    return Progress::Refused(Some(reply(bytes)), class(&denial));
                }
                Ok(ServerStep::Accepted(bytes, learnt)) => {
                    let Some(admitted) = self.admit() else {
                        return Progress::Refused(None, "a login without an account");
                    };
                    self.accounts.learn(admitted.account, &learnt);
                    self.admitted = Some(Box::new(admitted));
                    return Progress::Done(Some(reply(bytes)));
                }
                Err(error) => {
                    self.handshake = None;
                    return refuse(&error, Head::read(packet).map_or(0, |head| head.seq));
                }
            };
        }
    }

    fn look_up(&mut self) -> Result<ServerStep, HandshakeError> {
        let handshake = self.handshake.as_mut().ok_or(OVER)?;
        let user = handshake.login().map(|login| login.user.as_slice()).unwrap_or_default();
        let (account, verifier) = self.accounts.look_up(user);
        self.account = account;
        self.salts = self.salts.wrapping_add(1);
        let random: [u8; ED25519_SALT] = sha256(&[&self.seed, &self.salts.to_le_bytes()]);
        handshake.account(verifier, random)
    }

    fn admit(&mut self) -> Option<Admitted> {
        let handshake = self.handshake.take()?;
        let account = self.account?;
        let upstream = &self.accounts.account(account)?.upstream;
        let (agreed, login) = (handshake.agreed(), handshake.login()?.clone());
        let schema = login.schema.clone();
        let mut identity = Identity::from(login);
        identity.collation = self.collation.unwrap_or(identity.collation);
        Some(Admitted {
            identity: Arc::new(identity),
            schema,
            account,
            lane: Lane::new(upstream.key(), agreed),
            agreed,
            channel: handshake.channel(),
            number: self.number,
            again: Again { seed: self.seed, salts: self.salts, config: self.config.clone() },
        })
    }
}

impl Handshake<Mysql> for Entrance {
    fn start(&mut self, _: &Mysql) -> Progress<Mysql> {
        let greeting = self.greeting.take();
        Progress::Continue(greeting.map(|bytes| MysqlFrame::new(What::Greeting, bytes)))
    }

    fn on_frame(&mut self, _: &Mysql, frame: MysqlFrame) -> Progress<Mysql> {
        let step = whole(&frame.bytes).and_then(|(seq, body)| {
            self.handshake.as_mut().ok_or(OVER).and_then(|it| it.on_packet(seq, body))
        });
        self.follow(step, &frame.bytes)
    }

    fn on_secured(&mut self, _: &Mysql) -> Progress<Mysql> {
        let step = self.handshake.as_mut().ok_or(OVER).and_then(ServerHandshake::secured);
        self.follow(step, &[])
    }

    fn number(&self) -> Option<u64> {
        Some(self.number)
    }

    fn layer(&self) -> Option<Box<dyn Layer>> {
        let algorithm = Algorithm::of(self.admitted.as_ref()?.agreed)?;
        Some(Box::new(compress::Layer::new(algorithm)))
    }
}

pub(super) const OVER: HandshakeError = HandshakeError::Unexpected("the handshake is over");

/// The number and the body of a frame that is one packet of a handshake's.
pub(super) fn whole(bytes: &[u8]) -> Result<(u8, &[u8]), HandshakeError> {
    let body = bytes.get(HEAD..).unwrap_or_default();
    match Head::read(bytes) {
        Some(_) if bytes.len() > MAX_HANDSHAKE => {
            Err(DecodeError::limit("handshake", MAX_HANDSHAKE, bytes.len()).into())
        }
        Some(head) if head.len == body.len() => Ok((head.seq, body)),
        _ => Err(HandshakeError::Unexpected("a packet of a handshake that is not whole")),
    }
}

/// Where a client comes from, as errors have it: without its port.
fn host(peer: &str) -> String {
    match peer.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_canonical().to_string(),
        Err(_) => "localhost".into(),
    }
}

/// An answer of the proxy's own.
pub(super) fn reply(bytes: BytesMut) -> MysqlFrame {
    let body = bytes.get(HEAD..).unwrap_or_default();
    let error = body.first().filter(|first| **first == 0xff);
    let error = error.and_then(|_| ErrPacket::parse(body).ok());
    MysqlFrame { error, ..MysqlFrame::new(What::Reply { last: true }, bytes) }
}

/// The name of an error that a login ends with.
pub(super) fn class(denial: &Denial) -> &'static str {
    error::class(&ErrPacket { number: denial.number, sqlstate: denial.sqlstate })
}

/// Tells the client that what it has sent, in a packet of this number, is no login.
fn refuse(error: &HandshakeError, seq: u8) -> Progress<Mysql> {
    let number = match error {
        HandshakeError::OutOfOrder { .. } => 1156,
        _ => 1043,
    };
    let denial = Denial { number, sqlstate: *b"08S01", text: format!("Bad handshake: {error}") };
    let mut bytes = BytesMut::new();
    put_packet(&mut bytes, seq.wrapping_add(1), &denial.body(Capabilities::PROTOCOL_41));
    Progress::Refused(Some(reply(bytes)), class(&denial))
}
