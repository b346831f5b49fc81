//! Our part of a handshake with a server.

use bytes::BytesMut;
use wiremesh::Password;

use super::{Attributes, ChangeUser, Denial, Greeting, HandshakeError, Login};
use crate::auth::{AuthError, Channel, ClientAuth, KeySource, Plugin};
use crate::wire::{Reader, put_packet};
use crate::{Capabilities, Command};

/// Who logs in, and what it asks for.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The account's name.
    pub user: Vec<u8>,
    /// Its password.
    pub password: Password,
    /// The schema; empty for none.
    pub schema: Vec<u8>,
    /// What is [asked for](ClientHandshake) beside the necessary.
    pub wanted: Capabilities,
    /// Whether the connection is encrypted.
    pub tls: TlsWish,
    /// Whether it is beforehand: a socket of this machine, or TLS that began with the connection.
    pub channel: Channel,
    /// Where the server's RSA key is from.
    pub keys: KeySource,
    /// What is told beside the name.
    pub attributes: Attributes,
    /// The session's collation, by the lower byte of its number.
    pub collation: u8,
    /// The longest packet that we say we send, in bytes.
    pub max_packet: u32,
    /// The level of zstd, 1 to 22, that the server is asked for.
    pub zstd_level: u8,
}

/// Whether to begin TLS within the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWish {
    /// Never.
    Off,
    /// Where the server offers it. Whoever is on the way can take the offer out.
    Preferred,
    /// Always; a server that does not offer it is an error.
    Required,
}

/// A login at a server, packet by packet.
///
/// What is asked for is what the server offers of
/// - the 4.1 protocol, passwords by salts of 20 bytes (these two have to be offered), named plugins, data of any length for
///   them, and the flags that mean nothing any more but that servers set;
/// - a schema and attributes, where there are any; TLS as [wished](TlsWish);
/// - of what is [wanted](ClientConfig::wanted) all the rest, but of zlib and zstd only zstd, where both are to be had, since
///   asking for both gives zlib; and nothing that would need an exchange that is not here (several factors).
#[derive(Debug)]
pub struct ClientHandshake {
    config: ClientConfig,
    state: State,
    /// The number of the packet that comes next.
    seq: u8,
    channel: Channel,
    greeting: Option<Box<Greeting>>,
    asked: Capabilities,
    switches: u8,
}

#[derive(Debug)]
enum State {
    Greeting,
    Tls,
    Auth(ClientAuth),
    /// An error came, or the end.
    Over,
}

/// What to do next.
#[derive(Debug)]
pub enum ClientStep {
    /// Wait for the server's next packet.
    Wait,
    /// Send these bytes, and wait for the server's next packet.
    Send(BytesMut),
    /// Send these bytes, do TLS' handshake, and call [`secured`](ClientHandshake::secured). The password may be shown to
    /// whoever is at the other end: its certificate is to be checked.
    StartTls(BytesMut),
    /// The login is done.
    Done(Box<Established>),
}

/// What holds on a connection that was logged in on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// What the server said first.
    pub greeting: Greeting,
    /// The capabilities that hold.
    pub agreed: Capabilities,
    /// Who can read the connection.
    pub channel: Channel,
    /// The body of the OK, for [what it tells](crate::session::Changes::of_ok) of the session.
    pub ok: Vec<u8>,
}

/// More plugins one after the other are not tried: a server could go on for ever.
const MAX_SWITCHES: u8 = 4;

const USUAL: Capabilities = Capabilities(
    Capabilities::CLIENT_MYSQL.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::PLUGIN_AUTH_LENENC.0,
);

/// What other fields decide, or nothing here can do.
const NOT_WANTED: Capabilities = Capabilities(
    Capabilities::CONNECT_WITH_DB.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::SSL.0
        | Capabilities::MULTI_FACTOR.0
        | Capabilities::CAPABILITY_EXTENSION.0
        | Capabilities::SSL_VERIFY_SERVER_CERT.0
        | Capabilities::REMEMBER_OPTIONS.0
        | Capabilities::MARIADB_COM_MULTI.0,
);

