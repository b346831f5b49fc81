//! Sessions made up for what recorded ones do not have.

use wiremesh::{DecodeError, Failure, Kind, Peer, Reason, Status};
use wiremesh_mysql::{
    Capabilities,
    compress::{Algorithm, Compressor},
    wire::{HEAD, Head, MAX_BODY},
};

use super::{
    driver::{Driver, Seen},
    packets::{CAPS, JOE, greeting, login, ok, packet},
};

/// A session that is logged in, on which so far nothing else was said.
fn logged_in() -> Driver {
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
    driver.receive(Peer::Client, &login(1, CAPS, JOE)).unwrap();
    assert!(driver.busy);
    driver.receive(Peer::Upstream, &ok(2, 2)).unwrap();
    assert!(!driver.busy && driver.is_even());
    driver.seen.clear();
    driver
}

fn request(method: &str, schema: &str) -> Seen {
    let (user, schema) = (Some("joe".to_owned()), Some(schema.to_owned()));
    let kind = if method == "COM_STMT_CLOSE" { Kind::OneWay } else { Kind::Request };
    Seen::Request { kind, method: method.to_owned(), user, schema }
}

const DONE: Seen = Seen::Reply { status: Status::Ok, error: None, rows: 0 };

#[track_caller]
fn told(packet: Option<Vec<u8>>, seq: u8, number: u16, state: &[u8]) {
    let packet = packet.unwrap();
    let number = number.to_le_bytes();
    assert_eq!(Head::read(&packet), Some(Head { len: packet.len() - HEAD, seq }));
    assert_eq!(&packet[HEAD..HEAD + 3], [0xff, number[0], number[1]]);
    assert!(packet[HEAD + 3..].starts_with(state), "{:?}", String::from_utf8_lossy(&packet));
}

fn draining() -> Failure {
    Failure::new(Reason::Draining, "the proxy is shutting down")
}

#[test]
fn a_login_is_a_request_and_its_exchange_the_reply() {
    let mut driver = Driver::default();
    // Nothing of the client's is taken before the greeting.
    let early = login(1, CAPS, JOE);
    driver.receive(Peer::Client, &early).unwrap();
    assert_eq!(driver.input[0].len(), early.len());
    driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
    assert_eq!(driver.seen, [Seen::Push(None), request("LOGIN", "shop")]);
    driver.receive(Peer::Upstream, &packet(2, b"\xfeother\0salt\0")).unwrap();
    // A command that is sent at once behind the answer waits for the login's end.
    let ahead = [packet(3, b"hash"), packet(0, b"\x0e")].concat();
    driver.receive(Peer::Client, &ahead).unwrap();
    assert_eq!(driver.input[0].len(), 5);
    driver.receive(Peer::Upstream, &packet(4, b"\x01\x03")).unwrap();
    driver.receive(Peer::Upstream, &ok(5, 2)).unwrap();
    assert_eq!(driver.seen[2..], [DONE, request("COM_PING", "shop")]);
    driver.receive(Peer::Upstream, &ok(1, 2)).unwrap();
    assert!(driver.is_even() && !driver.busy && driver.clean);
}

#[test]
fn a_refused_login_ends_the_session() {
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
    driver.receive(Peer::Client, &login(1, CAPS, JOE)).unwrap();
    driver.receive(Peer::Upstream, &packet(2, b"\xff\x15\x04#28000Access denied")).unwrap();
    let error = Some("ER_ACCESS_DENIED_ERROR");
    let refused = Seen::Reply { status: Status::Unauthenticated, error, rows: 0 };
    assert_eq!(driver.seen.last(), Some(&refused));
    assert!(driver.closed);
}

#[test]
fn a_server_that_is_full_says_so_in_place_of_the_greeting() {
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &packet(0, b"\xff\x10\x04Too many connections")).unwrap();
    assert_eq!(driver.seen, [Seen::Push(Some("ER_CON_COUNT_ERROR"))]);
    assert!(driver.closed && driver.is_even());
    assert_eq!(driver.farewell(&draining()), None);
}

