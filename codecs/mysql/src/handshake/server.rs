//! Our part of a handshake with a client.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{ChangeUser, Denial, Greeting, HandshakeError, Login, is_ssl_request};
use crate::auth::{
    Channel, ED25519_SALT, Learnt, Plugin, PrivateKey, ServerAuth, Verdict, Verifier,
};
use crate::wire::{put_lenenc_bytes, put_packet};
use crate::{Capabilities, StatusFlags};

/// What a client is shown.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The version, the connection's number, the capabilities, the collation, the status and the plugin that is assumed. Its
    /// salt is to be of 20 random bytes, [made fit](crate::auth::salt_of), for each client anew.
    pub greeting: Greeting,
    /// Whether TLS can begin.
    pub tls: TlsOffer,
    /// Whether the connection is private from its beginning.
    pub channel: Channel,
    /// The key by which clients encrypt passwords on an open channel.
    pub key: Option<Arc<PrivateKey>>,
    /// From where the client comes, for the text of its errors.
    pub host: String,
}

/// Whether a client may, or must, begin TLS within the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsOffer {
    /// It cannot.
    Off,
    /// It may.
    Offered,
    /// It must, or is refused (3159).
    Required,
}

/// A client's login, packet by packet.
///
/// What is offered is what the [greeting](ServerConfig::greeting) has, and always the 4.1 protocol, passwords by salts of 20
/// bytes, named plugins with data of any length, transactions' flags; TLS as [configured](TlsOffer). What holds is what the
/// client takes of it; of zlib and zstd, zlib where it takes both.
#[derive(Debug)]
pub struct ServerHandshake {
    config: ServerConfig,
    state: State,
    /// The number of the packet that comes next.
    seq: u8,
    channel: Channel,
    login: Option<Box<Login>>,
    agreed: Capabilities,
    /// `COM_CHANGE_USER`: which salt it answers to is not known, and the client is asked again.
    again: bool,
}

#[derive(Debug)]
enum State {
    Login,
    Tls,
    /// The account is being looked up.
    Account,
    /// The client was told which plugin and salt, and answers.
    Auth(ServerAuth),
    Over,
}

/// What to do next.
#[derive(Debug)]
pub enum ServerStep {
    /// Wait for the client's next packet.
    Wait,
    /// Send these bytes, and wait for the client's next packet.
    Send(BytesMut),
    /// Do TLS' handshake, and call [`secured`](ServerHandshake::secured). What has come behind this packet is of TLS: nothing
    /// of it may be read as a packet. What this packet said is forgotten, since whoever is on the way may have said it.
    StartTls,
    /// Look the account up, and call [`account`](ServerHandshake::account): [`login`](ServerHandshake::login) says who it is.
    Account,
    /// The client is who it says. What it learnt stays with the account; the bytes are to be sent, and end in an OK.
    Accepted(BytesMut, Learnt),
    /// It is not. The bytes are an ERR; send them and close, or after a `COM_CHANGE_USER` close too.
    Denied(BytesMut, Denial),
}

/// What is always offered.
const USUAL: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::PLUGIN_AUTH_LENENC.0,
);

/// What is never: there is no exchange for it here.
const NEVER: Capabilities = Capabilities(
    Capabilities::SSL.0 | Capabilities::MULTI_FACTOR.0 | Capabilities::CAPABILITY_EXTENSION.0,
);

/// The kind of change that is a schema.
const SCHEMA: u8 = 1;

impl ServerHandshake {
    /// Begins; the bytes are the greeting's.
    pub fn new(mut config: ServerConfig) -> (Self, BytesMut) {
        let tls = match config.tls {
            TlsOffer::Off => Capabilities(0),
            TlsOffer::Offered | TlsOffer::Required => Capabilities::SSL,
        };
        let offered = config.greeting.capabilities.without(NEVER) | USUAL | tls;
        config.greeting.capabilities = offered;
        let mut body = BytesMut::new();
        config.greeting.write(&mut body);
        let mut handshake = Self {
            channel: config.channel,
            config,
            state: State::Login,
            seq: 0,
            login: None,
            agreed: Capabilities(0),
            again: false,
        };
        let greeting = handshake.packet(&body);
        (handshake, greeting)
    }