impl ClientHandshake {
    /// Waits for the greeting.
    pub fn new(config: ClientConfig) -> Self {
        let channel = config.channel;
        Self {
            config,
            state: State::Greeting,
            seq: 0,
            channel,
            greeting: None,
            asked: Capabilities(0),
            switches: 0,
        }
    }

    /// Another login on a connection: of the configuration, the user, password, schema, collation, key and attributes.
    ///
    /// # Errors
    /// As [`on_packet`](Self::on_packet).
    pub fn change_user(
        config: ClientConfig,
        on: &Established,
    ) -> Result<(Self, ClientStep), HandshakeError> {
        let (auth, answer) = first(&config, &on.greeting, on.agreed, on.channel)?;
        let change = ChangeUser {
            user: config.user.clone(),
            auth_data: answer,
            schema: config.schema.clone(),
            collation: Some(config.collation.into()),
            plugin: auth.plugin().name().into(),
            attributes: config.attributes.clone(),
        };
        let mut body = BytesMut::new();
        change.write(on.agreed, &mut body);
        let mut handshake = Self {
            config,
            state: State::Auth(auth),
            seq: 0,
            channel: on.channel,
            greeting: Some(Box::new(on.greeting.clone())),
            asked: on.agreed,
            switches: 0,
        };
        let step = ClientStep::Send(handshake.packet(&body));
        Ok((handshake, step))
    }

    /// What to do after this packet of the server's.
    ///
    /// # Errors
    /// The connection is of no use, or (after [`change_user`](Self::change_user) and with
    /// [`Denied`](HandshakeError::Denied)) still the one it was, as far as MySQL is concerned; MariaDB closes it.
    pub fn on_packet(&mut self, seq: u8, body: &[u8]) -> Result<ClientStep, HandshakeError> {
        if seq != self.seq {
            return Err(HandshakeError::OutOfOrder { wanted: self.seq, seen: seq });
        }
        self.seq = seq.wrapping_add(1);
        match std::mem::replace(&mut self.state, State::Over) {
            _ if body.first() == Some(&0xff) => Err(Denial::parse(body).map_or(
                HandshakeError::Unexpected("an ERR packet without a number"),
                HandshakeError::Denied,
            )),
            State::Greeting => self.greeted(Greeting::parse(body)?),
            State::Auth(auth) => self.answered(auth, body),
            State::Tls | State::Over => {
                Err(HandshakeError::Unexpected("a packet that nobody waits for"))
            }
        }
    }

    /// What to do now that TLS is on.
    ///
    /// # Errors
    /// As [`on_packet`](Self::on_packet).
    pub fn secured(&mut self) -> Result<ClientStep, HandshakeError> {
        if !matches!(self.state, State::Tls) {
            return Err(HandshakeError::Unexpected("TLS that nobody asked for"));
        }
        self.channel = Channel::Private;
        self.log_in()
    }

    fn greeted(&mut self, greeting: Greeting) -> Result<ClientStep, HandshakeError> {
        self.asked = asked(&self.config, greeting.capabilities)?;
        self.greeting = Some(Box::new(greeting));
        if !self.asked.has(Capabilities::SSL) {
            return self.log_in();
        }
        let mut body = BytesMut::new();
        self.login(Vec::new(), Plugin::NativePassword).write_tls_request(&mut body);
        self.state = State::Tls;
        Ok(ClientStep::StartTls(self.packet(&body)))
    }

    fn log_in(&mut self) -> Result<ClientStep, HandshakeError> {
        let Some(greeting) = &self.greeting else {
            return Err(HandshakeError::Unexpected("a login before the greeting"));
        };
        let (auth, answer) = first(&self.config, greeting, self.asked, self.channel)?;
        let mut body = BytesMut::new();
        self.login(answer, auth.plugin()).write(self.config.zstd_level, &mut body);
        self.state = State::Auth(auth);
        Ok(ClientStep::Send(self.packet(&body)))
    }

    fn login(&self, auth_data: Vec<u8>, plugin: Plugin) -> Login {
        let config = &self.config;
        Login {
            capabilities: self.asked,
            max_packet: config.max_packet,
            collation: config.collation,
            user: config.user.clone(),
            auth_data,
            schema: config.schema.clone(),
            plugin: plugin.name().into(),
            attributes: config.attributes.clone(),
        }
    }

