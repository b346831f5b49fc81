//! What a client sets for its connection never reaches another client.

use std::collections::BTreeSet;

use crate::common::{
    address, block_on,
    redis::{RedisClient, RedisServer, redis_config},
    seed, start,
};

#[test]
fn databases_do_not_leak() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    let seed = seed();
    block_on(async {
        let clients: Vec<_> = (0..16u64)
            .map(|db| {
                let address = address(&proxy);
                let mut rng = fastrand::Rng::with_seed(seed ^ db);
                tokio::task::spawn_local(async move {
                    let mut client = RedisClient::connect(address).await;
                    assert_eq!(client.ask(&format!("SELECT {db}")).await, "+OK");
                    for n in 0..50 {
                        let lines = [format!("SET k {db}-{n}"), "GET k".into(), "DBSIZE".into()];
                        let answers = client.ask_all(&lines).await;
                        assert_eq!(answers, ["+OK".to_owned(), format!("{db}-{n}"), ":1".into()]);
                        if rng.bool() {
                            let lines = ["MULTI", "GET k", "EXEC"];
                            let answers = client.ask_all(&lines).await;
                            assert_eq!(answers[2], format!("[{db}-{n}]"));
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("the client saw what it should");
        }
        // A request that fails changes nothing, and is answered in the server's words.
        let mut client = RedisClient::connect(address(&proxy)).await;
        let lines = ["SELECT 7", "SELECT 16", "SELECT x", "GET k"];
        let answers = client.ask_all(&lines).await;
        assert_eq!(answers[1], "-ERR DB index is out of range");
        assert!(answers[2].starts_with("-ERR "), "{answers:?}");
        assert_eq!(answers[3], "7-49");
    });
}

#[test]
fn logins_do_not_leak_and_wrong_ones_are_not_remembered() {
    const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
    const NONE: &str = "-NOAUTH Authentication required.";
    let server = RedisServer::start();
    server.habits.add_user("default", "secret");
    server.habits.add_user("ann", "pw");
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut ann = RedisClient::connect(address(&proxy)).await;
        let mut other = RedisClient::connect(address(&proxy)).await;
        assert_eq!(ann.ask("GET k").await, NONE);
        assert_eq!(ann.ask_all(&["AUTH ann pw", "SET k 1"]).await, ["+OK", "+OK"]);
        assert_eq!(other.ask("GET k").await, NONE);
        // Wrong, in the middle of others' requests: neither loses or gets a login by it.
        for _ in 0..10 {
            other.send(&["AUTH ann nope", "GET k", "AUTH nope", "GET k"]).await;
            assert_eq!(ann.ask("GET k").await, "1");
            for want in [WRONG, NONE, WRONG, NONE] {
                assert_eq!(other.next().await.as_deref(), Some(want));
            }
        }
        // Who is logged in stays so when the next login is refused.
        assert_eq!(ann.ask_all(&["AUTH ann nope", "GET k"]).await, [WRONG, "1"]);
        // What was wrong once is asked for again.
        server.habits.add_user("ann", "nope");
        assert_eq!(other.ask_all(&["AUTH ann nope", "GET k"]).await, ["+OK", "1"]);
        // What was right once, too.
        let mut third = RedisClient::connect(address(&proxy)).await;
        assert_eq!(third.ask_all(&["AUTH ann pw", "GET k"]).await, [WRONG, NONE]);
        assert_eq!(third.ask("HELLO 3 AUTH default nope").await, WRONG);
        assert_eq!(third.ask("GET k").await, NONE);
        let hello = third.ask("HELLO 3 AUTH default secret").await;
        assert!(hello.starts_with("{server=redis"), "{hello}");
        assert_eq!(third.ask("GET k").await, "1");
    });
}

#[test]
fn versions_do_not_leak() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut three = RedisClient::connect(address(&proxy)).await;
        let mut two = RedisClient::connect(address(&proxy)).await;
        assert!(three.ask("HELLO 3").await.contains(" proto=:3 "));
        assert_eq!(two.ask("HSET h f 1").await, ":1");
        for _ in 0..20 {
            three.send(&["HGETALL h", "GET no"]).await;
            assert_eq!(two.ask_all(&["HGETALL h", "GET no"]).await, ["[f 1]", "nil"]);
            assert_eq!(three.next().await.as_deref(), Some("{f=1}"));
            let null = three.message().await.expect("answered");
            assert_eq!(null.bytes(), b"_\r\n");
        }
        assert!(three.ask("HELLO 2").await.starts_with("[server redis "));
        assert_eq!(three.ask("HGETALL h").await, "[f 1]");
        // The version changes with the answer that says so, in the middle of a burst.
        let answers =
            two.ask_all(&["HGETALL h", "HELLO 3", "HGETALL h", "HELLO 2", "HGETALL h"]).await;
        assert_eq!([&answers[0][..], &answers[2], &answers[4]], ["[f 1]", "{f=1}", "[f 1]"]);
    });
}

