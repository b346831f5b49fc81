//! TLS that begins within MySQL's handshake, on either leg, in one process.

mod common;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wiremesh_proxy::{
    config::{ClusterTls, Config, ListenerTls},
    server::Handle,
    telemetry::ListenerTotals,
};

use common::{
    NAME, address, block_on, config, eventually, millis, start, thread::ServerThread, tls::Issuer,
};

/// Where the flag of TLS is in a login's body, and which it is.
const SSL: (usize, u8) = (1, 0x08);

/// Where it is in a greeting, behind the version.
const OFFER: usize = 15;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn send(stream: &mut impl Stream, seq: u8, body: &[u8]) {
    let mut packet = body.len().to_le_bytes()[..3].to_vec();
    packet.push(seq);
    packet.extend(body);
    let _ = stream.write_all(&packet).await;
    let _ = stream.flush().await;
}

/// The next packet; `None`: the connection was closed.
async fn receive(stream: &mut impl Stream) -> Option<(u8, Vec<u8>)> {
    let read = async {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.ok()?;
        let len = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut body = vec![0; len as usize];
        stream.read_exact(&mut body).await.ok()?;
        Some((head[3], body))
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("a packet is lost")
}

fn login(ssl: bool, secret: &str) -> Vec<u8> {
    let flags = if ssl { 0x8a } else { 0x82 };
    let mut body = vec![0x01, flags, 0x08, 0, 0, 0, 0, 1, 45];
    body.extend([0; 23]);
    body.extend(b"joe\0");
    body.push(u8::try_from(secret.len()).expect("it is short"));
    body.extend(secret.as_bytes());
    body.extend(b"mysql_native_password\0");
    body
}

/// A server that takes anybody, and answers each command by what it was.
struct Server {
    address: SocketAddr,
    /// Of each login: whether it came by TLS, and its number.
    seen: Arc<Mutex<Vec<(bool, u8)>>>,
    _thread: ServerThread,
}

impl Server {
    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let any = "127.0.0.1:0".parse().expect("an address");
        let thread = ServerThread::start(any, {
            let seen = seen.clone();
            move |listener: TcpListener| async move {
                loop {
                    let (stream, _) = listener.accept().await.expect("accept");
                    stream.set_nodelay(true).expect("nodelay");
                    tokio::task::spawn_local(greet(stream, tls.clone(), seen.clone()));
                }
            }
        });
        Self { address: thread.address, seen, _thread: thread }
    }

    fn seen(&self) -> Vec<(bool, u8)> {
        std::mem::take(&mut self.seen.lock().expect("not poisoned"))
    }
}

type Seen = Arc<Mutex<Vec<(bool, u8)>>>;

async fn greet(mut stream: TcpStream, tls: Option<Arc<ServerConfig>>, seen: Seen) {
    let mut body = b"\x0a8.0.33\0\x07\0\0\0saltsalt\0".to_vec();
    let flags = if tls.is_some() { 0x8a } else { 0x82 };
    body.extend([0x01, flags, 45, 2, 0, 0x08, 0, 21]);
    body.extend([0; 10]);
    body.extend(b"moresaltmore\0mysql_native_password\0");
    send(&mut stream, 0, &body).await;
    let Some((seq, body)) = receive(&mut stream).await else { return };
    match tls {
        Some(tls) if body.len() == 32 => {
            assert_eq!(seq, 1);
            let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
            if let Some((seq, body)) = receive(&mut stream).await {
                serve(stream, (true, seq), &body, &seen).await;
            }
        }
        _ => serve(stream, (false, seq), &body, &seen).await,
    }
}

async fn serve(mut stream: impl Stream, (tls, seq): (bool, u8), login: &[u8], seen: &Seen) {
    assert_eq!(login[SSL.0] & SSL.1 != 0, tls, "its flag says how it comes");
    seen.lock().expect("not poisoned").push((tls, seq));
    send(&mut stream, seq + 1, &[0, 0, 0, 2, 0, 0, 0]).await;
    while let Some((seq, command)) = receive(&mut stream).await {
        let mut answer = vec![0, 0, 0, 2, 0, 0, 0];
        answer.extend(&command[1..]);
        send(&mut stream, seq + 1, &answer).await;
    }
}

/// What the client is told: the greeting's offer and the answer to its login, with its number; then it asks something.
async fn converse(
    proxy: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
) -> (bool, Option<(u8, Vec<u8>)>) {
    match enter(proxy, tls, "pwd").await {
        Ok((offered, stream)) => (offered, ask(stream).await),
        Err(error) => (false, Some((0, error))),
    }
}

