//! Logins at a real server.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use wiremesh::Password;
use wiremesh_mysql::Capabilities;
use wiremesh_mysql::auth::{AuthError, Channel, KeySource, Plugin};
use wiremesh_mysql::compress::Algorithm;
use wiremesh_mysql::handshake::{
    Attributes, ClientConfig, ClientHandshake, ClientStep, Established, HandshakeError, TlsWish,
    reset_connection,
};
use wiremesh_mysql::session::{Change, Changes};

use crate::link::Link;
use crate::tls;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Server {
    /// 8.0
    Mysql8,
    /// 10.11, with the plugin for Ed25519
    Mariadb10,
    /// 11.4, without
    Mariadb11,
}

pub(crate) fn run(address: SocketAddr, server: Server) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (name, step) in steps(server) {
        match step(address, server) {
            Ok(()) => {
                passed += 1;
                println!("ok {name}: as it should be");
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {name}: {error:#}");
            }
        }
    }
    if failed > 0 {
        println!("FAILED {passed} ok, {failed} failed");
        return ExitCode::FAILURE;
    }
    println!("PASS {passed} ok, 0 failed");
    ExitCode::SUCCESS
}

type Step = fn(SocketAddr, Server) -> anyhow::Result<()>;

fn steps(server: Server) -> Vec<(&'static str, Step)> {
    let mut steps: Vec<(&'static str, Step)> = vec![
        ("native", native),
        ("no password", nopw),
        ("no such user", nobody),
        ("TLS required", tls_only),
        ("change user", change_user),
        ("reset", reset),
        ("zlib", |address, _| compressed(address, Capabilities::COMPRESS)),
        ("zlib within TLS", zlib_in_tls),
        ("as the pooled mode", crate::entrance::log_in),
    ];
    match server {
        Server::Mysql8 => steps.extend([
            ("sha2 by RSA, then fast", sha2_rsa as Step),
            ("sha2 within TLS, then fast", sha2_tls),
            ("sha256", sha256),
            ("zstd", |address, _| compressed(address, Capabilities::ZSTD)),
        ]),
        Server::Mariadb10 => steps.push(("ed25519", ed25519)),
        Server::Mariadb11 => {}
    }
    steps
}

pub(crate) fn account(user: &str, password: &str) -> ClientConfig {
    ClientConfig {
        user: user.into(),
        password: Password::new(password),
        schema: b"test".to_vec(),
        wanted: Capabilities::DEPRECATE_EOF
            | Capabilities::SESSION_TRACK
            | Capabilities::MULTI_RESULTS
            | Capabilities::MARIADB_STMT_BULK,
        tls: TlsWish::Off,
        channel: Channel::Open,
        keys: KeySource::None,
        attributes: Attributes::of([("_client_name", "wiremesh"), ("program_name", "check")]),
        collation: 45,
        max_packet: 1 << 24,
        zstd_level: 3,
    }
}

fn within_tls(config: ClientConfig) -> ClientConfig {
    ClientConfig { tls: TlsWish::Required, ..config }
}

fn by_rsa(config: ClientConfig) -> ClientConfig {
    ClientConfig { keys: KeySource::Asked, ..config }
}

pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) established: Box<Established>,
    /// How many packets of more data the server sent.
    more: usize,
}

pub(crate) fn login(address: SocketAddr, config: ClientConfig) -> anyhow::Result<Session> {
    let user = String::from_utf8_lossy(&config.user).into_owned();
    let mut link = Link::new(TcpStream::connect(address)?)?;
    let (established, more) = converse(&mut link, ClientHandshake::new(config), None)?;
    if let Some(algorithm) = Algorithm::of(established.agreed) {
        link.compress(algorithm);
    }
    let mut session = Session { link, established, more };
    session.is(&user)?;
    Ok(session)
}

/// Follows a handshake that begins with `step`, or with the server.
pub(crate) fn converse(
    link: &mut Link,
    mut handshake: ClientHandshake,
    mut step: Option<ClientStep>,
) -> anyhow::Result<(Box<Established>, usize)> {
    let mut more = 0;
    loop {
        step = match step {
            Some(ClientStep::Done(established)) => return Ok((established, more)),
            Some(ClientStep::Send(bytes)) => {
                link.send(&bytes)?;
                None
            }
            Some(ClientStep::StartTls(bytes)) => {
                link.send(&bytes)?;
                link.start_tls_client(tls::client()?)?;
                Some(handshake.secured()?)
            }
            Some(ClientStep::Wait) | None => {
                let (seq, body) = link.packet()?.context("it has left")?;
                more += usize::from(body.first() == Some(&1));
                Some(handshake.on_packet(seq, &body)?)
            }
        };
    }
}

