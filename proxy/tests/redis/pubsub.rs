//! Subscriptions and other messages that nobody has asked for just now.

use crate::common::{
    address, block_on, eventually,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

#[test]
fn subscriptions_in_both_versions() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut publisher = RedisClient::connect(address(&proxy)).await;
        for (hello, mark) in [("HELLO 2", ""), ("HELLO 3", ">")] {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.ask(hello).await;
            let message = |text: &str| Some(format!("{mark}[{text}]"));
            client.send(&["SUBSCRIBE a b", "PSUBSCRIBE p*"]).await;
            for confirmed in ["subscribe a :1", "subscribe b :2", "psubscribe p* :3"] {
                assert_eq!(client.next().await, message(confirmed));
            }
            let lines = ["PUBLISH a 1", "PUBLISH p1 2", "PUBLISH no 3", "PUBLISH b 4"];
            assert_eq!(publisher.ask_all(&lines).await, [":1", ":1", ":0", ":1"]);
            for text in ["message a 1", "pmessage p* p1 2", "message b 4"] {
                assert_eq!(client.next().await, message(text));
            }
            if hello == "HELLO 2" {
                let only = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
                assert_eq!(client.ask_all(&["GET k", "PING", "PING x"]).await[0], only);
            } else {
                assert_eq!(client.ask_all(&["SET k 1", "GET k", "PING"]).await[1], "1");
            }
            client.send(&["UNSUBSCRIBE a", "UNSUBSCRIBE no", "UNSUBSCRIBE"]).await;
            for confirmed in ["unsubscribe a :2", "unsubscribe no :2", "unsubscribe b :1"] {
                assert_eq!(client.next().await, message(confirmed));
            }
            client.send(&["PUNSUBSCRIBE", "PUNSUBSCRIBE", "UNSUBSCRIBE", "GET nothing"]).await;
            let confirmed = ["punsubscribe p* :0", "punsubscribe nil :0", "unsubscribe nil :0"];
            for confirmed in confirmed {
                assert_eq!(client.next().await, message(confirmed));
            }
            assert_eq!(client.next().await.as_deref(), Some("nil"));
            assert_eq!(publisher.ask("PUBLISH a 1").await, ":0");
        }
    });
}

#[test]
fn a_connection_that_was_subscribed_is_used_again() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for n in 0..50 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.send(&[format!("SUBSCRIBE c{n}"), "UNSUBSCRIBE".into()]).await;
            assert_eq!(client.next().await, Some(format!("[subscribe c{n} :1]")));
            assert_eq!(client.next().await, Some(format!("[unsubscribe c{n} :0]")));
            assert_eq!(client.ask_all(&["MULTI", "PING", "EXEC"]).await[2], "[+PONG]");
        }
        assert!(server.connections() <= 3, "{} connections", server.connections());
    });
}

#[test]
fn who_leaves_is_subscribed_no_more() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut publisher = RedisClient::connect(address(&proxy)).await;
        publisher.ask("PING").await;
        let open = server.open();
        let mut client = RedisClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("SUBSCRIBE c").await, "[subscribe c :1]");
        assert_eq!(publisher.ask("PUBLISH c 1").await, ":1");
        drop(client);
        eventually("its connection is closed", || server.open() == open).await;
        assert_eq!(publisher.ask("PUBLISH c 2").await, ":0");
    });
}

#[test]
fn every_subscriber_has_every_message_in_order() {
    const MESSAGES: usize = 500;
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut clients = Vec::new();
        for n in 0..10 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            if n % 2 == 1 {
                client.ask("HELLO 3").await;
            }
            client.ask("SUBSCRIBE c").await;
            clients.push(client);
        }
        let mut publisher = RedisClient::connect(address(&proxy)).await;
        let lines: Vec<_> = (0..MESSAGES).map(|n| format!("PUBLISH c {n}")).collect();
        let told = publisher.ask_all(&lines).await;
        assert!(told.iter().all(|told| told == ":10"), "{told:?}");
        for client in &mut clients {
            for n in 0..MESSAGES {
                let message = client.next().await.expect("connected");
                assert_eq!(message.trim_start_matches('>'), format!("[message c {n}]"));
            }
        }
    });
}

