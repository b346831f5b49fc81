//! Headers of the PROXY protocol on either leg, in one process.

mod common;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wiremesh::Status;
use wiremesh_proxy::{
    config::{Config, Health, ListenerProxyProtocol, ProxyVersion},
    server::Handle,
    telemetry::ListenerTotals,
};
use wiremesh_toys::end_to_end::packet;

use common::{
    NAME, address, block_on,
    bolt::{BoltCaller, named, outcome, request},
    call::{CallClient, CallServer, call_config, text},
    client::Client,
    config, eventually, millis,
    proxied::{Back, Front, local, read_header, v1, v2},
    redis::{RedisClient, RedisServer, redis_config},
    secs, start,
    thread::ServerThread,
    tls::{Issuer, Tunnel},
    upstream::Upstream,
};

const CLIENT: &str = "192.0.2.1:12345";
const SERVICE: &str = "198.51.100.2:3306";

/// How long a test waits for something before it calls it lost.
const LOST: Duration = Duration::from_secs(20);

/// Whoever is on this machine is believed, and must say something.
fn trusting(mut config: Config) -> Config {
    let here = "127.0.0.0/8".parse().expect("a block");
    config.listeners[0].proxy_protocol = Some(ListenerProxyProtocol::new(vec![here]));
    config
}

/// Whoever is on this machine is believed, and may say something.
fn listening(config: Config) -> Config {
    let mut config = trusting(config);
    config.listeners[0].proxy_protocol.as_mut().expect("set").required = false;
    config
}

/// The endpoints are told for whom connections are.
fn telling(mut config: Config, version: ProxyVersion) -> Config {
    config.clusters[0].proxy_protocol = Some(version);
    config
}

fn totals(proxy: &Handle) -> ListenerTotals {
    proxy.metrics().snapshot().listener(NAME).cloned().unwrap_or_default()
}

/// What Redis says of this client's address.
async fn told(address: SocketAddr) -> String {
    let mut client = RedisClient::connect(address).await;
    let info = client.ask("CLIENT INFO").await;
    let found = info.split(' ').find_map(|field| field.strip_prefix("addr="));
    found.unwrap_or_else(|| panic!("{info}")).to_owned()
}

/// A connection on which this was said.
async fn saying(proxy: &Handle, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address(proxy)).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream.write_all(bytes).await.expect("written");
    stream
}

/// All that comes until the connection is closed, or reset.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(LOST, stream.read_to_end(&mut all)).await.expect("it is closed");
    all
}

#[test]
fn headers_of_both_versions_tell_the_client_however_they_arrive() {
    let server = RedisServer::start();
    let proxy = start(trusting(redis_config(&[server.address])));
    let six = ("[2001:db8::1]:7", "[2001:db8::2]:8");
    let mapped = ("[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.2]:8");
    // A name, and nothing.
    let fields = [2, 0, 3, b'a', b'.', b'b', 4, 0, 0];
    block_on(async {
        for (header, expected) in [
            (v1(CLIENT, SERVICE), CLIENT),
            (v2(CLIENT, SERVICE, b""), CLIENT),
            (v2(CLIENT, SERVICE, &fields), CLIENT),
            (v1(six.0, six.1), six.0),
            (v2(six.0, six.1, b""), six.0),
            (v2(mapped.0, mapped.1, b""), mapped.0),
        ] {
            for at_once in [1, 5, 1000] {
                let front = Front::before(address(&proxy), header.clone(), at_once);
                assert_eq!(told(front.address).await, expected, "{header:?}");
            }
        }
        for header in [local(), b"PROXY UNKNOWN\r\n".to_vec()] {
            let front = Front::before(address(&proxy), header, 1000);
            let real = told(front.address).await;
            assert!(real.starts_with("127.0.0.1:"), "{real}");
        }
    });
    assert_eq!(totals(&proxy).proxy_header_errors, 0);
    assert_eq!(totals(&proxy).connections_accepted, 20);
}