#[test]
fn behind_a_wish_for_tls_nothing_is_looked_into() {
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS | Capabilities::SSL.0)).unwrap();
    let wish = login(1, CAPS | Capabilities::SSL.0, b"");
    driver.receive(Peer::Client, &[&wish, &b"\x16\x03\x01hello"[..]].concat()).unwrap();
    driver.receive(Peer::Upstream, b"\x16\x03\x03hi").unwrap();
    driver.receive(Peer::Client, b"\0").unwrap();
    assert_eq!(driver.methods(), ["SSL_REQUEST"]);
    assert!(driver.is_even() && !driver.busy && driver.machine.is_relaying());
    assert_eq!(driver.farewell(&draining()), None);
}

const LAYERS: [(u64, Algorithm); 2] =
    [(Capabilities::COMPRESS.0, Algorithm::Zlib), (Capabilities::ZSTD.0, Algorithm::Zstd)];

/// A session that is compressed, with what packs either side's packets.
fn compressed(layer: u64, algorithm: Algorithm) -> (Driver, impl FnMut(u8, &[u8]) -> Vec<u8>) {
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS | layer)).unwrap();
    driver.receive(Peer::Client, &login(1, CAPS | layer, JOE)).unwrap();
    driver.receive(Peer::Upstream, &ok(2, 2)).unwrap();
    assert_eq!(driver.seen.last(), Some(&DONE), "the login is not compressed");
    driver.seen.clear();
    let pack = move |seq: u8, plain: &[u8]| {
        let mut compressor = Compressor::new(algorithm, 3);
        compressor.set_next(seq);
        let mut out = bytes::BytesMut::new();
        compressor.write(plain, &mut out);
        out.to_vec()
    };
    (driver, pack)
}

#[test]
fn what_is_compressed_is_followed() {
    for (layer, algorithm) in LAYERS {
        for size in [usize::MAX, 1, 1000] {
            let (mut driver, mut pack) = compressed(layer, algorithm);
            let query = [b"\x03select '".as_slice(), &[b'x'; 40_000], b"'"].concat();
            let rows: Vec<u8> = (3..60).flat_map(|seq| packet(seq, &[5; 3000])).collect();
            let answer = [packet(1, b"\x01"), packet(2, b"\x03def"), packet(3, b"\xfe\0\0\x02\0")];
            // Servers take numbers from the layer: a gap is none.
            let end = packet(70, b"\xfe\0\0\x02\0");
            let replies = [
                pack(1, &answer.concat()),
                pack(2, &rows[..99_999]),
                pack(3, &rows[99_999..]),
                pack(4, &end),
            ];
            let said = [
                (Peer::Client, pack(0, &packet(0, &query))),
                (Peer::Upstream, replies.concat()),
                (Peer::Client, pack(0, &packet(0, b"\x19\x01\0\0\0"))),
                (Peer::Client, pack(0, &packet(0, b"\x0e"))),
                (Peer::Upstream, pack(1, &ok(1, 2))),
            ];
            for (from, bytes) in &said {
                for piece in bytes.chunks(size.min(bytes.len())) {
                    driver.receive(*from, piece).unwrap();
                }
                assert!(driver.is_even());
            }
            let found = Seen::Reply { status: Status::Ok, error: None, rows: 57 };
            let close = request("COM_STMT_CLOSE", "shop");
            let (query, ping) = (request("COM_QUERY", "shop"), request("COM_PING", "shop"));
            assert_eq!(driver.seen, [query, found, close, ping, DONE]);
            assert_eq!(driver.digests, ["select ? ..."]);
            assert!(!driver.machine.is_relaying() && !driver.busy);
        }
    }
}