    /// Another login on a connection whose first one agreed on these: `body` is the command's, with its code, and the
    /// configuration's greeting the one that the client was shown.
    ///
    /// # Errors
    /// [`HandshakeError::Decode`].
    pub fn change_user(
        config: ServerConfig,
        agreed: Capabilities,
        channel: Channel,
        seq: u8,
        body: &[u8],
    ) -> Result<Self, HandshakeError> {
        let change = ChangeUser::parse(body.get(1..).unwrap_or_default(), agreed)?;
        let login = Login {
            capabilities: agreed,
            max_packet: 0,
            collation: change.collation.map_or(0, |collation| collation.to_le_bytes()[0]),
            user: change.user,
            auth_data: change.auth_data,
            schema: change.schema,
            plugin: change.plugin,
            attributes: change.attributes,
        };
        Ok(Self {
            config,
            state: State::Account,
            seq: seq.wrapping_add(1),
            channel,
            login: Some(Box::new(login)),
            agreed,
            again: true,
        })
    }

    /// Who logs in, once it has said so.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_deref()
    }

    /// The capabilities that hold, once the client has logged in.
    pub fn agreed(&self) -> Capabilities {
        self.agreed
    }

    /// Who can read the connection.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// What to do after this packet of the client's.
    ///
    /// # Errors
    /// What it sends is no login; close.
    pub fn on_packet(&mut self, seq: u8, body: &[u8]) -> Result<ServerStep, HandshakeError> {
        if seq != self.seq {
            return Err(HandshakeError::OutOfOrder { wanted: self.seq, seen: seq });
        }
        self.seq = seq.wrapping_add(1);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Login if is_ssl_request(body) => self.begin_tls(),
            State::Login => self.logged_in(Login::parse(body)?),
            State::Auth(auth) => Ok(self.answered(auth, body)),
            State::Tls | State::Account | State::Over => {
                Err(HandshakeError::Unexpected("a packet that nobody waits for"))
            }
        }
    }

    /// What to do now that TLS is on.
    ///
    /// # Errors
    /// Nobody asked for it.
    pub fn secured(&mut self) -> Result<ServerStep, HandshakeError> {
        if !matches!(self.state, State::Tls) {
            return Err(HandshakeError::Unexpected("TLS that nobody asked for"));
        }
        self.channel = Channel::Private;
        self.state = State::Login;
        Ok(ServerStep::Wait)
    }

    /// What to do now that the account is known: where there is none, it is [`Verifier::Nobody`]. A client that answered to
    /// another plugin than the account's is asked again; for [`Plugin::ClientEd25519`] with a salt of these random bytes.
    ///
    /// # Errors
    /// No account was asked for.
    pub fn account(
        &mut self,
        verifier: Verifier,
        random: [u8; ED25519_SALT],
    ) -> Result<ServerStep, HandshakeError> {
        let (State::Account, Some(login)) = (&self.state, &mut self.login) else {
            return Err(HandshakeError::Unexpected("an account that nobody asked for"));
        };
        let plugin = verifier.plugin();
        let answer = std::mem::take(&mut login.auth_data);
        let named = self.agreed.has(Capabilities::PLUGIN_AUTH);
        let answered = if named { Plugin::of(&login.plugin) } else { Some(Plugin::NativePassword) };
        // The greeting's salt is of the length of all plugins but one.
        let fits = answered == Some(plugin) && plugin != Plugin::ClientEd25519;
        if fits && !self.again {
            let salt = self.config.greeting.salt.clone();
            let auth = self.auth(verifier, &salt);
            return Ok(self.answered(auth, &answer));
        }
        if !named {
            let text = format!("The client does not know of {}", plugin.name());
            return Ok(self.deny(Denial { number: 1251, sqlstate: *b"08004", text }));
        }
        // The salt stays the connection's, as with MySQL: after `COM_CHANGE_USER`, clients of its library go by the one they
        // were shown first, whatever they are sent.
        let salt = match plugin {
            Plugin::ClientEd25519 => crate::auth::salt_of(random).to_vec(),
            _ => self.config.greeting.salt.clone(),
        };
        let mut body = BytesMut::new();
        body.put_u8(0xfe);
        body.put_slice(plugin.name().as_bytes());
        body.put_u8(0);
        body.put_slice(&salt);
        if plugin != Plugin::ClientEd25519 {
            body.put_u8(0);
        }
        self.state = State::Auth(self.auth(verifier, &salt));
        Ok(ServerStep::Send(self.packet(&body)))
    }

    fn begin_tls(&mut self) -> Result<ServerStep, HandshakeError> {
        if self.channel == Channel::Private
            || !self.config.greeting.capabilities.has(Capabilities::SSL)
        {
            return Err(HandshakeError::Unexpected("a request for TLS that was not offered"));
        }
        self.state = State::Tls;
        Ok(ServerStep::StartTls)
    }

    fn logged_in(&mut self, login: Login) -> Result<ServerStep, HandshakeError> {
        self.agreed = login.agreed(self.config.greeting.capabilities);
        self.login = Some(Box::new(login));
        if self.config.tls == TlsOffer::Required && self.channel == Channel::Open {
            let text = "Connections that are not encrypted are not allowed".into();
            return Ok(self.deny(Denial { number: 3159, sqlstate: *b"HY000", text }));
        }
        self.state = State::Account;
        Ok(ServerStep::Account)
    }

    fn auth(&self, verifier: Verifier, salt: &[u8]) -> ServerAuth {
        ServerAuth::new(verifier, salt, self.channel, self.config.key.clone())
    }

    fn answered(&mut self, mut auth: ServerAuth, answer: &[u8]) -> ServerStep {
        match auth.on_answer(answer) {
            Verdict::More(data) => {
                self.state = State::Auth(auth);
                ServerStep::Send(self.more(&data))
            }
            Verdict::Accepted(data, learnt) => {
                let mut out = data.map_or_else(BytesMut::new, |data| self.more(&data));
                out.extend_from_slice(&self.ok());
                ServerStep::Accepted(out, learnt)
            }
            Verdict::Denied => self.access_denied(!answer.is_empty()),
        }
    }

    fn access_denied(&mut self, with_password: bool) -> ServerStep {
        let user = self.login.as_ref().map(|login| String::from_utf8_lossy(&login.user));
        let text = format!(
            "Access denied for user '{}'@'{}' (using password: {})",
            user.unwrap_or_default(),
            self.config.host,
            if with_password { "YES" } else { "NO" }
        );
        self.deny(Denial { number: 1045, sqlstate: *b"28000", text })
    }

    fn deny(&mut self, denial: Denial) -> ServerStep {
        self.state = State::Over;
        ServerStep::Denied(self.packet(&denial.body(self.agreed)), denial)
    }

    fn more(&mut self, data: &[u8]) -> BytesMut {
        let mut body = Vec::with_capacity(data.len().saturating_add(1));
        body.push(0x01);
        body.extend_from_slice(data);
        self.packet(&body)
    }

    /// As servers do, it tells of the schema that the client has asked for.
    fn ok(&mut self) -> BytesMut {
        let mut status = self.config.greeting.status | StatusFlags::AUTOCOMMIT;
        let mut told = BytesMut::new();
        let schema = self.login.as_ref().map(|login| &*login.schema).unwrap_or_default();
        if self.agreed.has(Capabilities::SESSION_TRACK) && !schema.is_empty() {
            status = status | StatusFlags::STATE_CHANGED;
            let mut change = BytesMut::new();
            put_lenenc_bytes(&mut change, schema);
            let mut block = BytesMut::from(&[SCHEMA][..]);
            put_lenenc_bytes(&mut block, &change);
            put_lenenc_bytes(&mut told, b"");
            put_lenenc_bytes(&mut told, &block);
        }
        let [a, b] = status.0.to_le_bytes();
        self.packet(&[&[0, 0, 0, a, b, 0, 0], &*told].concat())
    }

    fn packet(&mut self, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        self.seq = put_packet(&mut out, self.seq, body);
        out
    }
}