#[test]
fn what_comes_behind_a_header_in_one_piece_is_served() {
    let server = RedisServer::start();
    let mut config = trusting(redis_config(&[server.address]));
    // What is spoken is found out after the header.
    config.listeners[0].protocols = vec!["bolt".into(), "redis".into()];
    let proxy = start(config);
    block_on(async {
        let all = [&v2(CLIENT, SERVICE, b"")[..], b"*1\r\n$4\r\nPING\r\n"].concat();
        let mut stream = saying(&proxy, &all).await;
        stream.shutdown().await.expect("shutdown");
        assert_eq!(rest(&mut stream).await, b"+PONG\r\n");
    });
}

#[test]
fn allow_is_about_the_client_that_was_told() {
    let server = named("a");
    let mut config = trusting(config(&[server.address.parse().expect("an address")]));
    config.listeners[0].protocols = vec!["bolt".into()];
    config.listeners[0].allow = vec!["192.0.2.0/24".parse().expect("a block")];
    let proxy = start(config);
    let front = Front::before(address(&proxy), v2(CLIENT, SERVICE, b""), 1000);
    let mut caller = BoltCaller::connect(&front.address.to_string());
    assert_eq!(outcome(&mut caller, request("s", "m", &[])), "a");
    block_on(async {
        for header in [v1("203.0.113.1:1", SERVICE), local()] {
            let mut stream = saying(&proxy, &header).await;
            assert_eq!(rest(&mut stream).await, b"");
        }
        eventually("both are counted", || totals(&proxy).refused_denied == 2).await;
    });
    assert_eq!(totals(&proxy).proxy_header_errors, 0);
}

#[test]
fn a_server_that_speaks_first_waits_for_the_header() {
    let server = CallServer::start();
    let proxy = start(trusting(call_config(&[server.address])));
    block_on(async {
        let header = v1(CLIENT, SERVICE);
        let mut stream = saying(&proxy, &header[..header.len() - 1]).await;
        let front = Front::before(address(&proxy), header.clone(), 1);
        let mut client = CallClient::connect(front.address).await;
        client.check("ECHO a", "a").await;
        assert_eq!(server.seen.accepted(), 1, "nobody was connected for who is not known");
        stream.write_all(&header[header.len() - 1..]).await.expect("written");
        assert_eq!(stream.read_u8().await.expect("a greeting"), b'G');
    });
}

#[test]
fn a_header_comes_before_tls() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let server = RedisServer::start();
    let mut config = trusting(redis_config(&[server.address]));
    config.listeners[0].tls = Some(identity.listener());
    let proxy = start(config);
    block_on(async {
        for at_once in [1, 1000] {
            let front = Front::before(address(&proxy), v2(CLIENT, SERVICE, b""), at_once);
            let tunnel = Tunnel::to(front.address, issuer.client(None), "127.0.0.1");
            assert_eq!(told(tunnel.address).await, CLIENT);
        }
    });
    assert_eq!(totals(&proxy).tls_handshakes, 2);
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let server = RedisServer::start();
    let proxy = start(trusting(redis_config(&[server.address])));
    let wrong_sum = v2(CLIENT, SERVICE, &[3, 0, 4, 1, 2, 3, 4]);
    let long = [&local()[..14], &[0xff, 0xff]].concat();
    let bad = [
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"\x16\x03\x01".to_vec(),
        b"PROXY TCP4 there here 1 2\r\n".to_vec(),
        [b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(),
        wrong_sum,
        long,
    ];
    block_on(async {
        for (count, bytes) in (1..).zip(&bad) {
            let mut stream = saying(&proxy, bytes).await;
            assert_eq!(rest(&mut stream).await, b"", "{bytes:?}");
            eventually("it is counted", || totals(&proxy).proxy_header_errors == count).await;
        }
        let mut half = saying(&proxy, b"PROXY TCP4").await;
        half.shutdown().await.expect("shutdown");
        assert_eq!(rest(&mut half).await, b"");
        // Who looks whether somebody is there does nothing wrong.
        let mut looking = saying(&proxy, b"").await;
        looking.shutdown().await.expect("shutdown");
        assert_eq!(rest(&mut looking).await, b"");
        eventually("all are closed", || totals(&proxy).connections_active() == 0).await;
    });
    assert_eq!(totals(&proxy).proxy_header_errors, bad.len() as u64 + 1);
    assert_eq!(totals(&proxy).connections_accepted, bad.len() as u64 + 2);
}