#[test]
fn commands_in_one_compressed_frame_are_passed_on_and_no_more_followed() {
    let (layer, algorithm) = LAYERS[0];
    for first in [&b"\x19\x01\0\0\0"[..], b"\x0e"] {
        let (mut driver, mut pack) = compressed(layer, algorithm);
        let both = [packet(0, first), packet(0, b"\x0e")].concat();
        driver.receive(Peer::Client, &pack(0, &both)).unwrap();
        driver.receive(Peer::Upstream, &pack(1, &ok(1, 2))).unwrap();
        driver.receive(Peer::Upstream, &pack(1, &ok(1, 2))).unwrap();
        assert!(driver.machine.is_relaying() && !driver.busy && !driver.closed);
        driver.receive(Peer::Client, &pack(0, &packet(0, b"\x0e"))).unwrap();
        assert!(driver.is_even());
    }
}

#[test]
fn errors_of_ours_are_in_a_frame_where_packets_are() {
    let (layer, algorithm) = LAYERS[0];
    let (mut driver, _) = compressed(layer, algorithm);
    let told = driver.farewell(&draining()).unwrap();
    assert_eq!(told[..7], [u8::try_from(told.len() - 7).unwrap(), 0, 0, 1, 0, 0, 0]);
    assert_eq!(told[7 + HEAD..][..9], *b"\xff\x1d\x04#08S01");
    let (mut driver, mut pack) = compressed(layer, algorithm);
    driver.receive(Peer::Client, &pack(0, &packet(0, b"\x03select 1"))).unwrap();
    driver.receive(Peer::Upstream, &pack(1, &packet(1, b"\x01"))).unwrap();
    let told = driver.farewell(&draining()).unwrap();
    assert_eq!((told[3], told[7 + 3]), (2, 2));
}

#[test]
fn an_upstream_that_leaves_an_idle_client_says_itself_what_there_is_to_say() {
    let lost = || Failure::new(Reason::UpstreamReset, "closed");
    let (mut driver, _) = compressed(LAYERS[0].0, LAYERS[0].1);
    assert_eq!(driver.farewell(&lost()), None);
    let mut driver = logged_in();
    driver.receive(Peer::Client, &packet(0, b"\x03select 1")).unwrap();
    told(driver.farewell(&lost()), 1, 1158, b"#08S01");
    let mut driver = logged_in();
    assert_eq!(driver.farewell(&lost()), None);
}

#[test]
fn compression_is_agreed_on_by_both() {
    // What only one of them can do is not agreed on.
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
    driver.receive(Peer::Client, &login(1, CAPS | Capabilities::COMPRESS.0, JOE)).unwrap();
    driver.receive(Peer::Upstream, &ok(2, 2)).unwrap();
    driver.receive(Peer::Client, &packet(0, b"\x0e")).unwrap();
    assert!(driver.busy && driver.is_even());
}

#[test]
fn clients_from_before_4_1_and_too_many_attributes_are_refused() {
    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
    let old = driver.receive(Peer::Client, &packet(1, b"\x85\0\0\0\x01joe\0pw"));
    assert!(matches!(old, Err(DecodeError::Malformed { what }) if what.contains("4.1")));
    told(driver.farewell(&Failure::new(Reason::BadRequest, "old")), 2, 1043, b"#08S01");

    for (max, fits) in [(0x13, true), (0x12, false)] {
        let mut driver = Driver::default();
        driver.limits.max_header = max;
        driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
        let taken = driver.receive(Peer::Client, &login(1, CAPS, JOE));
        let limit = DecodeError::limit("max_header", max, 0x13);
        assert_eq!(taken, if fits { Ok(()) } else { Err(limit) });
    }

    let mut driver = Driver::default();
    driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
    let long = driver.receive(Peer::Client, &[0, 0, 16, 1]);
    assert!(matches!(long, Err(DecodeError::Limit { limit: "handshake", .. })));
}