impl Session {
    /// The server takes the session for this account's.
    fn is(&mut self, user: &str) -> anyhow::Result<()> {
        let rows = self.link.query("select current_user()")?;
        let [row] = &rows[..] else { bail!("{} rows", rows.len()) };
        let seen = String::from_utf8_lossy(&row[1..]);
        ensure!(seen.starts_with(&format!("{user}@")), "the server takes it for {seen}");
        Ok(())
    }
}

/// The login is refused with this number.
fn refused(address: SocketAddr, config: ClientConfig, number: u16) -> anyhow::Result<()> {
    match failed(address, config)? {
        HandshakeError::Denied(denial) if denial.number == number => Ok(()),
        other => bail!("{number} was to come, not {other}"),
    }
}

fn failed(address: SocketAddr, config: ClientConfig) -> anyhow::Result<HandshakeError> {
    match login(address, config) {
        Ok(_) => bail!("it is let in"),
        Err(error) => error.downcast::<HandshakeError>(),
    }
}

fn native(address: SocketAddr, server: Server) -> anyhow::Result<()> {
    let session = login(address, account("nat", "natpw"))?;
    let established = session.established;
    ensure!(established.channel == Channel::Open, "it is private");
    let told: Result<Vec<_>, _> = Changes::of_ok(&established.ok, established.agreed)?.collect();
    ensure!(told? == [Change::Schema(b"test")], "the schema is told");
    let maria = established.agreed.has(Capabilities::MARIADB_STMT_BULK);
    ensure!(maria == (server != Server::Mysql8), "flags of MariaDB");
    let session = login(address, within_tls(account("nat", "natpw")))?;
    ensure!(session.established.channel == Channel::Private, "it is open");
    refused(address, account("nat", "Natpw"), 1045)?;
    refused(address, account("nat", ""), 1045)?;
    refused(address, within_tls(account("nat", "natpw ")), 1045)
}

fn nopw(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    login(address, account("nopw", ""))?;
    login(address, within_tls(account("nopw", "")))?;
    refused(address, within_tls(account("nopw", "some")), 1045)
}

fn nobody(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    refused(address, by_rsa(account("there-is-none", "secret")), 1045)?;
    refused(address, within_tls(account("there-is-none", "secret")), 1045)
}

fn tls_only(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    login(address, within_tls(account("tlsonly", "tlspw")))?;
    refused(address, by_rsa(account("tlsonly", "tlspw")), 1045)
}

fn ed25519(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    login(address, account("ed", "edpw"))?;
    login(address, within_tls(account("ed", "edpw")))?;
    refused(address, account("ed", "Edpw"), 1045)?;
    refused(address, account("ed", ""), 1045)
}

/// The server forgets the passwords it has seen.
fn forget(address: SocketAddr) -> anyhow::Result<()> {
    login(address, account("nat", "natpw"))?.link.query("flush privileges")?;
    Ok(())
}

fn sha2_rsa(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    forget(address)?;
    let config = account("sha2", "sha2pw");
    let needs = HandshakeError::Auth(AuthError::NeedsKey(Plugin::CachingSha2));
    ensure!(failed(address, config.clone())? == needs, "there is no key");
    refused(address, by_rsa(account("sha2", "Sha2pw")), 1045)?;
    ensure!(login(address, by_rsa(config.clone()))?.more == 2, "it was to ask, and send its key");
    ensure!(login(address, config)?.more == 1, "it was to be fast");
    // A wrong password is asked for in full, whatever the server remembers.
    refused(address, by_rsa(account("sha2", "Sha2pw")), 1045)
}

fn sha2_tls(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    forget(address)?;
    let config = within_tls(account("sha2", "sha2pw"));
    refused(address, within_tls(account("sha2", "Sha2pw")), 1045)?;
    for _ in ["full", "fast"] {
        ensure!(login(address, config.clone())?.more == 1, "one word of the server's");
    }
    refused(address, within_tls(account("sha2", "")), 1045)
}