#[test]
fn a_header_that_does_not_come_is_waited_for_so_long() {
    let server = CallServer::start();
    let mut config = trusting(call_config(&[server.address]));
    config.listeners[0].frame_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        for said in [&b""[..], b"PROXY TCP4 192"] {
            assert_eq!(rest(&mut saying(&proxy, said).await).await, b"");
        }
    });
    assert_eq!(totals(&proxy).frame_timeouts, 2);
    assert_eq!(server.seen.accepted(), 0);
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    let server = RedisServer::start();
    let elsewhere = || vec!["10.0.0.0/8".parse().expect("a block")];
    let mut required = trusting(redis_config(&[server.address]));
    required.listeners[0].proxy_protocol.as_mut().expect("set").trusted = elsewhere();
    let mut optional = required.clone();
    optional.listeners[0].proxy_protocol.as_mut().expect("set").required = false;
    let (required, optional) = (start(required), start(optional));
    block_on(async {
        assert_eq!(rest(&mut saying(&required, b"").await).await, b"");
        assert_eq!(totals(&required).refused_untrusted, 1);
        assert_eq!(totals(&required).connections_accepted, 0);
        assert!(told(address(&optional)).await.starts_with("127.0.0.1:"));
        let all = [&v1(CLIENT, SERVICE)[..], b"*1\r\n$4\r\nPING\r\n"].concat();
        let answer = rest(&mut saying(&optional, &[&all[..], b"QUIT\r\n"].concat()).await).await;
        assert!(!answer.is_empty(), "it is a command of Redis' like any other");
        assert!(answer.starts_with(b"-"), "{}", String::from_utf8_lossy(&answer));
    });
}

#[test]
fn where_a_header_may_come_it_need_not() {
    let server = RedisServer::start();
    let config = listening(redis_config(&[server.address]));
    let mut impatient = config.clone();
    impatient.listeners[0].idle_timeout = millis(200);
    let (proxy, impatient) = (start(config), start(impatient));
    let front = Front::before(address(&proxy), v1(CLIENT, SERVICE), 1);
    block_on(async {
        assert_eq!(told(front.address).await, CLIENT);
        assert!(told(address(&proxy)).await.starts_with("127.0.0.1:"));
        // What could have become one.
        let mut stream = saying(&proxy, b"P").await;
        stream.write_all(b"ING\r\nQUIT\r\n").await.expect("written");
        assert_eq!(rest(&mut stream).await, b"+PONG\r\n+OK\r\n");
        assert_eq!(rest(&mut saying(&impatient, b"").await).await, b"");
        assert_eq!(totals(&impatient).idle_timeouts, 1);
    });
}

/// Says, as its greeting, what its connections begin with, after a while that is another for each.
struct Parrot {
    address: SocketAddr,
    _thread: ServerThread,
}

impl Parrot {
    fn start() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let thread = ServerThread::start(any, |listener: TcpListener| async move {
            for number in 0_u64.. {
                let (mut stream, _) = listener.accept().await.expect("accept");
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_millis(number * 7 % 23)).await;
                    let header = read_header(&mut stream).await.unwrap_or_default();
                    let greeting = packet(b'G', Status::Ok, &header);
                    let _ = stream.write_all(&greeting.bytes).await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        Self { address: thread.address, _thread: thread }
    }
}

#[test]
fn servers_are_told_the_address_of_the_client_that_they_serve() {
    let server = Parrot::start();
    let mut config = telling(trusting(call_config(&[server.address])), ProxyVersion::V1);
    // Some wait for their turn.
    config.clusters[0].max_connections = 20;
    config.clusters[0].connect_timeout = secs(10);
    let proxy = start(config);
    block_on(async {
        let clients: Vec<_> = (1..=100)
            .map(|port: u16| {
                let source = format!("192.0.2.{port}:{port}");
                let header = v1(&source, SERVICE);
                let proxy = address(&proxy);
                tokio::task::spawn_local(async move {
                    let mut client = CallClient::open(proxy).await;
                    client.send_bytes(&header).await;
                    if port.is_multiple_of(5) {
                        // It does not wait for an answer.
                        return client.abort();
                    }
                    let greeting = client.read().await.expect("a greeting");
                    assert_eq!(text(&greeting), String::from_utf8_lossy(&header));
                })
            })
            .collect();
        for client in clients {
            client.await.expect("it was greeted by its own name");
        }
    });
}

#[test]
fn servers_are_told_the_clients_own_address() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let server = CallServer::start();
        let back = Back::before(server.address);
        let proxy = start(telling(call_config(&[back.address]), version));
        block_on(async {
            let mut stream = saying(&proxy, b"").await;
            assert_eq!(stream.read_u8().await.expect("a greeting"), b'G');
            let source = stream.local_addr().expect("connected").to_string();
            let destination = address(&proxy).to_string();
            let expected = match version {
                ProxyVersion::V1 => v1(&source, &destination),
                ProxyVersion::V2 => v2(&source, &destination, b""),
            };
            assert_eq!(back.headers(), [expected]);
        });
    }
}