#[test]
fn schema_and_user_are_those_of_now() {
    let mut driver = logged_in();
    let steps: [(&[u8], Vec<u8>); 4] = [
        (b"\x03use `stock`;", ok(1, 2)),
        (b"\x02nowhere", packet(1, b"\xff\x19\x04#42000Unknown database")),
        (b"\x0e", ok(1, 2)),
        (b"\x11eve\0\0cellar\0\x2d\0plugin\0\0", ok(1, 2)),
    ];
    for (command, reply) in &steps {
        driver.receive(Peer::Client, &packet(0, command)).unwrap();
        driver.receive(Peer::Upstream, reply).unwrap();
    }
    driver.receive(Peer::Client, &packet(0, b"\x0e")).unwrap();
    let unknown = Some("ER_BAD_DB_ERROR");
    let user = Some("eve".to_owned());
    let (method, schema) = ("COM_PING".to_owned(), Some("cellar".to_owned()));
    assert_eq!(
        driver.seen,
        [
            request("COM_QUERY", "shop"),
            DONE,
            request("COM_INIT_DB", "stock"),
            Seen::Reply { status: Status::NotFound, error: unknown, rows: 0 },
            request("COM_PING", "stock"),
            DONE,
            request("COM_CHANGE_USER", "stock"),
            DONE,
            Seen::Request { kind: Kind::Request, method, user, schema },
        ]
    );
}

#[test]
fn a_transaction_is_not_to_be_cut_off() {
    let mut driver = logged_in();
    for (status, clean) in [(3, false), (1, false), (2, true)] {
        driver.receive(Peer::Client, &packet(0, b"\x03begin")).unwrap();
        driver.receive(Peer::Upstream, &ok(1, status)).unwrap();
        assert_eq!(driver.clean, clean);
    }
}

#[test]
fn long_commands_come_in_parts_and_are_one_request() {
    for (len, size) in
        [(MAX_BODY + 5, 1 << 20), (MAX_BODY, 7_000_000), (40_000, 1000), (40_000, 16_388)]
    {
        let mut driver = logged_in();
        let mut body = vec![b'x'; len];
        body[0] = 3;
        let bytes = packet(0, &body);
        for piece in bytes.chunks(size) {
            driver.receive(Peer::Client, piece).unwrap();
        }
        assert!(driver.is_even() && driver.busy);
        assert_eq!(driver.seen, [request("COM_QUERY", "shop")]);
        let seq = if len >= MAX_BODY { 2 } else { 1 };
        // Not the number that follows the command's last packet.
        let late = driver.receive(Peer::Upstream, &ok(seq + 1, 2));
        assert_eq!(late, Err(DecodeError::Malformed { what: "sequence number" }));
        driver.input[1].clear();
    }
    let mut driver = logged_in();
    let close = packet(0, b"\x19\x01\0\0\0");
    driver.receive(Peer::Client, &[close, packet(0, b"\x0e")].concat()).unwrap();
    driver.receive(Peer::Upstream, &ok(1, 2)).unwrap();
    assert_eq!(driver.seen, [request("COM_STMT_CLOSE", "shop"), request("COM_PING", "shop"), DONE]);
}

#[test]
fn an_error_in_the_middle_of_a_command_ends_the_reply_and_not_the_command() {
    let mut driver = logged_in();
    let bytes = packet(0, &[[3].as_slice(), &[b'x'; 50_000]].concat());
    driver.receive(Peer::Client, &bytes[..30_000]).unwrap();
    assert!(driver.busy);
    driver.receive(Peer::Upstream, &packet(7, b"\xff\x81\x04#08S01too long")).unwrap();
    assert!(!driver.busy);
    driver.receive(Peer::Client, &bytes[30_000..]).unwrap();
    assert!(driver.is_even() && driver.methods() == ["COM_QUERY"]);
    driver.receive(Peer::Client, &packet(0, b"\x0e")).unwrap();
    assert_eq!(driver.methods(), ["COM_QUERY", "COM_PING"]);
}

