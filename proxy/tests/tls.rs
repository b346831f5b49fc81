//! TLS on either leg, in one process.

mod common;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wiremesh::Status;
use wiremesh_proxy::{
    config::{self, ClientCertificate, ClusterTls, Config, ListenerTls},
    server::Handle,
    telemetry::ListenerTotals,
};

use common::{
    NAME, address, block_on,
    call::{CallClient, CallServer, call_config},
    client::Client,
    config,
    desk::{DeskClient, DeskServer, desk_config},
    eventually,
    kv::{KvClient, KvServer, kv_config},
    millis, registry, secs, start,
    tls::{Issuer, Tunnel, connect},
    upstream::Upstream,
};

/// The configuration with TLS on these legs.
fn with(mut config: Config, listener: Option<ListenerTls>, cluster: Option<ClusterTls>) -> Config {
    config.listeners[0].tls = listener;
    config.clusters[0].tls = cluster;
    config
}

fn listener(proxy: &Handle) -> ListenerTotals {
    proxy.metrics().snapshot().listener(NAME).cloned().unwrap_or_default()
}

/// How many connections failed of TLS on the upstream's leg.
fn refused(proxy: &Handle) -> u64 {
    proxy.metrics().snapshot().endpoints().iter().map(|it| it.tls_failures).sum()
}

#[test]
fn many_clients_are_served_over_tls_on_both_legs() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let upstream = Upstream::start();
    let front = Tunnel::before(upstream.address, identity.server());
    let config = config(&[front.address]);
    let proxy = start(with(config, Some(identity.listener()), Some(issuer.trusted())));
    let tunnel = Tunnel::to(address(&proxy), issuer.client(None), "127.0.0.1");
    block_on(async {
        let clients: Vec<_> = (0..20)
            .map(|number| {
                tokio::task::spawn_local(async move {
                    let client = Client::connect(tunnel.address).await.expect("connected");
                    for turn in 0..50 {
                        client.check("echo", &format!("{number}/{turn}")).await;
                    }
                    assert_eq!(client.strays(), 0);
                })
            })
            .collect();
        for client in clients {
            client.await.expect("it was answered");
        }
    });
    assert_eq!((listener(&proxy).tls_handshakes, listener(&proxy).tls_failures), (20, 0));
    assert_eq!(upstream.requests(), 1000);
}

#[test]
fn replies_larger_than_all_buffers_come_whole_to_slow_readers() {
    const LEN: usize = 6 << 20;
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let upstream = Upstream::start();
    let front = Tunnel::before(upstream.address, identity.server());
    let mut config = config(&[front.address]);
    config.listeners[0].routes[0].timeout = None;
    let proxy = start(with(config, Some(identity.listener()), Some(issuer.trusted())));
    let tunnel = Tunnel::to(address(&proxy), issuer.client(None), "127.0.0.1");
    block_on(async {
        let client = Client::connect(tunnel.address).await.expect("connected");
        // As much in one direction as in the other.
        let sent: Vec<u8> = (0..LEN).map(|i| (i / 7) as u8).collect();
        let echo = client.call("echo", &sent);
        let method = format!("big:{LEN}");
        let filled = client.call(&method, b"seven");
        let (echo, filled) = tokio::join!(echo, filled);
        assert!(echo.expect("answered").payload == sent, "every byte comes back");
        let filled = filled.expect("answered").payload;
        assert_eq!(filled.len(), LEN);
        assert!(filled.starts_with(b"seven..") && filled.ends_with(b".."));
    });
}

#[test]
fn sessions_and_pipelines_are_served_over_tls() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let (desk, kv) = (DeskServer::start("sesame"), KvServer::start());
    let front = Tunnel::before(desk.address, identity.server());
    let mut sessions = desk_config(&[front.address]);
    let password = [("password".to_owned(), "sesame".to_owned())];
    sessions.listeners[0].options.insert("desk".into(), password.into());
    let sessions = start(with(sessions, Some(identity.listener()), Some(issuer.trusted())));
    let front = Tunnel::before(kv.address, identity.server());
    let pipelines = kv_config(&[front.address]);
    let pipelines = start(with(pipelines, Some(identity.listener()), Some(issuer.trusted())));
    block_on(async {
        let tunnel = Tunnel::to(address(&sessions), issuer.client(None), "127.0.0.1");
        let (mut client, status) = DeskClient::log_in(tunnel.address, "sesame").await;
        assert_eq!(status, Status::Ok);
        client.check("BEGIN", "").await;
        client.check("SET k v", "").await;
        client.check("GET k", "v").await;
        assert_eq!(client.ask("ROWS 3000").await.expect("connected").rows, 3000);

        let tunnel = Tunnel::to(address(&pipelines), issuer.client(None), "127.0.0.1");
        let mut client = KvClient::connect(tunnel.address).await;
        let asked: Vec<_> = (0..100).map(|n| format!("GET k{n}")).collect();
        client.send(&asked).await;
        // Whoever sends nothing more still gets all answers.
        client.finish().await;
        for n in 0..100 {
            assert!(client.line().await.expect("an answer").ends_with(&n.to_string()));
        }
        assert_eq!(client.line().await, None);
    });
}

