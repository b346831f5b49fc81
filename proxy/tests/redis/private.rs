//! Transactions, watched keys and blocking commands: on connections of their own, which go back.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use crate::common::{
    address, block_on, eventually, millis,
    redis::{RedisClient, RedisServer, redis_config},
    seed, start,
};

#[test]
fn what_comes_right_behind_a_reset_is_not_forgotten_with_it() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        server.habits.delay.store(5, Relaxed);
        let lines = ["WATCH k", "RESET", "MULTI", "SUBSCRIBE c", "SET k 1", "EXEC", "GET k"];
        let answers = client.ask_all(&lines).await;
        assert!(answers[3].starts_with("-ERR wiremesh: not within"), "{answers:?}");
        assert!(answers[5].starts_with("-EXECABORT "), "{answers:?}");
        assert_eq!(answers[6], "nil");
        let lines = ["WATCH k", "RESET", "CLIENT REPLY OFF", "SET k 2", "CLIENT REPLY ON", "GET k"];
        client.send(&lines).await;
        for want in ["+OK", "+RESET", "+OK", "2"] {
            assert_eq!(client.next().await.as_deref(), Some(want));
        }
    });
}

#[test]
fn what_was_discarded_has_changed_nothing() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            let lines = ["MULTI", "SELECT 1", "SET k 1", "DISCARD", "GET k"];
            let wants = ["+OK", "+QUEUED", "+QUEUED", "+OK", "nil"];
            assert_eq!(client.ask_all(&lines).await, wants);
            // Nor has what failed.
            let answers = client.ask_all(&["MULTI", "SELECT 1", "NOSUCH", "EXEC", "GET k"]).await;
            assert!(answers[3].starts_with("-EXECABORT "), "{answers:?}");
            clients.push(client);
        }
        assert!(server.connections() <= 3, "{} connections", server.connections());
    });
}

#[test]
fn transactions_share_few_connections() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for n in 0..100 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            let lines =
                ["MULTI".into(), format!("SET k{n} {n}"), format!("GET k{n}"), "EXEC".into()];
            let answers = client.ask_all(&lines).await;
            assert_eq!(answers[3], format!("[+OK {n}]"));
        }
        assert!(server.connections() <= 3, "{} connections", server.connections());
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(RedisClient::connect(address(&proxy)).await);
        }
        for round in 0..10 {
            for client in &mut clients {
                assert_eq!(client.ask_all(&["MULTI", "INCR n"]).await, ["+OK", "+QUEUED"]);
            }
            for (n, client) in clients.iter_mut().enumerate() {
                assert_eq!(client.ask("EXEC").await, format!("[:{}]", round * 10 + n + 1));
            }
        }
        assert!(server.connections() <= 12, "{} connections", server.connections());
    });
}

#[test]
fn a_watched_key_that_changed_stops_a_transaction() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut one = RedisClient::connect(address(&proxy)).await;
        let mut two = RedisClient::connect(address(&proxy)).await;
        for (change, end) in [(false, "[+OK]"), (true, "nil"), (false, "[+OK]")] {
            assert_eq!(one.ask_all(&["WATCH k", "GET k"]).await[0], "+OK");
            if change {
                two.ask("SET k other").await;
            }
            let answers = one.ask_all(&["MULTI", "SET k own", "EXEC"]).await;
            assert_eq!(answers, ["+OK", "+QUEUED", end]);
        }
        // What was watched before is nothing to the next one on the same connection.
        assert_eq!(one.ask_all(&["WATCH k", "UNWATCH"]).await, ["+OK", "+OK"]);
        two.ask("SET k other").await;
        assert_eq!(one.ask_all(&["MULTI", "GET k", "EXEC"]).await[2], "[other]");
        let aborted = "-EXECABORT Transaction discarded because of previous errors.";
        let wrong = "-ERR wrong number of arguments for 'get' command";
        let answers = one.ask_all(&["MULTI", "GET", "SET k no", "EXEC", "GET k"]).await;
        assert_eq!(answers, ["+OK", wrong, "+QUEUED", aborted, "other"]);
        let nested = "-ERR MULTI calls can not be nested";
        let answers = one.ask_all(&["MULTI", "MULTI", "DISCARD", "EXEC", "DISCARD"]).await;
        assert_eq!(answers[1..3], [nested, "+OK"]);
        assert_eq!(answers[3..], ["-ERR EXEC without MULTI", "-ERR DISCARD without MULTI"]);
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for (begin, undo) in [
            (&["MULTI", "SET k left"][..], "DISCARD"),
            (&["WATCH k"], "UNWATCH"),
            (&["CLIENT SETNAME gone", "MULTI", "SET k left"], "DISCARD"),
        ] {
            let seen = server.seen(undo);
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.ask_all(begin).await;
            drop(client);
            eventually(undo, || server.seen(undo) > seen).await;
            let mut next = RedisClient::connect(address(&proxy)).await;
            next.ask("SET k fresh").await;
            let answers = next.ask_all(&["MULTI", "GET k", "CLIENT GETNAME", "EXEC"]).await;
            assert_eq!(answers[3], "[fresh nil]", "{begin:?}");
        }
        assert!(server.connections() <= 3, "{} connections", server.connections());
    });
}