#[test]
fn names_and_numbers_are_each_clients_own() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut clients = Vec::new();
        let mut ids = BTreeSet::new();
        for n in 0..5 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            assert_eq!(client.ask("CLIENT GETNAME").await, "nil");
            assert_eq!(client.ask(&format!("CLIENT SETNAME name-{n}")).await, "+OK");
            ids.insert(client.ask("CLIENT ID").await);
            clients.push(client);
        }
        assert_eq!(ids.len(), 5, "{ids:?}");
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask("CLIENT GETNAME").await, format!("name-{n}"));
            let info = client.ask("CLIENT INFO").await;
            assert!(info.contains(&format!(" name=name-{n} ")), "{info}");
            let answers = client.ask_all(&["MULTI", "CLIENT GETNAME", "EXEC"]).await;
            assert_eq!(answers[2], format!("[name-{n}]"));
        }
        // On a connection that named clients have had.
        let mut nobody = RedisClient::connect(address(&proxy)).await;
        let answers = nobody.ask_all(&["MULTI", "CLIENT GETNAME", "EXEC"]).await;
        assert_eq!(answers[2], "[nil]");
        let mut three = RedisClient::connect(address(&proxy)).await;
        three.ask("HELLO 3 SETNAME threes").await;
        assert_eq!(three.ask("CLIENT GETNAME").await, "threes");
        assert_eq!(nobody.ask("CLIENT GETNAME").await, "nil");
    });
}

#[test]
fn reset_makes_a_client_as_new() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for begin in [&["PING"][..], &["MULTI", "SET k 1"], &["WATCH k"], &["SUBSCRIBE c"]] {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.ask("HELLO 3 SETNAME me").await;
            client.ask("SELECT 3").await;
            client.ask_all(begin).await;
            assert_eq!(client.ask("RESET").await, "+RESET", "{begin:?}");
            let answers = client.ask_all(&["CLIENT GETNAME", "EXEC", "DBSIZE"]).await;
            assert_eq!(answers, ["nil", "-ERR EXEC without MULTI", ":0"], "{begin:?}");
            client.send(&["GET k"]).await;
            assert_eq!(client.message().await.expect("answered").bytes(), b"$-1\r\n", "{begin:?}");
        }
    });
}

/// On a connection of a client's own, where one request does not wait for the other's answer.
#[test]
fn what_is_set_in_one_burst_adds_up() {
    let server = RedisServer::start();
    server.habits.add_user("default", "secret");
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut plain = RedisClient::connect(address(&proxy)).await;
        assert_eq!(plain.ask_all(&["AUTH secret", "HSET h f 1"]).await, ["+OK", ":1"]);
        for (burst, here) in [
            (&["HELLO 3", "SELECT 1"][..], "{}"),
            (&["SELECT 1", "HELLO 3", "SELECT 0"], "{f=1}"),
            (&["SELECT 1", "AUTH wrong", "HELLO 3", "SELECT 99"], "{}"),
            (&["HELLO 3", "RESET", "AUTH secret", "SELECT 0"], "[f 1]"),
            (&["HELLO 3", "SUBSCRIBE c", "SELECT 1", "UNSUBSCRIBE"], "{}"),
        ] {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.ask("AUTH secret").await;
            client.send(&["BLPOP nothing 0.01"]).await;
            client.send(burst).await;
            client.send(&["HGETALL h"]).await;
            for _ in 0..=burst.len() {
                client.next().await.expect("connected");
            }
            assert_eq!(client.next().await.as_deref(), Some(here), "{burst:?}");
            // Now that nothing is on its own connection, on one that is shared; and who has its own next.
            assert_eq!(client.ask("HGETALL h").await, here, "{burst:?}");
            let answers = plain.ask_all(&["MULTI", "HGETALL h", "EXEC", "HGETALL h"]).await;
            assert_eq!(answers[2..], ["[[f 1]]", "[f 1]"], "{burst:?}");
        }
    });
}
