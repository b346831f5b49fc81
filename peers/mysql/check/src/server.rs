//! A server that knows logins, and says OK to all else.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use bytes::{BufMut, BytesMut};
use wiremesh_mysql::auth::{
    Channel, FastDigest, Learnt, Plugin, PrivateKey, ShaCrypt, Verifier, salt_of,
};
use wiremesh_mysql::compress::Algorithm;
use wiremesh_mysql::handshake::{
    Greeting, HandshakeError, ServerConfig, ServerHandshake, ServerStep, TlsOffer,
};
use wiremesh_mysql::wire::{put_lenenc_bytes, put_packet};
use wiremesh_mysql::{Capabilities, Command, StatusFlags};

use crate::link::Link;
use crate::tls;

struct Shared {
    tls: Arc<rustls::ServerConfig>,
    key: Arc<PrivateKey>,
    plugin: String,
    /// What was learnt of the one account of whose password only a hash is stored.
    digest: Mutex<Option<FastDigest>>,
    connections: AtomicU32,
}

pub(crate) fn run(certificate: &Path, key: &Path, plugin: &str) -> anyhow::Result<()> {
    let shared = Arc::new(Shared {
        tls: tls::server(certificate, key)?,
        key: Arc::new(PrivateKey::from_pem(&std::fs::read(key)?)?),
        plugin: plugin.to_owned(),
        digest: Mutex::default(),
        connections: AtomicU32::new(1),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("ready {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, shared) = (socket?, Arc::clone(&shared));
        std::thread::spawn(move || match serve(socket, &shared) {
            Ok(()) => {}
            Err(error) => println!("error {error:#}"),
        });
    }
    Ok(())
}

/// Accounts by the names that real servers here have them by, and `digest`, of whose password the digest is known.
fn account(shared: &Shared, user: &[u8]) -> anyhow::Result<Verifier> {
    let plugin = Plugin::of(shared.plugin.as_bytes()).context("the plugin is not known")?;
    Ok(match user {
        b"nat" => {
            Verifier::parse(Plugin::NativePassword, b"*1374EDB489482E02B373F1E4764607ADEACA73BB")?
        }
        b"sha2" => {
            let digest = shared.digest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Verifier::Sha2Stored(ShaCrypt::of(b"sha2pw", *b"01234567890123456789")?, digest)
        }
        b"digest" => Verifier::of(Plugin::CachingSha2, b"digestpw")?,
        b"ed" => {
            Verifier::parse(Plugin::ClientEd25519, b"LIEvGDGjHTmKyz3peLRjPqahOct5n6/BQCNm1bOvot4")?
        }
        b"nopw" => Verifier::Empty(plugin),
        _ => Verifier::Nobody(plugin),
    })
}

fn serve(socket: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let host = socket.peer_addr()?.ip().to_string();
    let mut link = Link::new(socket)?;
    let config = ServerConfig {
        greeting: Greeting {
            version: b"8.0.33".to_vec(),
            connection: shared.connections.fetch_add(1, Ordering::Relaxed),
            capabilities: Capabilities(0xffff_ffff).without(Capabilities::QUERY_ATTRIBUTES),
            salt: salt_of(random::<20>()).to_vec(),
            collation: 45,
            status: StatusFlags::AUTOCOMMIT,
            plugin: shared.plugin.clone().into_bytes(),
        },
        tls: TlsOffer::Offered,
        channel: Channel::Open,
        key: Some(Arc::clone(&shared.key)),
        host,
    };
    let (mut handshake, greeting) = ServerHandshake::new(config.clone());
    link.send(&greeting)?;
    if !converse(&mut link, &mut handshake, shared, None)? {
        return Ok(());
    }
    let (agreed, channel) = (handshake.agreed(), handshake.channel());
    if let Some(algorithm) = Algorithm::of(agreed) {
        link.compress(algorithm);
    }
    while let Some((seq, body)) = link.packet()? {
        match body.first().copied().and_then(Command::of) {
            Some(Command::Quit) => return Ok(()),
            Some(Command::ChangeUser) => {
                let mut again =
                    ServerHandshake::change_user(config.clone(), agreed, channel, seq, &body)?;
                if !converse(&mut link, &mut again, shared, Some(ServerStep::Account))? {
                    return Ok(());
                }
            }
            Some(_) => link.reply(&ok(agreed, seq.wrapping_add(1)))?,
            None => bail!("no command: {body:?}"),
        }
    }
    Ok(())
}

/// Follows a handshake; whether the client was let in.
fn converse(
    link: &mut Link,
    handshake: &mut ServerHandshake,
    shared: &Shared,
    mut step: Option<ServerStep>,
) -> anyhow::Result<bool> {
    let mut turns = 0;
    loop {
        step = match step {
            Some(ServerStep::Account) => {
                let login = handshake.login().context("it has said who it is")?;
                let verifier = account(shared, &login.user)?;
                Some(handshake.account(verifier, random())?)
            }
            Some(ServerStep::Send(bytes)) => {
                turns += 1;
                link.send(&bytes)?;
                None
            }
            Some(ServerStep::StartTls) => {
                link.start_tls_server(Arc::clone(&shared.tls))?;
                Some(handshake.secured()?)
            }
            Some(ServerStep::Accepted(bytes, learnt)) => {
                if let Learnt::Password(password) = &learnt {
                    let digest = Some(FastDigest::of(password.bytes()));
                    *shared.digest.lock().unwrap_or_else(PoisonError::into_inner) = digest;
                }
                say("in", handshake, turns);
                link.send(&bytes)?;
                return Ok(true);
            }
            Some(ServerStep::Denied(bytes, denial)) => {
                say(&format!("denied {}", denial.number), handshake, turns);
                link.send(&bytes)?;
                return Ok(false);
            }
            Some(ServerStep::Wait) | None => {
                let Some((seq, body)) = link.packet()? else { return Ok(false) };
                match handshake.on_packet(seq, &body) {
                    Ok(step) => Some(step),
                    // Connectors that do not like a key leave in a way of their own.
                    Err(HandshakeError::OutOfOrder { .. }) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        };
    }
}

/// For example `in nat tls 1`: how often the server had to speak between the login and the verdict.
fn say(verdict: &str, handshake: &ServerHandshake, turns: usize) {
    let user = handshake.login().map(|login| String::from_utf8_lossy(&login.user).into_owned());
    let channel = match handshake.channel() {
        Channel::Open => "open",
        Channel::Private => "tls",
    };
    let layer = match Algorithm::of(handshake.agreed()) {
        Some(Algorithm::Zlib) => " zlib",
        Some(Algorithm::Zstd) => " zstd",
        None => "",
    };
    println!("{verdict} {} {channel} {turns}{layer}", user.unwrap_or_default());
}

/// An OK with a text that is long enough to be compressed.
fn ok(agreed: Capabilities, seq: u8) -> BytesMut {
    let text = [b'x'; 200];
    let mut body = BytesMut::from(&[0, 0, 0, 2, 0, 0, 0][..]);
    match agreed.has(Capabilities::SESSION_TRACK) {
        true => put_lenenc_bytes(&mut body, &text),
        false => body.put_slice(&text),
    }
    let mut out = BytesMut::new();
    put_packet(&mut out, seq, &body);
    out
}

fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fastrand::fill(&mut out);
    out
}
