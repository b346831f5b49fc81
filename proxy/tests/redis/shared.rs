//! The embedded server itself, and plain commands on shared connections.

use crate::common::{
    address, block_on,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// The embedded server itself answers as Redis does.
#[test]
fn the_embedded_server_speaks_as_redis_does() {
    let server = RedisServer::start();
    block_on(async {
        let mut client = RedisClient::connect(server.address).await;
        for (line, answer) in [
            ("PING", "+PONG"),
            ("ECHO hello", "hello"),
            ("GET k", "nil"),
            ("SET k 1", "+OK"),
            ("SET k 2 NX", "nil"),
            ("SET k 2 XX GET", "1"),
            ("INCRBY k 40", ":42"),
            ("DECR k", ":41"),
            ("APPEND k x", ":3"),
            ("INCR k", "-ERR value is not an integer or out of range"),
            ("STRLEN k", ":3"),
            ("TTL k", ":-1"),
            ("EXPIRE k 100", ":1"),
            ("TTL k", ":100"),
            ("PERSIST k", ":1"),
            ("TTL nothing", ":-2"),
            ("MSET a 1 b 2", "+OK"),
            ("MGET a nothing b", "[1 nil 2]"),
            ("EXISTS a b nothing", ":2"),
            ("DEL a b", ":2"),
            ("HSET h f 1 g 2", ":2"),
            ("HGETALL h", "[f 1 g 2]"),
            ("HDEL h f", ":1"),
            ("RPUSH l 1 2 3", ":3"),
            ("LRANGE l -2 -1", "[2 3]"),
            ("LPOP l", "1"),
            ("SADD s b a a", ":2"),
            ("SMEMBERS s", "[a b]"),
            ("GET s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("BREW tea 2", "-ERR unknown command 'BREW', with args beginning with: 'tea' '2' "),
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DBSIZE", ":4"),
            ("SELECT 16", "-ERR DB index is out of range"),
            ("SELECT 15", "+OK"),
            ("DBSIZE", ":0"),
            ("FLUSHALL", "+OK"),
            ("CLIENT REPLY MAYBE", "-ERR syntax error"),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("RESET", "+RESET"),
        ] {
            assert_eq!(client.ask(line).await, answer, "{line}");
        }
        let keys: Vec<_> = (0..300).map(|n| format!("k{n}")).collect();
        for key in &keys {
            client.ask(&format!("SET {key} v")).await;
        }
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let answer = client.ask(&format!("SCAN {cursor} COUNT 7")).await;
            let words: Vec<_> = answer.trim_matches(['[', ']']).split(' ').collect();
            seen.extend(words[1..].iter().map(|w| w.trim_matches(['[', ']']).to_owned()));
            cursor = words[0].to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), keys.len());
        assert_eq!(client.ask("HELLO 3").await.split(' ').next(), Some("{server=redis"));
        assert_eq!(client.ask("SADD s x").await, ":1");
        assert_eq!(client.ask("SMEMBERS s").await, "~[x]");
        assert_eq!(client.ask("QUIT").await, "+OK");
        assert_eq!(client.next().await, None);
    });
}

#[test]
fn its_memory_is_bounded() {
    let server = RedisServer::start();
    server.habits.max_memory.store(1 << 20, std::sync::atomic::Ordering::Relaxed);
    block_on(async {
        let mut client = RedisClient::connect(server.address).await;
        let value = "x".repeat(100_000);
        let mut refused = 0;
        for n in 0..20 {
            let answer = client.ask(&format!("SET k{n} {value}")).await;
            refused += usize::from(answer.starts_with("-OOM command not allowed"));
        }
        assert!((9..12).contains(&refused), "{refused} refused");
        assert_eq!(client.ask("FLUSHALL").await, "+OK");
        assert_eq!(client.ask(&format!("SET k {value}")).await, "+OK");
    });
}

#[test]
fn many_clients_share_one_connection_and_each_has_its_own_answers() {
    for hello in [None, Some("HELLO 3")] {
        let server = RedisServer::start();
        let proxy = start(redis_config(&[server.address]));
        block_on(async {
            let clients: Vec<_> = (0..50)
                .map(|number| {
                    let address = address(&proxy);
                    tokio::task::spawn_local(async move {
                        let mut client = RedisClient::connect(address).await;
                        if let Some(hello) = hello {
                            client.ask(hello).await;
                        }
                        let (mut lines, mut answers) = (Vec::new(), Vec::new());
                        for n in 0..100 {
                            let key = format!("key:{number}:{n}");
                            let nonce = format!("{number}-{n}-{}", fastrand::u64(..));
                            lines.push(format!("SET {key} {nonce}"));
                            answers.push("+OK".to_owned());
                            lines.push(format!("GET {key}"));
                            answers.push(nonce.clone());
                            lines.push(format!("ECHO {nonce}"));
                            answers.push(nonce);
                            lines.push(format!("GET nothing:{number}:{n}"));
                            answers.push("nil".into());
                            lines.push("NOSUCH".into());
                            let error = "-ERR unknown command 'NOSUCH', with args beginning with: ";
                            answers.push(error.into());
                        }
                        client.send(&lines).await;
                        for (n, answer) in answers.into_iter().enumerate() {
                            assert_eq!(client.next().await, Some(answer), "{}", lines[n]);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.expect("the client saw what it should");
            }
        });
        // RESP3 is asked for on a lane of its own.
        let lanes = 1 + u64::from(hello.is_some());
        assert!(server.connections() <= lanes, "{} connections", server.connections());
    }
}