#[test]
fn messages_do_not_shift_answers() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.ask("HELLO 3").await;
        client.ask("SUBSCRIBE c").await;
        let mut publisher = RedisClient::connect(address(&proxy)).await;
        for round in 0..20 {
            let lines: Vec<_> = (0..20).map(|n| format!("PUBLISH c {round}-{n}")).collect();
            publisher.send(&lines).await;
            let echoes: Vec<_> = (0..20).map(|n| format!("ECHO {round}-{n}")).collect();
            client.send(&echoes).await;
            let (mut answers, mut messages) = (Vec::new(), Vec::new());
            for _ in 0..40 {
                let next = client.next().await.expect("connected");
                if next.starts_with('>') { messages.push(next) } else { answers.push(next) }
            }
            let want: Vec<_> = (0..20).map(|n| format!("{round}-{n}")).collect();
            assert_eq!(answers, want);
            let want: Vec<_> = want.iter().map(|n| format!(">[message c {n}]")).collect();
            assert_eq!(messages, want);
            for _ in 0..20 {
                assert_eq!(publisher.next().await.as_deref(), Some(":1"));
            }
        }
    });
}

#[test]
fn a_monitor_sees_what_others_do() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut monitor = RedisClient::connect(address(&proxy)).await;
        assert_eq!(monitor.ask("MONITOR").await, "+OK");
        let mut other = RedisClient::connect(address(&proxy)).await;
        for n in 0..20 {
            other.ask(&format!("SET k {n}")).await;
        }
        for n in 0..20 {
            let line = monitor.next().await.expect("connected");
            assert!(line.ends_with(&format!("] \"SET\" \"k\" \"{n}\"")), "{line}");
        }
        let open = server.open();
        drop(monitor);
        eventually("its connection is closed", || server.open() < open).await;
        assert_eq!(other.ask_all(&["MULTI", "GET k", "EXEC"]).await[2], "[19]");
    });
}