#[test]
fn sessions_end_to_end_are_served_over_tls() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let server = CallServer::start();
    let front = Tunnel::before(server.address, identity.server());
    let config = call_config(&[front.address]);
    let proxy = start(with(config, Some(identity.listener()), Some(issuer.trusted())));
    let tunnel = Tunnel::to(address(&proxy), issuer.client(None), "127.0.0.1");
    block_on(async {
        let mut client = CallClient::connect(tunnel.address).await;
        client.check("ECHO on", "on").await;
        assert_eq!(client.ask("BIG 20").await.expect("connected").rows, 20);
        let long = format!("LEN {}", "x".repeat(10_000_000));
        client.check(&long, "10000000").await;
        client.send(b'T', "").await;
        client.send_bytes(b"the last word").await;
        client.finish().await;
        assert_eq!(client.rest().await, b"the last wordover");
        eventually("all are closed", || server.seen.open() == 0).await;
    });
}

#[test]
fn detection_is_by_what_is_said_under_tls() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let upstream = Upstream::start();
    let mut config = with(config(&[upstream.address]), Some(identity.listener()), None);
    config.listeners[0].protocols = vec!["bolt".into(), "mx".into()];
    let proxy = start(config);
    let tunnel = Tunnel::to(address(&proxy), issuer.client(None), "127.0.0.1");
    block_on(async {
        let client = Client::connect(tunnel.address).await.expect("connected");
        client.check("echo", "found").await;
    });
    assert_eq!(listener(&proxy).undetected, 0);
}

/// Says a byte over TLS, and tells how the connection ended: by EOF, or by which error.
async fn ending(
    proxy: &Handle,
    client: std::sync::Arc<rustls::ClientConfig>,
) -> Result<usize, String> {
    let mut stream =
        connect(address(proxy), client, "127.0.0.1").await.map_err(|e| e.to_string())?;
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut byte)).await;
    read.expect("an end").map_err(|e| e.to_string())
}

#[test]
fn clients_without_the_right_certificate_are_refused_and_told_why() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("b"));
    let identity = issuer.issue(&["127.0.0.1"]);
    let (member, imposter) = (issuer.issue(&["member"]), stranger.issue(&["member"]));
    let late = issuer.issue_expired(&["late"]);
    let upstream = Upstream::start();
    let required = ListenerTls { client_ca: Some(issuer.file()), ..identity.listener() };
    let optional =
        ListenerTls { client_certificate: ClientCertificate::Optional, ..required.clone() };
    let start = |tls| start(with(config(&[upstream.address]), Some(tls), None));
    let (required, optional) = (start(required), start(optional));
    block_on(async {
        for (proxy, shown) in
            [(&required, Some(&member)), (&optional, Some(&member)), (&optional, None)]
        {
            let tunnel = Tunnel::to(address(proxy), issuer.client(shown), "127.0.0.1");
            let client = Client::connect(tunnel.address).await.expect("connected");
            client.check("echo", "served").await;
        }
        let told = [
            (&required, None, "CertificateRequired"),
            (&required, Some(&imposter), "UnknownCA"),
            (&required, Some(&late), "CertificateExpired"),
            (&optional, Some(&imposter), "UnknownCA"),
        ];
        for (proxy, shown, why) in told {
            let ended = ending(proxy, issuer.client(shown)).await;
            assert!(ended.as_ref().is_err_and(|e| e.contains(why)), "{ended:?}, not {why}");
        }
        eventually("all is counted", || {
            (listener(&required).tls_failures, listener(&optional).tls_failures) == (3, 1)
                && listener(&required).connections_active() <= 1
        })
        .await;
    });
    assert_eq!((listener(&required).tls_handshakes, listener(&optional).tls_handshakes), (1, 2));
}

#[test]
fn clients_that_speak_no_tls_or_nothing_are_closed() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let upstream = Upstream::start();
    let mut config = with(config(&[upstream.address]), Some(identity.listener()), None);
    config.listeners[0].frame_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        // Comes and goes, as balancers do to see whether somebody is there.
        drop(TcpStream::connect(address(&proxy)).await.expect("connected"));
        eventually("it is gone", || listener(&proxy).connections_closed == 1).await;
        assert_eq!(listener(&proxy).tls_failures, 0);
        for said in ["", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01"] {
            let mut stream = TcpStream::connect(address(&proxy)).await.expect("connected");
            stream.write_all(said.as_bytes()).await.expect("written");
            let mut answer = Vec::new();
            let end = stream.read_to_end(&mut answer);
            let end = tokio::time::timeout(Duration::from_secs(20), end).await;
            end.expect("it is closed").expect("and not reset");
        }
        eventually("all is counted", || listener(&proxy).tls_failures == 3).await;
        assert_eq!(listener(&proxy).frame_timeouts, 2, "nothing, and half a message");
    });
    assert_eq!(upstream.requests(), 0);
}

