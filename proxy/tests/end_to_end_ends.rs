//! Sessions end to end across the proxy, one process, the end-to-end toy: how they begin and end.

mod common;

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremesh::Status;
use wiremesh_toys::end_to_end::packet;

use common::{
    NAME, address, block_on,
    call::{CallClient, CallServer, call_config},
    eventually, millis, nobody, start,
};

#[test]
fn an_upstream_that_leaves_between_requests_takes_its_client_along() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        let mut other = CallClient::connect(address(&proxy)).await;
        // What the server has said before it left comes first, and says it all.
        client.check("LAST", "").await;
        client.bye("I am leaving").await;
        other.check("ECHO on", "on").await;
        drop(server);
        other.bye("wiremesh UC").await;
    });
}

#[test]
fn an_upstream_that_leaves_with_a_request_is_told_of_once() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        // A part of the answer is there: nothing can be said.
        let mut half = CallClient::connect(address(&proxy)).await;
        half.send(b'Q', "HALF").await;
        assert_eq!(half.read().await.expect("a row").code, b'R');
        half.closed().await;
        let mut cut = CallClient::connect(address(&proxy)).await;
        cut.send(b'Q', "CUT").await;
        assert_eq!(cut.rest().await.len(), 7);
        let mut never = CallClient::connect(address(&proxy)).await;
        never.send(b'Q', "NEVER").await;
        let mut wanted = CallClient::connect(address(&proxy)).await;
        wanted.send(b'Q', "UPLOAD").await;
        assert_eq!(wanted.read().await.expect("connected").code, b'W');
        eventually("both are asked", || server.seen.count("Q NEVER") == 1).await;
        drop(server);
        never.bye("wiremesh UC").await;
        wanted.bye("wiremesh UC").await;
    });
    let totals = proxy.metrics().snapshot();
    assert_eq!((totals.status(Status::Ok), totals.status(Status::Unavailable)), (4, 4));
}

#[test]
fn a_client_that_leaves_takes_its_upstream_along() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        for (turn, way) in ["drop", "abort", "abort busy", "drop busy", "drop held", "abort tunnel"]
            .iter()
            .enumerate()
        {
            let mut client = CallClient::connect(address(&proxy)).await;
            if way.ends_with("busy") {
                client.send(b'Q', "NEVER").await;
                eventually("it is asked", || server.seen.count("Q NEVER") > turn - 2).await;
            } else if way.ends_with("held") {
                client.check("BEGIN", "").await;
            } else if way.ends_with("tunnel") {
                client.send(b'T', "").await;
                client.send_bytes(b"hello").await;
                client.expect_bytes(b"hello").await;
            }
            assert_eq!(server.seen.accepted(), turn as u64 + 1, "{way}");
            if way.starts_with("abort") {
                client.abort();
            } else {
                drop(client);
            }
            eventually(way, || server.seen.open() == 0).await;
        }
        eventually("the books are right", || {
            let totals = proxy.metrics().snapshot();
            let endpoint = totals.endpoint(NAME, &server.address.to_string());
            let listener = totals.listener(NAME);
            totals.status(Status::Unknown) == 2
                && totals.status(Status::Unavailable) == 0
                && endpoint.is_some_and(|e| e.in_flight == 0 && e.connections_active() == 0)
                && listener
                    .is_some_and(|l| l.connections_active() == 0 && l.abandoned_requests == 2)
        })
        .await;
    });
}

#[test]
fn what_a_client_has_sent_before_it_left_is_delivered() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        for note in 0..2000 {
            client.send(b'N', &format!("{note} {}", "x".repeat(1000))).await;
        }
        client.finish().await;
        client.closed().await;
        eventually("all notes are there", || server.seen.said().len() == 2001).await;
    });
}

