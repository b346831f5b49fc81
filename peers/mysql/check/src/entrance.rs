//! A server that lets clients log in as the proxy's pooled mode does, and says OK to all else; and logins at real servers as that
//! mode does them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use wiremesh::correlation::{Arrival, Departure, Handshake, Progress};
use wiremesh::{Credentials, Limits, Password, Peer, Protocol, User, UserSecret};
use wiremesh_mysql::auth::{Channel, Plugin, ShaCrypt};
use wiremesh_mysql::pooled::{
    Accounts, Admitted, Entrance, Lane, LoggedIn, OFFERED, Tracking, UpstreamLogin,
};
use wiremesh_mysql::wire::put_packet;
use wiremesh_mysql::{Capabilities, Command, Mysql, MysqlFrame};

use crate::client::Server;
use crate::link::Link;
use crate::tls;

fn user(name: &str, secret: UserSecret, plugin: Option<Plugin>, upstream: (&str, &str)) -> User {
    User {
        name: name.into(),
        secret,
        plugin: plugin.map(|plugin| plugin.name().into()),
        upstream: Credentials { user: upstream.0.into(), password: Password::new(upstream.1) },
    }
}

/// Accounts by the names that real servers here have them by, and `digest`, of whose password the digest is known.
fn accounts() -> anyhow::Result<Accounts> {
    let hash = |text: &[u8]| UserSecret::Hash(Password::new(text));
    let known = |text: &str| UserSecret::Known(Password::new(text));
    let sha2 = ShaCrypt::of(b"sha2pw", *b"01234567890123456789")?.stored();
    let upstream = ("nat", "natpw");
    Ok(Accounts::new(&[
        user("nat", hash(b"*1374EDB489482E02B373F1E4764607ADEACA73BB"), None, upstream),
        user("sha2", hash(&sha2), None, upstream),
        user("digest", known("digestpw"), None, upstream),
        user("ed", hash(b"LIEvGDGjHTmKyz3peLRjPqahOct5n6/BQCNm1bOvot4"), None, upstream),
        user("nopw", known(""), Some(Plugin::NativePassword), upstream),
    ])?)
}