/// What a request is answered whose cluster has this TLS.
async fn asked(front: SocketAddr, tls: ClusterTls) -> (String, u64) {
    let mut config = with(config(&[front]), None, Some(tls));
    // Who is no server of TLS may take its time to leave.
    config.clusters[0].connect_timeout = secs(10);
    let proxy = start(config);
    let client = Client::connect(address(&proxy)).await.expect("connected");
    let reply = client.call("echo", b"fine").await.expect("answered");
    (reply.text(), refused(&proxy))
}

#[test]
fn upstreams_that_are_not_who_they_should_be_are_refused_and_it_is_said_why() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("b"));
    let upstream = Upstream::start();
    let right = Tunnel::before(upstream.address, issuer.issue(&["127.0.0.1"]).server());
    let named = Tunnel::before(upstream.address, issuer.issue(&["db.example"]).server());
    let late = Tunnel::before(upstream.address, issuer.issue_expired(&["127.0.0.1"]).server());
    let trusted = issuer.trusted();
    let named_so = ClusterTls { server_name: Some("db.example".into()), ..issuer.trusted() };
    let unverified = ClusterTls { verify: false, ..ClusterTls::default() };
    block_on(async {
        for (front, tls) in
            [(&right, &trusted), (&named, &named_so), (&named, &unverified), (&late, &unverified)]
        {
            assert_eq!(asked(front.address, tls.clone()).await, ("fine".to_owned(), 0));
        }
        for (front, tls, why) in [
            (right.address, stranger.trusted(), "UnknownIssuer; if it is the right one"),
            (named.address, trusted.clone(), "tls.server_name says which name is expected"),
            (late.address, trusted.clone(), "certificate expired"),
            (upstream.address, trusted, "TLS"),
        ] {
            let (said, failures) = asked(front, tls).await;
            assert!(said.contains("wiremesh UF") && said.contains(why), "{said}, not {why}");
            assert!(failures > 0, "{said}");
        }
    });
}