#[test]
fn without_a_connection_the_client_is_told_why() {
    let gone = nobody();
    let server = CallServer::start();
    let mut config = call_config(&[gone]);
    block_on(async {
        let proxy = start(config.clone());
        CallClient::open(address(&proxy)).await.bye("wiremesh UF").await;
        assert_eq!(proxy.metrics().snapshot().status(Status::Unavailable), 1);
    });
    // Where there is another endpoint, that is tried.
    config = call_config(&[gone, server.address]);
    block_on(async {
        let proxy = start(config.clone());
        for _ in 0..8 {
            CallClient::connect(address(&proxy)).await.check("ECHO on", "on").await;
        }
    });
    config = call_config(&[server.address]);
    config.clusters[0].max_connections = 2;
    config.clusters[0].max_pending = 1;
    config.listeners[0].routes[0].timeout = Some(millis(300));
    block_on(async {
        let proxy = start(config.clone());
        let mut first = CallClient::connect(address(&proxy)).await;
        let second = CallClient::connect(address(&proxy)).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(CallClient::open(address(&proxy)).await);
        }
        // Two may not even wait, one waits in vain.
        for client in &mut clients {
            client.bye("wiremesh UO").await;
        }
        assert_eq!(proxy.metrics().snapshot().status(Status::Overloaded), 3);
        let mut waiting = CallClient::open(address(&proxy)).await;
        drop(second);
        assert_eq!(waiting.read().await.expect("a greeting").code, b'G');
        first.check("ECHO on", "on").await;
    });
    config.listeners[0].routes[0].cluster = None;
    config.listeners[0].routes[0].reply =
        Some(serde_saphyr::from_str("{ status: denied, message: closed today }").expect("a reply"));
    block_on(async {
        let proxy = start(config.clone());
        CallClient::open(address(&proxy)).await.bye("closed today").await;
    });
}

#[test]
fn requests_time_out_and_take_both_connections_along() {
    let server = CallServer::start();
    let mut config = call_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(300));
    let proxy = start(config);
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        let begun = Instant::now();
        client.send(b'Q', "NEVER").await;
        client.bye("wiremesh UT").await;
        assert!(begun.elapsed() >= Duration::from_millis(300));
        // A part of a long answer that the client does not take in time: nothing can be said.
        let mut client = CallClient::connect(address(&proxy)).await;
        client.send(b'Q', "ROWS 1").await;
        assert_eq!(client.answer().await.expect("connected").rows, 1);
        client.send(b'Q', "UPLOAD").await;
        assert_eq!(client.read().await.expect("connected").code, b'W');
        client.bye("wiremesh UT").await;
        eventually("both are closed", || server.seen.open() == 0).await;
    });
    assert_eq!(proxy.metrics().snapshot().status(Status::Timeout), 2);
}

#[test]
fn draining_says_good_bye_to_those_who_hold_nothing() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut quiet = CallClient::connect(address(&proxy)).await;
        let mut holder = CallClient::connect(address(&proxy)).await;
        assert_eq!(holder.ask("BEGIN").await.expect("connected").code, b'T');
        let mut tunnel = CallClient::connect(address(&proxy)).await;
        tunnel.send(b'T', "").await;
        tunnel.send_bytes(b"hello").await;
        tunnel.expect_bytes(b"hello").await;
        proxy.drain();
        quiet.bye("wiremesh DR").await;
        holder.check("ECHO on", "on").await;
        tunnel.send_bytes(b"still here").await;
        tunnel.expect_bytes(b"still here").await;
        holder.check("COMMIT", "").await;
        holder.bye("wiremesh DR").await;
        // At the drain's deadline.
        assert_eq!(tunnel.rest().await, b"");
    });
    proxy.join();
    block_on(eventually("all are closed", || server.seen.open() == 0));
}

#[test]
fn at_the_drain_deadline_what_is_in_progress_is_told() {
    let server = CallServer::start();
    let mut config = call_config(&[server.address]);
    config.drain_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        let mut busy = CallClient::connect(address(&proxy)).await;
        busy.send(b'Q', "NEVER").await;
        let mut holder = CallClient::connect(address(&proxy)).await;
        holder.check("BEGIN", "").await;
        eventually("it is asked", || server.seen.count("Q NEVER") == 1).await;
        proxy.drain();
        busy.bye("wiremesh DR").await;
        holder.bye("wiremesh DR").await;
        eventually("both are closed", || server.seen.open() == 0).await;
    });
    proxy.join();
}

#[test]
fn clients_of_a_listener_that_is_gone_finish_what_they_hold() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    let mut reloaded = call_config(&[server.address]);
    reloaded.listeners.clear();
    block_on(async {
        let mut idle = CallClient::connect(address(&proxy)).await;
        let mut holder = CallClient::connect(address(&proxy)).await;
        holder.check("BEGIN", "").await;
        std::thread::scope(|s| s.spawn(|| proxy.reload(reloaded)).join().expect("joined"))
            .expect("reloads");
        idle.bye("wiremesh DR").await;
        holder.check("ECHO on", "on").await;
        holder.check("COMMIT", "").await;
        holder.bye("wiremesh DR").await;
    });
}