pub(crate) fn run(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let (tls, accounts) = (tls::server(certificate, key)?, Arc::new(accounts()?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("ready {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, tls, accounts) = (socket?, Arc::clone(&tls), Arc::clone(&accounts));
        std::thread::spawn(move || match serve(socket, tls, &accounts) {
            Ok(()) => {}
            Err(error) => println!("error {error:#}"),
        });
    }
    Ok(())
}

fn serve(
    socket: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    accounts: &Arc<Accounts>,
) -> anyhow::Result<()> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let mut random = [0; 64];
    fastrand::fill(&mut random);
    let arrival = Arrival {
        number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        random,
        peer: socket.peer_addr()?.to_string(),
        tls: true,
        tls_required: false,
        private: false,
    };
    let mut link = Link::new(socket)?;
    let mut entrance = Entrance::new(Arc::clone(accounts), "8.0.33-wiremesh", arrival);
    let begun = entrance.start(&Mysql::default());
    let Some(mut client) = admit(&mut link, entrance, begun, &tls)? else { return Ok(()) };
    while let Some((seq, body)) = link.packet()? {
        match body.first().copied().and_then(Command::of) {
            Some(Command::Quit) => return Ok(()),
            Some(Command::ChangeUser) => {
                let command = frame(Peer::Client, seq, &body)?;
                let (entrance, begun) =
                    Entrance::change_user(Arc::clone(accounts), client, &command);
                match admit(&mut link, entrance, begun, &tls)? {
                    Some(again) => client = again,
                    None => return Ok(()),
                }
            }
            Some(_) => {
                let mut out = BytesMut::new();
                put_packet(&mut out, seq.wrapping_add(1), &[0, 0, 0, 2, 0, 0, 0]);
                link.reply(&out)?;
            }
            None => bail!("no command: {body:?}"),
        }
    }
    Ok(())
}

/// Follows a login; `None`: it was denied, or the client has left.
fn admit(
    link: &mut Link,
    mut entrance: Entrance,
    mut progress: Progress<Mysql>,
    tls: &Arc<rustls::ServerConfig>,
) -> anyhow::Result<Option<Admitted>> {
    let mut turns = 0;
    loop {
        match progress {
            Progress::Continue(said) => {
                if let Some(said) = said {
                    turns += 1;
                    link.send(said.bytes())?;
                }
                let Some((seq, body)) = link.packet()? else { return Ok(None) };
                let frame = frame(Peer::Client, seq, &body)?;
                progress = entrance.on_frame(&Mysql::default(), frame);
            }
            Progress::StartTls(_) => {
                link.start_tls_server(Arc::clone(tls))?;
                progress = entrance.on_secured(&Mysql::default());
            }
            Progress::Done(said) => {
                link.send(said.context("an OK")?.bytes())?;
                let admitted = entrance.into_admitted().context("it is done")?;
                let channel = match admitted.channel {
                    Channel::Open => "open",
                    Channel::Private => "tls",
                };
                println!("in {} {channel} {turns}", admitted.identity.user);
                return Ok(Some(admitted));
            }
            Progress::Refused(said, why) => {
                println!("denied {why} {turns}");
                if let Some(said) = said {
                    link.send(said.bytes())?;
                }
                return Ok(None);
            }
        }
    }
}

fn frame(from: Peer, seq: u8, body: &[u8]) -> anyhow::Result<MysqlFrame> {
    let mut bytes = BytesMut::new();
    put_packet(&mut bytes, seq, body);
    let frame = Mysql::default().decode(from, &mut (), &Limits::default(), &mut bytes)?;
    frame.context("a whole packet")
}

/// Logs in at a server as the pooled mode does, with every plugin, with TLS and without, by full logins and fast ones.
pub(crate) fn log_in(address: SocketAddr, server: Server) -> anyhow::Result<()> {
    let accounts = match server {
        Server::Mysql8 => {
            &[("nat", "natpw"), ("sha2", "sha2pw"), ("s256", "s256pw"), ("nopw", "")][..]
        }
        Server::Mariadb10 => &[("nat", "natpw"), ("ed", "edpw"), ("nopw", "")],
        Server::Mariadb11 => &[("nat", "natpw"), ("nopw", "")],
    };
    for (name, password) in accounts {
        for tls in [false, true] {
            for flags in [Capabilities(0), OFFERED] {
                let (mut link, done) = upstream(address, (name, password), tls, flags)
                    .with_context(|| format!("{name}, TLS {tls}, {flags:?}"))?;
                let agreed = done.established.agreed;
                ensure!(done.tracking == Tracking::State, "{name}: it does not tell");
                ensure!(agreed.has(Capabilities::DEPRECATE_EOF), "{name}: {agreed:?}");
                ensure!(agreed.has(Capabilities::FOUND_ROWS) == (flags == OFFERED), "{agreed:?}");
                // No attributes, and one set of them.
                let none = if agreed.has(Capabilities::QUERY_ATTRIBUTES) { "\0\x01" } else { "" };
                let rows = link.query(&format!("{none}select connection_id()"))?;
                let number = String::from_utf8_lossy(&rows[0][1..]).into_owned();
                let greeted = done.established.greeting.connection.to_string();
                ensure!(number == greeted, "{name}: it is {number}, and was greeted as {greeted}");
            }
            let wrong = upstream(address, (name, "wrong"), tls, OFFERED);
            let why = wrong.err().context("a wrong password is refused")?.to_string();
            ensure!(why == "ER_ACCESS_DENIED_ERROR", "{name}: {why}");
        }
    }
    Ok(())
}

fn upstream(
    address: SocketAddr,
    (name, password): (&str, &str),
    tls: bool,
    flags: Capabilities,
) -> anyhow::Result<(Link, LoggedIn)> {
    let secret = UserSecret::Known(Password::new(password));
    let accounts = Accounts::new(&[user(name, secret, None, (name, password))])?;
    let key = accounts.account(0).context("there is one")?.upstream.key();
    let departure = Departure { random: [0; 64], tls, private: false };
    let mut login = UpstreamLogin::new(&accounts, Lane::new(key, flags), &departure);
    let mut link = Link::new(TcpStream::connect(address)?)?;
    let mut progress = login.start(&Mysql::default());
    loop {
        match progress {
            Progress::Continue(said) => {
                if let Some(said) = said {
                    link.send(said.bytes())?;
                }
                let (seq, body) = link.packet()?.context("it has left")?;
                let frame = frame(Peer::Upstream, seq, &body)?;
                progress = login.on_frame(&Mysql::default(), frame);
            }
            Progress::StartTls(said) => {
                link.send(said.context("a request for TLS")?.bytes())?;
                link.start_tls_client(tls::client()?)?;
                progress = login.on_secured(&Mysql::default());
            }
            Progress::Done(_) => {
                return Ok((link, login.into_logged_in().context("it is done")?));
            }
            Progress::Refused(_, why) => bail!("{why}"),
        }
    }
}
