//! What large values and slow readers cost in memory. A binary of its own, so that nobody else's memory is measured.

mod common;

use std::{io::Read, io::Write, time::Duration};

use bytes::BytesMut;
use common::{
    address, block_on, eventually,
    redis::{RedisClient, RedisServer, redis_config},
    rss, secs, start,
};
use wiremesh_redis::Message;

/// Values of 16 MiB, asked for 64 times: 1 GiB that a client does not read at first.
#[test]
fn a_slow_reader_of_large_values_costs_bounded_memory_and_gets_everything() {
    const VALUE: usize = 16 << 20;
    const REPLIES: usize = 64;
    let server = RedisServer::start();
    server.habits.remember.store(false, std::sync::atomic::Ordering::Relaxed);
    let mut config = redis_config(&[server.address]);
    config.listeners[0].stall_timeout = secs(60);
    config.listeners[0].routes[0].timeout = Some(secs(60));
    let proxy = start(config);
    let value: Vec<u8> = (0..VALUE).map(|n| b'a' + (n % 26) as u8).collect();
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let set: [&[u8]; 3] = [b"SET", b"big", &value];
        client.send_raw(Message::request(set).bytes()).await;
        assert_eq!(client.next().await.as_deref(), Some("+OK"));
    });
    let before = rss();
    let mut socket = std::net::TcpStream::connect(address(&proxy)).expect("connect");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut requests = BytesMut::new();
    for n in 0..REPLIES {
        requests.extend_from_slice(Message::request(["ECHO", &format!("{n:08}")]).bytes());
        requests.extend_from_slice(Message::request(["GET", "big"]).bytes());
    }
    socket.write_all(&requests).expect("written");
    block_on(eventually("the first are asked for", || server.requests() > 2));
    // Others are answered meanwhile.
    block_on(async {
        let mut other = RedisClient::connect(address(&proxy)).await;
        // (On a connection of another lane: those who share the slow reader's wait for it.)
        assert!(other.ask("HELLO 3").await.starts_with("{server=redis "));
        assert_eq!(other.ask("ECHO meanwhile").await, "meanwhile");
    });
    let (mut peak, mut buffer) = (0, vec![0; 256 << 10]);
    for n in 0..REPLIES {
        let mut head = vec![0; format!("$8\r\n{n:08}\r\n${VALUE}\r\n").len()];
        socket.read_exact(&mut head).expect("in time");
        assert_eq!(head, format!("$8\r\n{n:08}\r\n${VALUE}\r\n").as_bytes(), "reply {n}");
        let mut at = 0;
        while at < VALUE {
            let most = buffer.len().min(VALUE - at);
            let got = socket.read(&mut buffer[..most]).expect("in time");
            assert!(got > 0 && buffer[..got] == value[at..at + got], "reply {n} at {at}");
            at += got;
        }
        let mut end = [0; 2];
        socket.read_exact(&mut end).expect("in time");
        assert_eq!(end, *b"\r\n");
        peak = peak.max(rss());
    }
    let grown = peak.saturating_sub(before) >> 20;
    println!("RSS grew by {grown} MiB with 1 GiB owed");
    assert!(grown < 256, "RSS grew by {grown} MiB");
}
