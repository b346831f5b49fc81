//! What large values and slow readers cost in memory. A binary of its own, so that nobody else's memory is measured.

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use common::{
    address, block_on, eventually,
    redis::{RedisClient, RedisServer, redis_config},
    rss, secs, start,
};
use wiremesh_redis::Message;

/// One test at a time: what is measured is the process.
static ALONE: Mutex<()> = Mutex::new(());

/// Values of 16 MiB, asked for 64 times: 1 GiB that a client does not read at first.
#[test]
fn a_slow_reader_of_large_values_costs_bounded_memory_and_gets_everything() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
    let mut socket = TcpStream::connect(address(&proxy)).expect("connect");
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

/// A value of 512 MiB, to each of two clients that do not read at first.
#[test]
fn a_value_of_512_mib_costs_no_more_than_a_small_one() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const VALUE: usize = 512 << 20;
    const CLIENTS: usize = 2;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("accepted");
            std::thread::spawn(move || {
                let (mut request, chunk) = ([0; 1024], vec![b'x'; 1 << 20]);
                while let Ok(n) = socket.read(&mut request)
                    && n > 0
                {
                    if !request[..n].windows(3).any(|word| word == b"GET") {
                        socket.write_all(b"+OK\r\n").expect("sent");
                        continue;
                    }
                    let mut sent = socket.write_all(format!("${VALUE}\r\n").as_bytes());
                    for _ in 0..VALUE / chunk.len() {
                        sent = sent.and_then(|()| socket.write_all(&chunk));
                    }
                    if sent.and_then(|()| socket.write_all(b"\r\n")).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut config = redis_config(&[server]);
    config.listeners[0].stall_timeout = secs(60);
    config.listeners[0].routes[0].timeout = Some(secs(60));
    let proxy = start(config);
    let (before, mut peak) = (rss(), 0);
    let mut sockets = Vec::new();
    for n in 1..=CLIENTS {
        let mut socket = TcpStream::connect(address(&proxy)).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        // In a database of its own, for none to be behind another.
        let select = Message::request(["SELECT", &n.to_string()]);
        socket.write_all(select.bytes()).expect("sent");
        socket.read_exact(&mut [0; 5]).expect("+OK");
        socket.write_all(Message::request(["GET", "k"]).bytes()).expect("sent");
        // Read at once, they would not all be there at the same time.
        let mut head = vec![0; format!("${VALUE}\r\n").len()];
        socket.read_exact(&mut head).expect("it begins");
        assert_eq!(head, format!("${VALUE}\r\n").as_bytes());
        sockets.push(socket);
        peak = peak.max(rss());
    }
    let mut buffer = vec![0; 256 << 10];
    for mut socket in sockets {
        let mut left = VALUE + 2;
        while left > 0 {
            let most = buffer.len().min(left);
            let got = socket.read(&mut buffer[..most]).expect("in time");
            assert!(got > 0, "{left} bytes are missing");
            left -= got;
            peak = peak.max(rss());
        }
    }
    let grown = peak.saturating_sub(before) >> 20;
    println!("RSS grew by {grown} MiB with {CLIENTS} replies of 512 MiB");
    assert!(grown < 128, "RSS grew by {grown} MiB");
}
