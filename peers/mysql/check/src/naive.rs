//! A pool as it must not be: what comes next goes to any connection, as the one before has left it. The judges have to
//! find out.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::BytesMut;
use wiremesh_mysql::auth::{Channel, Plugin, Verifier, salt_of};
use wiremesh_mysql::handshake::{Greeting, ServerConfig, ServerHandshake, ServerStep, TlsOffer};
use wiremesh_mysql::wire::put_packet;
use wiremesh_mysql::{Capabilities, Command, StatusFlags};

use crate::conn::{Conn, Login};
use crate::link::Link;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The server
    server: SocketAddr,
    /// Connections to it
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// The account there, and the one of all clients
    #[arg(long, default_value = "nat")]
    user: String,
    /// Its password
    #[arg(long, default_value = "natpw")]
    password: String,
}

struct Pool {
    options: Options,
    login: Login,
    version: String,
    agreed: Capabilities,
    idle: Mutex<VecDeque<Conn>>,
    clients: AtomicU32,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let login = Login::new(&options.user, &options.password);
    let mut idle = VecDeque::new();
    for _ in 0..options.connections {
        idle.push_back(upstream(&options, &login)?);
    }
    let first = idle.front().context("there have to be connections")?;
    let (version, agreed) = (first.version(), first.agreed);
    let (idle, clients) = (Mutex::new(idle), AtomicU32::new(1));
    let pool = Arc::new(Pool { options, login, version, agreed, idle, clients });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("ready {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, pool) = (socket?, Arc::clone(&pool));
        // Clients that leave in the middle are none of its business.
        std::thread::spawn(move || pool.serve(socket).is_ok());
    }
    Ok(())
}

fn upstream(options: &Options, login: &Login) -> anyhow::Result<Conn> {
    let mut conn = Conn::login(options.server, login)?;
    // Clients get into each other's way for as long as that.
    conn.query("set session lock_wait_timeout = 1, innodb_lock_wait_timeout = 1")?;
    Ok(conn)
}

impl Pool {
    fn serve(&self, socket: TcpStream) -> anyhow::Result<()> {
        let mut link = Link::new(socket)?;
        let mut salt = [0; 20];
        fastrand::fill(&mut salt);
        let config = ServerConfig {
            greeting: Greeting {
                version: self.version.clone().into_bytes(),
                connection: self.clients.fetch_add(1, Ordering::Relaxed),
                capabilities: self.agreed | Capabilities::CONNECT_WITH_DB,
                salt: salt_of(salt).to_vec(),
                collation: 45,
                status: StatusFlags::AUTOCOMMIT,
                plugin: b"mysql_native_password".to_vec(),
            },
            tls: TlsOffer::Off,
            channel: Channel::Open,
            key: None,
            host: "localhost".into(),
        };
        let (mut handshake, greeting) = ServerHandshake::new(config.clone());
        link.send(&greeting)?;
        if !self.admit(&mut link, &mut handshake, ServerStep::Wait)? {
            return Ok(());
        }
        let (agreed, channel) = (handshake.agreed(), handshake.channel());
        while let Some((seq, body)) = link.packet()? {
            match body.first().copied().and_then(Command::of) {
                Some(Command::Quit) => return Ok(()),
                Some(Command::ChangeUser) => {
                    let mut again =
                        ServerHandshake::change_user(config.clone(), agreed, channel, seq, &body)?;
                    if !self.admit(&mut link, &mut again, ServerStep::Account)? {
                        return Ok(());
                    }
                }
                Some(Command::ResetConnection) => answer(&mut link, &[&[0, 0, 0, 2, 0, 0, 0]])?,
                _ => {
                    let mut conn = match self.idle().pop_front() {
                        Some(conn) => conn,
                        None => upstream(&self.options, &self.login)?,
                    };
                    let bodies = conn.pass(&body)?;
                    self.idle().push_back(conn);
                    answer(&mut link, &bodies)?;
                }
            }
        }
        Ok(())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client was let in.
    fn admit(
        &self,
        link: &mut Link,
        handshake: &mut ServerHandshake,
        mut step: ServerStep,
    ) -> anyhow::Result<bool> {
        loop {
            step = match step {
                ServerStep::Account => {
                    let password = self.options.password.as_bytes();
                    let mut random = [0; 32];
                    fastrand::fill(&mut random);
                    let verifier = Verifier::of(Plugin::NativePassword, password)?;
                    handshake.account(verifier, random)?
                }
                ServerStep::Send(bytes) => {
                    link.send(&bytes)?;
                    ServerStep::Wait
                }
                ServerStep::Accepted(bytes, _) => {
                    link.send(&bytes)?;
                    return Ok(true);
                }
                ServerStep::Denied(bytes, _) => {
                    link.send(&bytes)?;
                    return Ok(false);
                }
                ServerStep::StartTls => anyhow::bail!("TLS was not offered"),
                ServerStep::Wait => {
                    let Some((seq, body)) = link.packet()? else { return Ok(false) };
                    handshake.on_packet(seq, &body)?
                }
            };
        }
    }
}

fn answer(link: &mut Link, bodies: &[impl AsRef<[u8]>]) -> anyhow::Result<()> {
    let (mut out, mut seq) = (BytesMut::new(), 1);
    for body in bodies {
        seq = put_packet(&mut out, seq, body.as_ref());
    }
    link.reply(&out)
}