/// Whether TLS is offered, and the connection with the login sent; or the error in the place of a greeting.
async fn enter(
    proxy: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    secret: &str,
) -> Result<(bool, Box<dyn Stream>), Vec<u8>> {
    let stream = TcpStream::connect(proxy).await.expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    let mut stream = BufStream::new(stream);
    let (seq, greeting) = receive(&mut stream).await.expect("a greeting");
    assert_eq!(seq, 0);
    if greeting[0] == 0xff {
        return Err(greeting);
    }
    // The version's length differs.
    let version = greeting.iter().position(|byte| *byte == 0).expect("its end");
    let offered = greeting[version + OFFER] & SSL.1 != 0;
    let Some(tls) = tls else {
        send(&mut stream, 1, &login(false, secret)).await;
        return Ok((offered, Box::new(stream)));
    };
    // Not flushed: the beginning of TLS comes with it.
    stream.write_all(&[32, 0, 0, 1]).await.expect("buffered");
    stream.write_all(&login(true, secret)[..32]).await.expect("buffered");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let mut stream = TlsConnector::from(tls).connect(name, stream).await.expect("TLS");
    send(&mut stream, 2, &login(true, secret)).await;
    Ok((offered, Box::new(stream)))
}

/// The answer to the login; where it is an OK, commands are answered, too.
async fn ask(mut stream: impl Stream) -> Option<(u8, Vec<u8>)> {
    let answer = receive(&mut stream).await?;
    if answer.1[0] == 0 {
        for len in [1, 100_000] {
            let command = vec![3; len];
            send(&mut stream, 0, &command).await;
            let (seq, said) = receive(&mut stream).await.expect("an answer");
            assert_eq!((seq, &said[7..]), (1, &command[1..]));
        }
    }
    Some(answer)
}

fn mysql(server: &Server, listener: Option<ListenerTls>, cluster: Option<ClusterTls>) -> Config {
    let mut config = config(&[server.address]);
    config.listeners[0].protocols = vec!["mysql".into()];
    config.listeners[0].tls = listener;
    config.clusters[0].tls = cluster;
    config
}

fn listener(proxy: &Handle) -> ListenerTotals {
    proxy.metrics().snapshot().listener(NAME).cloned().unwrap_or_default()
}

#[test]
fn either_leg_has_tls_or_not_whatever_the_other_has() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let server = Server::start(Some(identity.server()));
    let ok = |seq| Some((seq, vec![0, 0, 0, 2, 0, 0, 0]));
    let open = ListenerTls { required: false, ..identity.listener() };
    for to_server in [false, true] {
        let cluster = to_server.then(|| issuer.trusted());
        let proxy = start(mysql(&server, Some(open.clone()), cluster.clone()));
        let seq = 1 + u8::from(to_server);
        block_on(async {
            for _ in 0..3 {
                let said = converse(address(&proxy), Some(issuer.client(None))).await;
                assert_eq!((said, server.seen()), ((true, ok(3)), vec![(to_server, seq)]));
                let said = converse(address(&proxy), None).await;
                assert_eq!((said, server.seen()), ((true, ok(2)), vec![(to_server, seq)]));
            }
        });
        assert_eq!((listener(&proxy).tls_handshakes, listener(&proxy).tls_failures), (3, 0));
        let proxy = start(mysql(&server, None, cluster));
        block_on(async {
            // Without a certificate of the proxy's, what the server offers is between the two.
            let said = converse(address(&proxy), None).await;
            assert_eq!((said, server.seen()), ((!to_server, ok(2)), vec![(to_server, seq)]));
            if !to_server {
                let said = converse(address(&proxy), Some(issuer.client(None))).await;
                assert_eq!((said, server.seen()), ((true, ok(3)), vec![(true, 2)]));
            }
        });
    }
}

#[test]
fn who_must_come_by_tls_and_does_not_is_told_so() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let server = Server::start(None);
    let proxy = start(mysql(&server, Some(identity.listener()), None));
    block_on(async {
        let (offered, answer) = converse(address(&proxy), None).await;
        let (seq, error) = answer.expect("an answer");
        assert!(offered && seq == 2 && error[0] == 0xff);
        let said = String::from_utf8_lossy(&error).into_owned();
        assert!(said.contains("TLS is required"), "{said}");
        // ER_SECURE_TRANSPORT_REQUIRED, as in pooled mode.
        assert_eq!(&error[1..9], b"\x57\x0c#HY000");
        let (_, answer) = converse(address(&proxy), Some(issuer.client(None))).await;
        assert_eq!(answer.expect("an answer").0, 3);
    });
    assert_eq!(server.seen(), [(false, 1)]);
}