#[test]
fn who_waits_holds_up_nobody_else() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut waiting = Vec::new();
        for n in 0..20 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.send(&[format!("BLPOP list{n} 0"), format!("ECHO after{n}")]).await;
            waiting.push(client);
        }
        eventually("all wait", || server.seen("BLPOP") == 20).await;
        let mut other = RedisClient::connect(address(&proxy)).await;
        for n in 0..100 {
            assert_eq!(other.ask(&format!("ECHO {n}")).await, n.to_string());
        }
        assert_eq!(server.seen("ECHO after"), 0, "what is behind it waits, too");
        for n in (0..20).rev() {
            assert_eq!(other.ask(&format!("RPUSH list{n} v{n}")).await, ":1");
            assert_eq!(waiting[n].next().await, Some(format!("[list{n} v{n}]")));
            assert_eq!(waiting[n].next().await, Some(format!("after{n}")));
        }
        // The connections are there for the next.
        let before = server.connections();
        for (n, client) in waiting.iter_mut().enumerate() {
            other.ask(&format!("RPUSH l {n}")).await;
            assert_eq!(client.ask("BLPOP l 0").await, format!("[l {n}]"));
        }
        assert_eq!(server.connections(), before);
    });
}

#[test]
fn who_leaves_while_it_waits_takes_its_connection_along() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut other = RedisClient::connect(address(&proxy)).await;
        other.ask("PING").await;
        let open = server.open();
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.send(&["BLPOP l 0"]).await;
        eventually("it waits", || server.seen("BLPOP") == 1 && server.open() == open + 1).await;
        drop(client);
        eventually("its connection is closed", || server.open() == open).await;
        // Nobody takes what comes now.
        assert_eq!(other.ask_all(&["RPUSH l x", "LLEN l"]).await, [":1", ":1"]);
    });
}

#[test]
fn a_client_that_waits_is_named_by_the_servers_number() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let number = client.ask("CLIENT ID").await.trim_start_matches(':').to_owned();
        client.send(&["BLPOP l 0"]).await;
        eventually("it waits", || server.seen("BLPOP") == 1).await;
        let mut other = RedisClient::connect(address(&proxy)).await;
        // The server in this test knows no such command; what matters is what it was told.
        other.ask(&format!("CLIENT UNBLOCK {number}")).await;
        assert_eq!(server.seen("CLIENT UNBLOCK"), 1);
        assert_eq!(server.seen(&format!("CLIENT UNBLOCK {}", i64::MAX)), 0, "it is known");
        other.ask(&format!("CLIENT UNBLOCK {number}0")).await;
        assert_eq!(server.seen(&format!("CLIENT UNBLOCK {}", i64::MAX)), 1, "it is not");
        // Others never get that connection.
        assert_eq!(other.ask("RPUSH l x").await, ":1");
        assert_eq!(client.next().await.as_deref(), Some("[l x]"));
        let before = server.connections();
        assert_eq!(other.ask_all(&["MULTI", "PING", "EXEC"]).await[2], "[+PONG]");
        assert_eq!(server.connections(), before + 1);
        assert_eq!(client.ask_all(&["RPUSH l y", "BLPOP l 0"]).await, [":1", "[l y]"]);
        assert_eq!(server.connections(), before + 1);
    });
}

#[test]
fn waiting_is_for_the_client_to_limit() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(100));
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let begun = Instant::now();
        assert_eq!(client.ask("BLPOP l 0.4").await, "nil");
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
        assert_eq!(client.ask_all(&["BLPOP l 0.01", "PING"]).await, ["nil", "+PONG"]);
        assert_eq!(client.ask_all(&["WAIT 1 200", "WAIT 0 0"]).await, [":0", ":0"]);
        assert_eq!(client.ask_all(&["MULTI", "BLPOP l 0", "EXEC"]).await[2], "[nil]");
        assert_eq!(client.ask("BLPOP l x").await, "-ERR timeout is not a float or out of range");
    });
}