#[test]
fn an_upload_is_the_client_s_turn() {
    let mut driver = logged_in();
    driver.receive(Peer::Client, &packet(0, b"\x03load")).unwrap();
    driver.receive(Peer::Upstream, &packet(1, b"\xfbfile")).unwrap();
    let file = [packet(2, b"1,2\n"), packet(3, &[7; 20_000]), packet(4, b""), packet(0, b"\x0e")];
    for piece in file.concat().chunks(999) {
        driver.receive(Peer::Client, piece).unwrap();
    }
    assert_eq!((driver.input[0].len(), driver.busy), (5, true));
    driver.receive(Peer::Upstream, &ok(5, 2)).unwrap();
    driver.receive(Peer::Upstream, &ok(1, 2)).unwrap();
    let ping = request("COM_PING", "shop");
    assert_eq!(driver.seen, [request("COM_QUERY", "shop"), DONE, ping, DONE]);
}

#[test]
fn the_binary_log_has_no_end() {
    let mut driver = logged_in();
    driver.receive(Peer::Client, &packet(0, b"\x12\x04\0\0\0\0\0\x01\0\0\0log.1")).unwrap();
    driver.receive(Peer::Upstream, b"whatever").unwrap();
    assert!(driver.is_even() && !driver.busy && driver.machine.is_relaying());
    assert_eq!(driver.methods(), ["COM_BINLOG_DUMP"]);
}

#[test]
fn what_nobody_asked_for_is_the_server_s_last_word_or_an_error() {
    let mut driver = logged_in();
    driver.receive(Peer::Upstream, &packet(0, b"\xff\xbf\x0f#HY000idle for too long")).unwrap();
    assert_eq!(driver.seen, [Seen::Push(Some("ER_CLIENT_INTERACTION_TIMEOUT"))]);
    assert!(driver.closed);
    let mut driver = logged_in();
    assert!(driver.receive(Peer::Upstream, &ok(0, 2)).is_err());
}

#[test]
fn farewells_have_the_form_and_number_that_the_client_expects() {
    let full = Failure::new(Reason::Overloaded, "too many clients");
    let mut driver = Driver::default();
    told(driver.farewell(&full), 0, 1040, b"wiremesh UO: too many clients");
    assert_eq!(driver.farewell(&full), None, "once");

    let greeted = || {
        let mut driver = Driver::default();
        driver.receive(Peer::Upstream, &greeting(CAPS)).unwrap();
        driver
    };
    told(greeted().farewell(&draining()), 2, 1053, b"#08S01");

    let mut driver = greeted();
    driver.receive(Peer::Client, &login(1, CAPS, JOE)).unwrap();
    told(driver.farewell(&draining()), 2, 1053, b"#08S01");

    let mut driver = greeted();
    driver.receive(Peer::Client, &login(1, CAPS, JOE)).unwrap();
    driver.receive(Peer::Upstream, &packet(2, b"\xfeother\0salt\0")).unwrap();
    told(driver.farewell(&draining()), 4, 1053, b"#08S01");

    let mut driver = greeted();
    driver.receive(Peer::Client, &login(1, CAPS, JOE)).unwrap();
    driver.receive(Peer::Upstream, &packet(2, b"\xfeother\0salt\0")).unwrap();
    driver.receive(Peer::Client, &packet(3, b"hash")).unwrap();
    told(driver.farewell(&draining()), 4, 1053, b"#08S01");

    told(logged_in().farewell(&draining()), 1, 1053, b"#08S01");
    let idle = Failure::new(Reason::Timeout, "nothing was asked for too long");
    told(logged_in().farewell(&idle), 1, 4031, b"#HY000wiremesh UT");

    let query = || {
        let mut driver = logged_in();
        driver.receive(Peer::Client, &packet(0, b"\x03select 1")).unwrap();
        driver
    };
    told(query().farewell(&draining()), 1, 1053, b"#08S01");
    let mut driver = query();
    driver.receive(Peer::Upstream, &[packet(1, b"\x01"), packet(2, b"\x03def")].concat()).unwrap();
    told(driver.farewell(&draining()), 3, 1053, b"#08S01");
    let mut driver = query();
    driver.receive(Peer::Upstream, &ok(1, 2)[..6]).unwrap();
    assert_eq!(driver.farewell(&draining()), None, "in the middle of a packet");
}