/// The answers to the login and, if it is an OK, to a statement: their numbers, and the number of an error.
async fn pooled_session(
    proxy: &Handle,
    tls: Option<Arc<ClientConfig>>,
) -> (bool, Vec<(u8, Option<u16>)>) {
    let (offered, mut stream) = enter(address(proxy), tls, "").await.expect("a greeting");
    let mut answers = Vec::new();
    loop {
        let (seq, body) = receive(&mut stream).await.expect("an answer");
        let error = (body[0] == 0xff).then(|| u16::from_le_bytes([body[1], body[2]]));
        answers.push((seq, error));
        if error.is_some() || answers.len() == 2 {
            return (offered, answers);
        }
        send(&mut stream, 0, b"\x03delete from a").await;
    }
}

#[test]
fn in_pooled_mode_either_leg_has_tls_or_not() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let server = Server::start(Some(identity.server()));
    let open = ListenerTls { required: false, ..identity.listener() };
    for (listener, required) in
        [(None, false), (Some(open), false), (Some(identity.listener()), true)]
    {
        for to_server in [false, true] {
            let cluster = to_server.then(|| issuer.trusted());
            let mut config = mysql(&server, listener.clone(), cluster);
            let mode = [("mode".to_owned(), "pooled".to_owned())];
            config.listeners[0].options.insert("mysql".into(), mode.into());
            let user = "{ name: joe, password: '', plugin: mysql_native_password }";
            config.listeners[0].users = vec![serde_saphyr::from_str(user).expect("a user")];
            let proxy = start(config);
            let has = listener.is_some();
            // The server tells nothing of sessions: each client has a connection of its own.
            let login = vec![(to_server, 1 + u8::from(to_server))];
            block_on(async {
                let said = pooled_session(&proxy, None).await;
                let (answers, logins) = match required {
                    true => (vec![(2, Some(3159))], vec![]),
                    false => (vec![(2, None), (1, None)], login.clone()),
                };
                assert_eq!((said, server.seen()), ((has, answers), logins), "{has} {to_server}");
                if has {
                    let said = pooled_session(&proxy, Some(issuer.client(None))).await;
                    let answers = vec![(3, None), (1, None)];
                    assert_eq!((said, server.seen()), ((true, answers), login), "{to_server}");
                }
            });
        }
    }
}

#[test]
fn servers_that_are_not_who_they_should_be_get_no_login() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("b"));
    let server = Server::start(Some(issuer.issue(&["127.0.0.1"]).server()));
    let proxy = start(mysql(&server, None, Some(stranger.trusted())));
    let without = Server::start(None);
    let open = start(mysql(&without, None, Some(issuer.trusted())));
    block_on(async {
        let (_, answer) = converse(address(&proxy), None).await;
        let (seq, error) = answer.expect("an answer");
        let said = String::from_utf8_lossy(&error).into_owned();
        assert!((seq, error[0]) == (2, 0xff) && said.contains("UnknownIssuer"), "{seq} {said}");
        let (_, answer) = converse(address(&open), None).await;
        let (seq, error) = answer.expect("an answer");
        let said = String::from_utf8_lossy(&error).into_owned();
        assert!((seq, error[0]) == (0, 0xff) && said.contains("no TLS"), "{seq} {said}");
    });
    assert_eq!((server.seen(), without.seen()), (vec![], vec![]));
    let failures = |proxy: &Handle| {
        proxy.metrics().snapshot().endpoints().iter().map(|it| it.tls_failures).sum::<u64>()
    };
    assert_eq!(failures(&proxy), 1);
}

#[test]
fn a_handshake_that_fails_or_takes_too_long_ends_the_session() {
    let issuer = Issuer::new("a");
    let server = Server::start(None);
    let mut config = mysql(&server, Some(issuer.issue(&["127.0.0.1"]).listener()), None);
    config.listeners[0].frame_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        for behind in [&b""[..], b"\x16\x03\x01", b"select 1, says who speaks no TLS"] {
            let mut stream = TcpStream::connect(address(&proxy)).await.expect("connected");
            receive(&mut stream).await.expect("a greeting");
            send(&mut stream, 1, &login(true, "pwd")[..32]).await;
            stream.write_all(behind).await.expect("sent");
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest);
            let end = tokio::time::timeout(Duration::from_secs(20), end).await;
            assert!(end.is_ok(), "it is closed");
        }
        eventually("all is counted and over", || {
            let seen = listener(&proxy);
            (seen.tls_failures, seen.frame_timeouts, seen.connections_active()) == (3, 2, 0)
        })
        .await;
    });
    assert_eq!(server.seen(), []);
}