#[test]
fn replies_are_switched_off_and_on() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let mut other = RedisClient::connect(address(&proxy)).await;
        client
            .send(&["CLIENT REPLY SKIP", "SET k skipped", "GET k", "CLIENT REPLY OFF", "SET k off"])
            .await;
        assert_eq!(client.next().await.as_deref(), Some("skipped"));
        eventually("it is set", || server.seen("SET k off") == 1).await;
        assert_eq!(other.ask("GET k").await, "off");
        client.send(&["GET k", "INCR n", "NOSUCH", "CLIENT REPLY ON", "GET k"]).await;
        assert_eq!(client.next().await.as_deref(), Some("+OK"));
        assert_eq!(client.next().await.as_deref(), Some("off"));
        // Left when replies are off: the connection is not for others.
        let open = server.open();
        let mut third = RedisClient::connect(address(&proxy)).await;
        third.send(&["CLIENT REPLY OFF", "SET k third"]).await;
        eventually("it is set", || server.seen("SET k third") == 1).await;
        drop(third);
        eventually("its connection is closed", || server.open() <= open).await;
        for _ in 0..3 {
            assert_eq!(other.ask_all(&["MULTI", "GET k", "EXEC"]).await[2], "[third]");
        }
    });
}

/// Bursts of all kinds of commands, to a server behind the proxy and to one without: the answers are the same.
#[test]
fn bursts_are_answered_as_by_the_server_itself() {
    const LINES: [&str; 40] = [
        "SET k {n}",
        "GET k",
        "INCR c",
        "APPEND k {n}",
        "MGET k c",
        "DEL k",
        "HSET h f {n}",
        "HGETALL h",
        "SADD s {n}",
        "SMEMBERS s",
        "RPUSH l {n}",
        "LPOP l",
        "LRANGE l 0 -1",
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH k",
        "UNWATCH",
        "SELECT 1",
        "SELECT 0",
        "SELECT 99",
        "HELLO 3",
        "HELLO 2",
        "CLIENT SETNAME n{n}",
        "CLIENT GETNAME",
        "BLPOP l 0.01",
        "BRPOP l m 0.01",
        "SUBSCRIBE c1 c2",
        "UNSUBSCRIBE c1",
        "UNSUBSCRIBE",
        "PSUBSCRIBE p*",
        "PUNSUBSCRIBE",
        "PUBLISH c1 {n}",
        "GET",
        "NOSUCH {n}",
        "RESET",
        "PING",
    ];
    let (direct, behind) = (RedisServer::start(), RedisServer::start());
    let proxy = start(redis_config(&[behind.address]));
    let seed = seed();
    block_on(async {
        let mut past = Vec::new();
        for round in 0..200u64 {
            let mut rng = fastrand::Rng::with_seed(seed ^ round);
            let mut lines: Vec<String> = Vec::new();
            for n in 0..rng.usize(2..30) {
                let line = LINES[rng.usize(..LINES.len())];
                // Through the proxy a transaction cannot subscribe, or change the version.
                let open = lines.iter().rev().find_map(|line| match &line[..] {
                    "MULTI" => Some(true),
                    "EXEC" | "DISCARD" | "RESET" => Some(false),
                    _ => None,
                });
                if !(open == Some(true) && (line.contains("SUBSCRIBE") || line.contains("HELLO"))) {
                    lines.push(line.replace("{n}", &format!("{round}-{n}")));
                }
            }
            lines.push("QUIT".into());
            let mut all = Vec::new();
            for address in [direct.address, address(&proxy)] {
                let mut client = RedisClient::connect(address).await;
                client.send(&["FLUSHALL"]).await;
                client.send(&lines).await;
                let mut answers = Vec::new();
                while let Some(answer) = client.next().await {
                    // The connection's number is another one.
                    let hello = answer.contains("modules");
                    answers.push(if hello { "HELLO".into() } else { answer });
                }
                all.push(answers);
            }
            // What is wrong may have been left behind by those before.
            past.push(format!("{lines:?}"));
            let from = past.len().saturating_sub(4);
            assert_eq!(
                all[0],
                all[1],
                "direct and proxied, round {round}: {}",
                past[from..].join("\n")
            );
        }
    });
}