#[test]
fn what_the_proxy_answers_itself_is_not_answered_again() {
    let mut driver = logged_in();
    driver.receive(Peer::Client, &packet(0, b"\x02stock")).unwrap();
    driver.refuse();
    driver.receive(Peer::Client, &packet(0, b"\x0e")).unwrap();
    driver.receive(Peer::Upstream, &ok(1, 2)).unwrap();
    let schema = "shop";
    assert_eq!(driver.seen, [request("COM_INIT_DB", schema), request("COM_PING", schema), DONE]);
}

#[test]
fn statements_have_digests_prepared_ones_too() {
    let mut driver = logged_in();
    let prepared = packet(1, b"\0\x2a\0\0\0\0\0\0\0\0\0\0");
    let steps: [(&[u8], Option<Vec<u8>>); 8] = [
        (b"\x03select a from t where b = 'secret'", Some(ok(1, 2))),
        (b"\x16delete from t where a = 7 and b = ?", Some(prepared)),
        (b"\x17\x2a\0\0\0\0\x01\0\0\0", Some(ok(1, 2))),
        (b"\x17\xff\xff\xff\xff\0\x01\0\0\0", Some(ok(1, 2))),
        (b"\x17\x2b\0\0\0\0\x01\0\0\0", Some(ok(1, 2))),
        (b"\x19\x2a\0\0\0", None),
        (b"\x17\x2a\0\0\0\0\x01\0\0\0", Some(ok(1, 2))),
        (b"\x0e", Some(ok(1, 2))),
    ];
    for (command, reply) in &steps {
        driver.receive(Peer::Client, &packet(0, command)).unwrap();
        driver.receive(Peer::Upstream, &reply.clone().unwrap_or_default()).unwrap();
    }
    let delete = "delete from t where a = ? and b = ?";
    assert_eq!(driver.digests, ["select a from t where b = ?", delete, delete]);
}

/// MariaDB's clients execute what they prepared without waiting for its id.
#[test]
fn the_last_statement_is_none_when_it_was_refused_or_closed() {
    const LAST: &[u8] = b"\x17\xff\xff\xff\xff\0\x01\0\0\0";
    let prepared = |id| packet(1, &[0, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let refused = || packet(1, b"\xff\x7a\x04#42S02no such table");
    let mut driver = logged_in();
    let steps: [(&[u8], Vec<u8>); 10] = [
        (b"\x16delete from t where b = ?", prepared(1)),
        (b"\x16select * from missing", refused()),
        (LAST, refused()),
        (b"\x17\x01\0\0\0\0\x01\0\0\0", ok(1, 2)),
        (b"\x16select b from t", prepared(2)),
        (b"\x19\x01\0\0\0", Vec::new()),
        (LAST, ok(1, 2)),
        (b"\x19\x02\0\0\0", Vec::new()),
        (LAST, refused()),
        (b"\x0e", ok(1, 2)),
    ];
    for (command, reply) in &steps {
        driver.receive(Peer::Client, &packet(0, command)).unwrap();
        driver.receive(Peer::Upstream, reply).unwrap();
    }
    assert_eq!(driver.digests, ["delete from t where b = ?", "select b from t"]);
}

#[test]
fn of_long_statements_the_beginning_counts() {
    let mut digests = Vec::new();
    for size in [1000, 20_000, 1 << 20] {
        let mut driver = logged_in();
        let query = format!("\x03insert into t values {}(1, 'x')", "(1, 'x'), ".repeat(9_000));
        for piece in packet(0, query.as_bytes()).chunks(size) {
            driver.receive(Peer::Client, piece).unwrap();
        }
        digests.extend(driver.digests);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert!(digests[0].starts_with("insert into t values (...)") && digests[0].ends_with(" ..."));
}