    fn answered(
        &mut self,
        mut auth: ClientAuth,
        body: &[u8],
    ) -> Result<ClientStep, HandshakeError> {
        match body {
            [0x00, ..] => {
                let Some(greeting) = self.greeting.take() else {
                    return Err(HandshakeError::Unexpected("an OK before the greeting"));
                };
                Ok(ClientStep::Done(Box::new(Established {
                    greeting: *greeting,
                    agreed: self.asked,
                    channel: self.channel,
                    ok: body.to_vec(),
                })))
            }
            [0x01, data @ ..] => {
                let answer = auth.on_more(data)?;
                self.state = State::Auth(auth);
                Ok(answer.map_or(ClientStep::Wait, |answer| ClientStep::Send(self.packet(&answer))))
            }
            [0xfe, switch @ ..] if self.switches < MAX_SWITCHES => {
                self.switches = self.switches.saturating_add(1);
                let mut switch = Reader::new(switch);
                let name = switch.nul_bytes().map_err(|_| {
                    // Alone, it asks for the password as it was hashed before 4.1.
                    AuthError::UnknownPlugin("mysql_old_password".into())
                })?;
                let plugin = Plugin::of(name).ok_or_else(|| {
                    AuthError::UnknownPlugin(String::from_utf8_lossy(name).into_owned())
                })?;
                let config = &self.config;
                let (auth, answer) = ClientAuth::start(
                    plugin,
                    &config.password,
                    switch.rest(),
                    self.channel,
                    &config.keys,
                )?;
                self.state = State::Auth(auth);
                Ok(ClientStep::Send(self.packet(&answer)))
            }
            _ => Err(HandshakeError::Unexpected("neither OK nor a further step of the login")),
        }
    }

    fn packet(&mut self, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        self.seq = put_packet(&mut out, self.seq, body);
        out
    }
}

/// The packet of `COM_RESET_CONNECTION`: the session is as after the login, but that the schema stays. Answered by OK.
pub fn reset_connection() -> BytesMut {
    let mut out = BytesMut::new();
    put_packet(&mut out, 0, &[Command::ResetConnection as u8]);
    out
}

fn asked(config: &ClientConfig, offered: Capabilities) -> Result<Capabilities, HandshakeError> {
    for (needed, name) in [
        (Capabilities::PROTOCOL_41, "the protocol of 4.1"),
        (Capabilities::SECURE_CONNECTION, "passwords by salts of 20 bytes"),
    ] {
        if !offered.has(needed) {
            return Err(HandshakeError::Lacks(name));
        }
    }
    let mut asked = USUAL | config.wanted.without(NOT_WANTED);
    if !config.schema.is_empty() {
        asked = asked | Capabilities::CONNECT_WITH_DB;
    }
    if !config.attributes.is_empty() {
        asked = asked | Capabilities::CONNECT_ATTRS;
    }
    if config.tls != TlsWish::Off {
        asked = asked | Capabilities::SSL;
    }
    asked = asked & offered;
    if asked.has(Capabilities::ZSTD) {
        asked = asked.without(Capabilities::COMPRESS);
    }
    if config.tls == TlsWish::Required && !asked.has(Capabilities::SSL) {
        return Err(HandshakeError::Lacks("TLS"));
    }
    Ok(asked)
}

/// The first answer: by the plugin that the server assumes, where its salt is one for it. By the oldest one otherwise: the
/// server then says which it wants.
fn first(
    config: &ClientConfig,
    greeting: &Greeting,
    agreed: Capabilities,
    channel: Channel,
) -> Result<(ClientAuth, Vec<u8>), HandshakeError> {
    let assumed = match Plugin::of(&greeting.plugin) {
        Some(plugin) if agreed.has(Capabilities::PLUGIN_AUTH) => plugin,
        _ => Plugin::NativePassword,
    };
    let start = |plugin| {
        let salt = &greeting.salt;
        ClientAuth::start(plugin, &config.password, salt, channel, &config.keys)
    };
    let begun = match start(assumed) {
        Err(_) if assumed != Plugin::NativePassword => start(Plugin::NativePassword),
        begun => begun,
    };
    Ok(begun?)
}