/// When the client of the [`conversation`] has said so many bytes, the server goes on up to so many of its own: it greets, asks
/// for the word, takes it, and answers the question.
const TURNS: [(usize, usize); 4] =
    [(0, 12), (7, 12 + 22), (7 + 19 + 5, 12 + 22 + 5), (usize::MAX, usize::MAX)];

/// A conversation: what the client sends, and what the server does.
fn conversation() -> [Vec<u8>; 2] {
    let said = |packets: &[(u8, &str)]| {
        let said =
            packets.iter().map(|(code, text)| packet(*code, Status::Ok, text.as_bytes()).bytes);
        said.flatten().collect()
    };
    [
        said(&[
            (b'L', "me"),
            (b'P', "the word of me"),
            (b'P', ""),
            (b'N', "a note"),
            (b'Q', "a question that is longer than what tells its method"),
        ]),
        said(&[
            (b'G', "welcome"),
            (b'W', "what is the word?"),
            (b'I', ""),
            (b'R', "row"),
            (b'R', "another"),
            (b'I', ""),
        ]),
    ]
}

#[test]
fn an_upstream_cut_off_anywhere_gives_no_more_than_it_had_given() {
    let [client_says, server_says] = conversation();
    for cut in 0..server_says.len() {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let proxy = start(call_config(&[listener.local_addr().expect("bound")]));
            let server = tokio::task::spawn_local({
                let said = server_says[..cut].to_vec();
                let turns = TURNS.map(|(asked, end)| (asked.min(client_says.len()), end));
                async move {
                    let (mut stream, _) = listener.accept().await.expect("accept");
                    let (mut heard, mut told) = (0, 0);
                    for (asked, end) in turns {
                        if told < said.len() {
                            let mut more = vec![0; asked - heard];
                            stream.read_exact(&mut more).await.expect("it is asked");
                            let end = end.min(said.len());
                            stream.write_all(&said[told..end]).await.expect("written");
                            (heard, told) = (asked, end);
                        }
                    }
                    stream.shutdown().await.expect("shutdown");
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            });
            let mut client = CallClient::open(address(&proxy)).await;
            // Who speaks before it was greeted may be told of the failure of what it has asked for.
            let greeting = &server_says[..12];
            let mut got = Vec::new();
            if cut >= greeting.len() {
                client.expect_bytes(greeting).await;
                got.extend(greeting);
                client.send_bytes(&client_says).await;
            }
            got.extend(client.rest().await);
            server.await.expect("the server has not failed");
            let same = got.iter().zip(&server_says[..cut]).take_while(|(a, b)| a == b).count();
            // Of the head of a packet that does not come, nothing is passed on.
            assert!(same + 5 > cut, "{same} of {cut} bytes have come");
            let bye = &got[same..];
            let boundary = is_boundary(&server_says, same);
            assert!(bye.is_empty() || boundary && bye[0] == b'B', "{cut}: {bye:?}");
            let rows = server_says.len() - 5 - 12 - 8..=server_says.len() - 5;
            assert_eq!(
                bye.is_empty(),
                !boundary || rows.contains(&same) && same != *rows.start(),
                "{cut}"
            );
        });
    }
}

/// Whether a packet begins here, or would.
fn is_boundary(packets: &[u8], at: usize) -> bool {
    let mut start = 0;
    while start < at {
        start += 5 + usize::from(packets[start + 2]);
    }
    start == at
}

#[test]
fn a_client_cut_off_anywhere_asks_for_no_more_than_it_had_asked_for() {
    let [client_says, _] = conversation();
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    let mut before = 0;
    for cut in 0..=client_says.len() {
        block_on(async {
            let mut client = CallClient::open(address(&proxy)).await;
            client.send_bytes(&client_says[..cut]).await;
            client.finish().await;
            client.rest().await;
            eventually("the server has seen the end", || server.seen.open() == 0).await;
        });
        let ends = |packets: usize| {
            (0..=cut).filter(|at| is_boundary(&client_says, *at)).count() > packets
        };
        let packets = ["L me", "P", "P", "N a note", "Q a question that is longer than what tell"];
        let whole = packets.iter().enumerate().filter(|(n, what)| ends(n + 1) && **what != "P");
        let whole: Vec<_> = whole.map(|(_, what)| *what).collect();
        let said = server.seen.said();
        assert_eq!(said[before..], whole, "{cut} of {} bytes", client_says.len());
        before = said.len();
    }
}