#[test]
fn servers_are_told_before_tls() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let server = CallServer::start();
    let tunnel = Tunnel::before(server.address, identity.server());
    let back = Back::before(tunnel.address);
    let mut config = telling(trusting(call_config(&[back.address])), ProxyVersion::V2);
    config.clusters[0].tls = Some(issuer.trusted());
    config.clusters[0].connect_timeout = secs(10);
    let proxy = start(config);
    let header = v2(CLIENT, SERVICE, b"");
    let front = Front::before(address(&proxy), header.clone(), 1000);
    block_on(async {
        let mut client = CallClient::connect(front.address).await;
        client.check("ECHO a", "a").await;
    });
    assert_eq!(back.headers(), [header]);
}

#[test]
fn a_client_is_told_when_its_connection_fails_after_it_was_introduced() {
    // Nobody answers the TLS handshake there.
    let server = CallServer::start();
    let back = Back::before(server.address);
    let issuer = Issuer::new("a");
    let mut config = telling(call_config(&[back.address]), ProxyVersion::V2);
    config.clusters[0].tls = Some(issuer.trusted());
    config.clusters[0].connect_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        for _ in 0..2 {
            let mut client = CallClient::open(address(&proxy)).await;
            client.bye("wiremesh UF").await;
        }
        eventually("nothing is left", || totals(&proxy).connections_active() == 0).await;
        eventually("both have failed", || {
            let snapshot = proxy.metrics().snapshot();
            snapshot.endpoints().iter().map(|it| it.connect_failures).sum::<u64>() == 2
        })
        .await;
    });
}

#[test]
fn connections_that_are_shared_are_nobodys() {
    let server = RedisServer::start();
    let back = Back::before(server.address);
    let mut config = telling(trusting(redis_config(&[back.address])), ProxyVersion::V2);
    config.clusters[0].health = Some(Health { interval: millis(50), ..Health::default() });
    let proxy = start(config);
    let front = Front::before(address(&proxy), v1(CLIENT, SERVICE), 1000);
    block_on(async {
        let mut client = RedisClient::connect(front.address).await;
        assert_eq!(client.ask("SET k v").await, "+OK");
        // One that a client has to itself for a while goes to others after it.
        assert_eq!(client.ask_all(&["MULTI", "GET k", "EXEC"]).await.len(), 3);
        eventually("the server is probed, too", || back.headers().len() >= 4).await;
    });
    assert!(back.headers().iter().all(|header| *header == local()), "{:?}", back.headers());
}

#[test]
fn a_dedicated_connection_is_its_clients() {
    let upstream = Upstream::start();
    let back = Back::before(upstream.address);
    let mut shared = telling(trusting(config(&[back.address])), ProxyVersion::V1);
    shared.workers = Some(1);
    let mut dedicated = shared.clone();
    dedicated.clusters[0].dedicated = true;
    let (shared, dedicated) = (start(shared), start(dedicated));
    let header = v1(CLIENT, SERVICE);
    block_on(async {
        for (proxy, told) in
            [(&shared, b"PROXY UNKNOWN\r\n".to_vec()), (&dedicated, header.clone())]
        {
            let front = Front::before(address(proxy), header.clone(), 1000);
            let client = Client::connect(front.address).await.expect("connected");
            client.check("echo", "a").await;
            assert_eq!(back.headers().last(), Some(&told));
        }
    });
}