fn sha256(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    login(address, by_rsa(account("s256", "s256pw")))?;
    login(address, within_tls(account("s256", "s256pw")))?;
    let needs = HandshakeError::Auth(AuthError::NeedsKey(Plugin::Sha256));
    ensure!(failed(address, account("s256", "s256pw"))? == needs, "there is no key");
    refused(address, by_rsa(account("s256", "S256pw")), 1045)?;
    refused(address, within_tls(account("s256", "S256pw")), 1045)
}

/// All accounts of a server one after the other on one connection, then one that is not let in.
fn change_user(address: SocketAddr, server: Server) -> anyhow::Result<()> {
    let others: &[(&str, &str)] = match server {
        Server::Mysql8 => &[("sha2", "sha2pw"), ("nopw", ""), ("s256", "s256pw"), ("nat", "natpw")],
        Server::Mariadb10 => &[("ed", "edpw"), ("nopw", ""), ("nat", "natpw")],
        Server::Mariadb11 => &[("nopw", ""), ("nat", "natpw")],
    };
    for wrap in [within_tls, by_rsa] {
        let mut session = login(address, wrap(account("nat", "natpw")))?;
        for (user, password) in others {
            session.change(wrap(account(user, password))).context(*user)?;
            session.is(user)?;
        }
        match session.change(wrap(account("nat", "wrong"))) {
            Ok(()) => bail!("it is let in"),
            Err(error) => match error.downcast::<HandshakeError>()? {
                HandshakeError::Denied(denial) if denial.number == 1045 => {}
                other => bail!("1045 was to come, not {other}"),
            },
        }
    }
    Ok(())
}

impl Session {
    fn change(&mut self, config: ClientConfig) -> anyhow::Result<()> {
        let (handshake, step) = ClientHandshake::change_user(config, &self.established)?;
        let (established, _) = converse(&mut self.link, handshake, Some(step))?;
        self.established = established;
        Ok(())
    }
}

fn reset(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    let mut session = login(address, account("nat", "natpw"))?;
    session.link.query("set @mine = 1")?;
    session.link.ask(&reset_connection())?;
    let (_, ok) = session.link.packet()?.context("it has left")?;
    ensure!(ok.first() == Some(&0), "an OK was to come");
    let rows = session.link.query("select @mine")?;
    ensure!(rows.len() == 1 && rows[0][..] == [0xfb], "the variable is still there");
    Ok(())
}

fn compressed(address: SocketAddr, layer: Capabilities) -> anyhow::Result<()> {
    let config = account("nat", "natpw");
    squeeze(address, ClientConfig { wanted: config.wanted | layer, ..config }, layer)
}

fn zlib_in_tls(address: SocketAddr, _: Server) -> anyhow::Result<()> {
    let (config, layer) = (within_tls(account("nat", "natpw")), Capabilities::COMPRESS);
    squeeze(address, ClientConfig { wanted: config.wanted | layer, ..config }, layer)
}

/// Statements and rows from next to nothing to more than a packet holds, of bytes that shrink and of such that do not.
fn squeeze(address: SocketAddr, config: ClientConfig, layer: Capabilities) -> anyhow::Result<()> {
    let mut session = login(address, config)?;
    ensure!(session.established.agreed.has(layer), "it is not compressed");
    let mut random = fastrand::Rng::with_seed(7);
    for len in [1, 20, 49, 50, 51, 1000, 70_000, 1 << 20, (16 << 20) - 30, 17 << 20] {
        // To make noise of 16 MiB up takes longer than to send it.
        for noisy in [false, true].into_iter().take(if len > 1 << 20 { 1 } else { 2 }) {
            let letter =
                |random: &mut fastrand::Rng| if noisy { random.alphanumeric() } else { 'x' };
            let text: String = std::iter::repeat_with(|| letter(&mut random)).take(len).collect();
            let before = session.link.written;
            let rows = session.link.query(&format!("select '{text}'"))?;
            let written = session.link.written - before;
            ensure!(
                rows.len() == 1 && rows[0].ends_with(text.as_bytes()),
                "{len} bytes came back otherwise"
            );
            // Letters and digits are six bits each, near enough.
            let bound = if noisy { len * 9 / 10 } else { len / 20 };
            ensure!(len < 1000 || written < bound, "{len} bytes went out as {written}");
        }
    }
    Ok(())
}
