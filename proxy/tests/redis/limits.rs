//! More than is allowed, and the end: errors that say so, in their places.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use wiremesh_proxy::config::{HeaderMatch, Matcher, Route};

use crate::common::{
    NAME, address, block_on, eventually, millis,
    redis::{RedisClient, RedisServer, redis_config},
    secs, start,
};

#[test]
fn too_much_in_flight_is_busy_and_in_order() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.clusters[0].max_in_flight = 10;
    let proxy = start(config);
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.ask("PING").await;
            clients.push(client);
        }
        server.habits.delay.store(20, Relaxed);
        for (number, client) in clients.iter_mut().enumerate() {
            let lines: Vec<_> = (0..30).map(|n| format!("ECHO {number}-{n}")).collect();
            client.send(&lines).await;
        }
        let mut busy = 0;
        for (number, client) in clients.iter_mut().enumerate() {
            for n in 0..30 {
                let answer = client.next().await.expect("connected");
                if answer.starts_with("-BUSY wiremesh UO") {
                    busy += 1;
                } else {
                    assert_eq!(answer, format!("{number}-{n}"));
                }
            }
        }
        assert!((50..90).contains(&busy), "{busy} of 90 are refused");
        server.habits.delay.store(0, Relaxed);
        assert_eq!(clients[0].ask("ECHO again").await, "again");
    });
}

#[test]
fn too_many_connections_are_busy_and_others_go_on() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.clusters[0].max_connections = 3;
    let proxy = start(config);
    block_on(async {
        let mut shared = RedisClient::connect(address(&proxy)).await;
        shared.ask("PING").await;
        let mut waiting = Vec::new();
        for n in 0..2 {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.send(&["BLPOP l 0"]).await;
            eventually("it waits", || server.seen("BLPOP") == n + 1).await;
            waiting.push(client);
        }
        let mut third = RedisClient::connect(address(&proxy)).await;
        let answers = third.ask_all(&["ECHO before", "BLPOP l 0", "ECHO behind"]).await;
        assert!(answers[1].starts_with("-BUSY wiremesh UO"), "{answers:?}");
        assert_eq!([&answers[0][..], &answers[2]], ["before", "behind"]);
        // A transaction that cannot begin is none.
        let answers = third.ask_all(&["MULTI", "SET half done", "EXEC", "GET half"]).await;
        assert!(answers[0].starts_with("-BUSY wiremesh UO"), "{answers:?}");
        assert!(answers[1].starts_with("-ERR wiremesh"), "{answers:?}");
        assert!(answers[2].starts_with("-EXECABORT"), "{answers:?}");
        assert!(!answers[3].contains("done"), "half of it was executed: {answers:?}");
        assert_eq!(shared.ask_all(&["RPUSH l 1 2", "ECHO x"]).await, [":2", "x"]);
        for client in &mut waiting {
            assert!(client.next().await.expect("connected").starts_with("[l "));
        }
        assert_eq!(third.ask_all(&["MULTI", "ECHO x", "EXEC"]).await[2], "[x]");
        assert!(server.connections() <= 3, "{} connections", server.connections());
    });
}

#[test]
fn too_many_that_wait_for_a_connection_are_busy() {
    let server = RedisServer::start();
    server.habits.delay.store(50, Relaxed);
    server.habits.add_user("default", "secret");
    let mut config = redis_config(&[server.address]);
    config.clusters[0].max_pending = 5;
    config.listeners[0].options =
        [("redis".to_owned(), [("password".to_owned(), "secret".to_owned())].into())].into();
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let lines: Vec<_> = (0..20).map(|n| format!("ECHO {n}")).collect();
        let answers = client.ask_all(&lines).await;
        let busy = answers.iter().filter(|a| a.starts_with("-BUSY wiremesh UO")).count();
        assert_eq!(busy, 15, "{answers:?}");
        let right: Vec<_> = answers.iter().filter(|a| !a.starts_with('-')).collect();
        assert_eq!(right, ["0", "1", "2", "3", "4"]);
        assert_eq!(client.ask("ECHO again").await, "again");
    });
}

#[test]
fn draining_waits_for_answers_and_for_nothing_else() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.drain_timeout = secs(2);
    let proxy = start(config);
    block_on(async {
        let mut clients = Vec::new();
        for lines in
            [&["MULTI", "SET k 1"][..], &["SUBSCRIBE c"], &["BLPOP l 0"], &["WATCH k"], &["PING"]]
        {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.send(lines).await;
            clients.push(client);
        }
        eventually("all has come", || server.requests() >= 6).await;
        let mut last = RedisClient::connect(address(&proxy)).await;
        last.ask("PING").await;
        server.habits.delay.store(300, Relaxed);
        last.send(&["ECHO last"]).await;
        eventually("it has come", || server.seen("ECHO last") == 1).await;
        let begun = Instant::now();
        proxy.drain();
        assert_eq!(last.next().await.as_deref(), Some("last"));
        for client in clients.iter_mut().chain([&mut last]) {
            while client.next().await.is_some() {}
        }
        proxy.join();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(server.seen("EXEC"), 0);
        eventually("all connections are closed", || server.open() == 0).await;
    });
}

#[test]
fn keys_lead_to_clusters_by_their_prefix() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let mut config = redis_config(&[servers[0].address]);
    let mut second = redis_config(&[servers[1].address]).clusters.remove(0);
    second.name = "second".into();
    config.clusters.push(second);
    let mut route = Route::to_cluster("users", "second");
    route.matches.headers =
        vec![HeaderMatch { name: "key".into(), value: Matcher::Prefix("user:".into()) }];
    config.listeners[0].routes.insert(0, route);
    config.listeners[0].routes[1].timeout = Some(millis(5_000));
    assert_eq!(config.listeners[0].routes[1].name, NAME);
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let (mut lines, mut wants) = (Vec::new(), Vec::new());
        for n in 0..100 {
            let key = if n % 3 == 0 { format!("user:{n}") } else { format!("other:{n}") };
            lines.extend([format!("SET {key} {n}"), format!("GET {key}")]);
            wants.extend(["+OK".to_owned(), n.to_string()]);
        }
        // Answers of the slower server's are not overtaken.
        servers[1].habits.delay.store(2, Relaxed);
        assert_eq!(client.ask_all(&lines).await, wants);
        assert_eq!(servers[1].seen("SET user:"), 34);
        assert_eq!(servers[1].seen("SET other:"), 0);
        assert_eq!(servers[0].seen("SET other:"), 66);
        assert_eq!(client.ask("DBSIZE").await, ":100");
    });
}