#[test]
fn upstreams_see_the_clusters_certificate_and_endpoints_go_by_their_configured_names() {
    let issuer = Issuer::new("a");
    let upstream = Upstream::start();
    let member = issuer.issue(&["member"]);
    let server = issuer.issue(&["localhost"]);
    // Another proxy, which wants to know who comes.
    let inner = ListenerTls { client_ca: Some(issuer.file()), ..server.listener() };
    let inner = start(with(config(&[upstream.address]), Some(inner), None));
    let port = address(&inner).port();
    let mut outer = config(&[address(&inner)]);
    let by_name = config::Address::Tcp { host: "localhost".into(), port };
    outer.clusters[0].endpoints = vec![by_name.into()];
    let tls = ClusterTls {
        certificate: Some(member.certificate),
        key: Some(member.key),
        ..issuer.trusted()
    };
    let known = start(with(outer.clone(), None, Some(tls)));
    let unknown = start(with(outer, None, Some(issuer.trusted())));
    block_on(async {
        let client = Client::connect(address(&known)).await.expect("connected");
        client.check("echo", "known").await;
        let client = Client::connect(address(&unknown)).await.expect("connected");
        let reply = client.call("echo", b"").await.expect("answered");
        assert_eq!(reply.status, Status::Unavailable, "{}", reply.text());
    });
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn health_checks_speak_the_clusters_tls() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("b"));
    let upstream = Upstream::start();
    let front = Tunnel::before(upstream.address, issuer.issue(&["127.0.0.1"]).server());
    let checked = |tls| {
        let mut config = with(config(&[front.address]), None, Some(tls));
        let every = config::Health {
            interval: millis(20),
            timeout: millis(20),
            ..config::Health::default()
        };
        config.clusters[0].health = Some(every);
        start(config)
    };
    let heartbeats = || upstream.seen.heartbeats.load(std::sync::atomic::Ordering::Relaxed);
    block_on(async {
        let _proxy = checked(issuer.trusted());
        eventually("heartbeats come through", || heartbeats() > 3).await;
        let proxy = checked(stranger.trusted());
        let client = Client::connect(address(&proxy)).await.expect("connected");
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !client.call("echo", b"").await.expect("answered").text().contains("wiremesh UH") {
            assert!(std::time::Instant::now() < end, "it is never unhealthy");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_reload_swaps_certificates_and_bad_files_change_nothing() {
    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    let upstream = Upstream::start();
    let config = with(config(&[upstream.address]), Some(identity.listener()), None);
    let proxy = start(config.clone());
    let tunnel = Tunnel::to(address(&proxy), issuer.client(None), "127.0.0.1");
    let shown = async || {
        let stream = connect(address(&proxy), issuer.client(None), "127.0.0.1").await;
        let stream = stream.expect("trusted");
        stream.get_ref().1.peer_certificates().expect("one")[0].clone().into_owned()
    };
    block_on(async {
        let client = Client::connect(tunnel.address).await.expect("connected");
        client.check("echo", "before").await;
        let old = identity.chain()[0].clone();
        assert_eq!(shown().await, old);
        // The same files with another certificate.
        let new = issuer.issue(&["127.0.0.1"]).chain()[0].clone();
        assert_ne!(old, new);
        assert_eq!(shown().await, old, "not before the reload");
        proxy.reload(config.clone()).expect("the files are fine");
        assert_eq!(shown().await, new);
        client.check("echo", "after").await;
        // A key that is another's.
        let good = std::fs::read(&identity.key).expect("read");
        std::fs::copy(issuer.issue(&["other"]).key, &identity.key).expect("copied");
        let refused = proxy.reload(config.clone()).expect_err("they do not match").to_string();
        assert!(
            refused.contains("listener t: tls.key: ") && refused.contains("does not belong to")
        );
        std::fs::write(&identity.key, "nonsense").expect("written");
        let refused = proxy.reload(config.clone()).expect_err("no key").to_string();
        assert!(refused.contains("has no private key"), "{refused}");
        std::fs::remove_file(&identity.certificate).expect("removed");
        let refused = proxy.reload(config.clone()).expect_err("no file").to_string();
        assert!(
            refused.contains("tls.certificate: ") && refused.contains("cannot be read"),
            "{refused}"
        );
        assert_eq!(shown().await, new);
        std::fs::write(&identity.key, good).expect("written");
    });
}

#[test]
fn a_cluster_that_gets_tls_leaves_its_connections_without() {
    let issuer = Issuer::new("a");
    let upstream = Upstream::start();
    let inner = start(config(&[upstream.address]));
    let plain = config(&[address(&inner)]);
    let proxy = start(plain.clone());
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connected");
        client.check("echo", "in clear").await;
        proxy.reload(with(plain, None, Some(issuer.trusted()))).expect("applied");
        let reply = client.call("echo", b"").await.expect("answered");
        assert!(reply.text().contains("TLS"), "{}", reply.text());
        eventually("the old connection is closed", || listener(&inner).connections_active() == 0)
            .await;
    });
}

#[test]
fn tls_that_is_not_required_is_for_protocols_that_begin_in_clear() {
    let told = |protocol: &str, tls: &str| {
        let yaml = format!(
            "listeners: [{{ name: l, address: '127.0.0.1:1', protocols: [{protocol}], tls: {{ certificate: a, key: b, {tls} }}, routes: [{{ name: all, reply: {{ status: ok }} }}] }}]\n"
        );
        let parsed = Config::parse("f", &yaml, &|_| None, &registry().protocols());
        parsed.map_or_else(|report| report.mistakes.len(), |_| 0)
    };
    assert_eq!(told("mysql", "required: false"), 0);
    assert_eq!(told("mysql", "required: false, client_ca: c"), 1);
    assert_eq!(told("mysql", "required: false, client_ca: c, client_certificate: optional"), 0);
    assert_eq!(told("mx", "required: false"), 1);
    assert_eq!(told("mx", "required: true"), 0);
}

#[test]
fn what_contradicts_itself_is_told_where_it_is() {
    let yaml = "\
listeners:
  - name: l
    address: 127.0.0.1:1
    protocols: [mx]
    tls: { certificate: a.pem, key: a.key, client_certificate: optional }
    routes: [{ name: all, cluster: c }]
clusters:
  - name: c
    endpoints: ['unix:/run/x.sock']
    tls: { ca: ca.pem, verify: false, certificate: b.pem }
  - name: d
    endpoints: ['127.0.0.1:2']
    tls: { server_name: 'a b', key: b.key }
";
    let report = Config::parse("f", yaml, &|_| None, &registry().protocols()).unwrap_err();
    let told: Vec<_> = report.mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "f:5:64: client_certificate has no effect without client_ca; set that, or remove it",
            "f:10:10: unix:/run/x.sock has no name that its certificate could be for; set server_name",
            "f:10:16: ca has no effect with verify: false; remove one of them",
            "f:10:52: certificate needs key, the file with its private key",
            "f:13:25: tls.server_name: \"a b\" is neither a host name nor an IP address",
            "f:13:37: key needs certificate, the file that it belongs to",
        ]
    );
}