#[test]
fn shard_channels_of_all_nodes_on_one_connection() {
    let (servers, _) = RedisServer::cluster(3);
    let mut config = redis_config(&[servers[0].address]);
    config.clusters[0].topology = "cluster".into();
    let proxy = start(config);
    block_on(async {
        let mut publisher = RedisClient::connect(address(&proxy)).await;
        let names: Vec<_> = (0..12).map(|n| format!("sh{n}")).collect();
        for (hello, mark) in [("HELLO 2", ""), ("HELLO 3", ">")] {
            let open: u64 = servers.iter().map(RedisServer::open).sum();
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.ask(hello).await;
            let event = |text: String| Some(format!("{mark}[{text}]"));
            for (n, name) in names.iter().enumerate() {
                client.send(&[format!("SSUBSCRIBE {name}")]).await;
                assert_eq!(client.next().await, event(format!("ssubscribe {name} :{}", n + 1)));
            }
            // Again, and all at once.
            let again: Vec<_> = names.iter().map(|name| format!("SSUBSCRIBE {name}")).collect();
            client.send(&again).await;
            for name in &names {
                assert_eq!(client.next().await, event(format!("ssubscribe {name} :12")));
            }
            client.send(&["SSUBSCRIBE {a}1 {a}2"]).await;
            for (n, name) in [(13, "{a}1"), (14, "{a}2")] {
                assert_eq!(client.next().await, event(format!("ssubscribe {name} :{n}")));
            }
            for name in &names {
                assert_eq!(publisher.ask(&format!("SPUBLISH {name} to-{name}")).await, ":1");
                assert_eq!(client.next().await, event(format!("smessage {name} to-{name}")));
            }
            let now: u64 = servers.iter().map(RedisServer::open).sum();
            assert!(now <= open + 6, "one connection per node is enough: {open}, {now}");
            client.send(&["SUBSCRIBE c"]).await;
            assert_eq!(client.next().await, event("subscribe c :1".into()));
            client.send(&["UNSUBSCRIBE c"]).await;
            assert_eq!(client.next().await, event("unsubscribe c :0".into()));
            if hello == "HELLO 2" {
                assert_eq!(client.ask_all(&["PING", "PING x"]).await, ["[pong ]", "[pong x]"]);
                let refused = client.ask("GET k").await;
                assert!(refused.starts_with("-ERR Can't execute 'get': only "), "{refused}");
                // What is wrong with a command comes before that.
                for (line, said) in [
                    ("GET", "wrong number of arguments for 'get' command"),
                    ("RESET x", "wrong number of arguments for 'reset' command"),
                    ("NOSUCH a b", "unknown command 'NOSUCH', with args beginning with: 'a' 'b' "),
                    ("client nosuch", "unknown subcommand 'nosuch'. Try CLIENT HELP."),
                    (
                        "CLIENT LIST",
                        "Can't execute 'client|list': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                    ),
                ] {
                    assert_eq!(client.ask(line).await, format!("-ERR {said}"), "{line}");
                }
            } else {
                assert_eq!(client.ask_all(&["SET k 1", "PING"]).await, ["+OK", "+PONG"]);
                assert!(client.ask("HELLO 2").await.starts_with("-ERR wiremesh: the version"));
            }
            client.send(&["SUNSUBSCRIBE sh0 no sh1", "SUNSUBSCRIBE"]).await;
            let mut seen = Vec::new();
            for _ in 0..15 {
                seen.push(client.next().await.expect("an event"));
            }
            assert!(seen[0].starts_with(&format!("{mark}[sunsubscribe no :14")), "{seen:?}");
            assert_eq!(seen[14], format!("{mark}[{} :0]", last(&seen[14])));
            seen.sort_unstable();
            seen.dedup_by_key(|event| last(event));
            assert_eq!(seen.len(), 15, "{seen:?}");
            client.send(&["SUNSUBSCRIBE"]).await;
            assert_eq!(client.next().await, event("sunsubscribe nil :0".into()));
            assert_eq!(publisher.ask("SPUBLISH sh3 x").await, ":0");
            assert_eq!(client.ask_all(&["SET k 2", "GET k"]).await, ["+OK", "2"]);
            // What is subscribed to goes with RESET, and with the client.
            client.send(&["SSUBSCRIBE sh1", "RESET", "PING"]).await;
            assert_eq!(client.next().await, event("ssubscribe sh1 :1".into()));
            assert_eq!(
                [client.next().await, client.next().await].map(Option::unwrap),
                ["+RESET", "+PONG"]
            );
            gone(&mut publisher, "sh1").await;
            client.send(&["SSUBSCRIBE sh2"]).await;
            client.next().await;
            drop(client);
            gone(&mut publisher, "sh2").await;
        }
    });
}

/// The word and the channel of an event.
fn last(event: &str) -> String {
    let words: Vec<_> = event.trim_matches(['>', '[', ']']).split(' ').collect();
    words[..2].join(" ")
}

/// Until nobody is subscribed to this channel any more.
async fn gone(publisher: &mut RedisClient, channel: &str) {
    for _ in 0..1000 {
        if publisher.ask(&format!("SPUBLISH {channel} x")).await == ":0" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("somebody still gets what is said in {channel}");
}

#[test]
fn a_node_that_is_lost_takes_its_shard_channels_with_it() {
    let (mut servers, _) = RedisServer::cluster(3);
    let mut config = redis_config(&[servers[0].address]);
    config.clusters[0].topology = "cluster".into();
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for n in 0..12 {
            client.send(&[format!("SSUBSCRIBE sh{n}")]).await;
            assert_eq!(client.next().await, Some(format!("[ssubscribe sh{n} :{}]", n + 1)));
        }
        drop(servers.pop());
        // A client of the node itself would be closed, too.
        assert_eq!(client.next().await, None);
    });
}
