//! What MySQL's codec costs: packets, logins, finding where replies end, and a request's way through the machine of each mode.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wiremesh::{
    Credentials, Limits, Password, Peer, Protocol, User, UserSecret,
    correlation::{
        Arrival, Attachment, Handshake, Hold, Progress, Ready, SessionMachine, Sessioned,
    },
};
use wiremesh_mysql::{
    Capabilities, Mode, Mysql, MysqlFrame, Transparent,
    auth::{Channel, KeySource},
    handshake::{Attributes, ClientConfig, ClientHandshake, ClientStep, TlsWish},
    pooled::{Entrance, Place, Pooled},
    reply::{Shape, Tracker},
    wire::{Scanner, put_packet},
};

/// What both legs agree on, as libraries of today do.
const AGREED: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::SESSION_TRACK.0
        | Capabilities::DEPRECATE_EOF.0,
);

/// A reply of so many rows with so many columns, as text or binary.
fn reply(rows: usize, columns: u8, binary: bool) -> BytesMut {
    let mut out = BytesMut::new();
    let mut seq = put_packet(&mut out, 1, &[columns]);
    for _ in 0..columns {
        let column = b"\x03def\x04test\x07sbtest1\x07sbtest1\x01c\x01c\x0c\x2d\0\xe0\x01\0\0\xfe\x01\0\0\0\0";
        seq = put_packet(&mut out, seq, column);
    }
    let row = match binary {
        // Numbers of 8 bytes, behind which of them are null.
        true => {
            [vec![0; 1 + usize::from(columns + 9) / 8], vec![7; usize::from(columns) * 8]].concat()
        }
        false => b"\x0b68487932199".repeat(usize::from(columns)),
    };
    for _ in 0..rows {
        seq = put_packet(&mut out, seq, &row);
    }
    put_packet(&mut out, seq, b"\xfe\0\0\x02\0\0\0");
    out
}

fn replies() -> [(&'static str, u64, BytesMut); 6] {
    [
        ("1 row of 1 column, text", 4, reply(1, 1, false)),
        ("1 row of 1 column, binary", 4, reply(1, 1, true)),
        ("1000 rows of 1 column, text", 1003, reply(1000, 1, false)),
        ("1000 rows of 1 column, binary", 1003, reply(1000, 1, true)),
        ("1000 rows of 20 columns, text", 1022, reply(1000, 20, false)),
        ("1000 rows of 20 columns, binary", 1022, reply(1000, 20, true)),
    ]
}

/// Where packets end, and where replies do: by packets.
fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mysql packets");
    for (name, packets, reply) in replies() {
        group.throughput(Throughput::Elements(packets));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut scanner = Scanner::default();
                let (mut at, mut seen) = (0, 0);
                while let Ok(Some(packet)) = scanner.next(black_box(&reply), &mut at) {
                    seen += 1;
                    black_box(packet.first());
                }
                assert_eq!((at, seen), (reply.len(), packets));
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("mysql reply tracker");
    for (name, packets, reply) in replies() {
        let mut tracker = Tracker::new(AGREED);
        group.throughput(Throughput::Elements(packets));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                tracker.begin(Shape::Results, Some(1));
                assert_eq!(tracker.feed(black_box(&reply)).ok(), Some(reply.len()));
                assert!(tracker.is_done());
            });
        });
    }
    group.finish();
}

/// Both sides of a login, the proxy's being those of the pooled mode.
fn logins(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mysql login");
    for plugin in ["mysql_native_password", "caching_sha2_password"] {
        let mysql = pooled(plugin);
        group.bench_function(plugin, |bench| bench.iter(|| black_box(log_in(&mysql))));
    }
    group.finish();
}

fn pooled(plugin: &str) -> Mysql {
    let user = User {
        name: "joe".into(),
        secret: UserSecret::Known(Password::new("secret")),
        plugin: Some(plugin.into()),
        upstream: Credentials { user: "joe".into(), password: Password::new("secret") },
    };
    let mut mysql = Mysql { mode: Mode::Pooled, ..Mysql::default() };
    mysql.set_users(&[user]).expect("it is right");
    mysql
}

/// What follows the client that was let in.
fn log_in(mysql: &Mysql) -> Pooled {
    let mut client = ClientHandshake::new(ClientConfig {
        user: b"joe".to_vec(),
        password: Password::new("secret"),
        schema: Vec::new(),
        wanted: AGREED,
        tls: TlsWish::Off,
        channel: Channel::Open,
        keys: KeySource::Asked,
        attributes: Attributes::of([("_client_name", "bench")]),
        collation: 45,
        max_packet: 1 << 24,
        zstd_level: 3,
    });
    let mut server: Entrance = mysql.client_handshake(Arrival {
        number: 1 << 30,
        random: [7; 64],
        peer: "192.0.2.7:50123".into(),
        tls: false,
        tls_required: false,
        private: false,
    });
    let mut said = server.start(mysql);
    loop {
        let (Progress::Continue(Some(frame)) | Progress::Done(Some(frame))) = said else {
            panic!("it is let in")
        };
        let mut heard = frame.bytes();
        let mut answer = None;
        // Of caching_sha2_password the OK comes with what goes before it.
        while let [a, b, c, seq, rest @ ..] = heard {
            let len = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
            let (body, after) = rest.split_at(len);
            heard = after;
            match client.on_packet(*seq, body).expect("it is let in") {
                ClientStep::Send(packet) => answer = Some(packet),
                ClientStep::Wait => {}
                ClientStep::Done(_) => {
                    let admitted = server.into_admitted().expect("it is let in");
                    return Pooled::new(&admitted, "8.0.33");
                }
                ClientStep::StartTls(_) => panic!("there is none"),
            }
        }
        let mut answer = answer.expect("it says something");
        let frame = mysql.decode(Peer::Client, &mut (), &Limits::default(), &mut answer);
        said = server.on_frame(mysql, frame.expect("a packet").expect("all of it"));
    }
}

/// A request and its reply, in either mode.
fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mysql request and reply");
    let (query, mut text) =
        (BytesMut::from(&b"\x03SELECT c FROM sbtest1 WHERE id=4321"[..]), BytesMut::new());
    put_packet(&mut text, 0, &query);
    let (one, many) = (reply(1, 1, false), reply(1000, 1, false));
    let mut transparent = Followed::transparent();
    group.bench_function("transparent, 1 row", |bench| {
        bench.iter_batched(
            || (text.clone(), one.clone()),
            |said| transparent.asks(said),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("transparent, 1000 rows", |bench| {
        bench.iter_batched(
            || (text.clone(), many.clone()),
            |said| transparent.asks(said),
            BatchSize::SmallInput,
        );
    });
    let mut pooled = Followed::pooled();
    group.bench_function("pooled, 1 row", |bench| {
        bench.iter_batched(
            || (text.clone(), one.clone()),
            |said| pooled.asks(said),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("pooled, 1000 rows", |bench| {
        bench.iter_batched(
            || (text.clone(), many.clone()),
            |said| pooled.asks(said),
            BatchSize::SmallInput,
        );
    });
    let (mut prepare, mut prepared) = (BytesMut::new(), BytesMut::new());
    put_packet(&mut prepare, 0, b"\x16SELECT c FROM sbtest1 WHERE id=?");
    let seq = put_packet(&mut prepared, 1, &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    let column = b"\x03def\0\0\0\x01?\0\x0c\x3f\0\0\0\0\0\xfd\x80\0\0\0\0";
    let seq = put_packet(&mut prepared, seq, column);
    put_packet(&mut prepared, seq, column);
    pooled.asks((prepare, prepared));
    // A number as the one parameter.
    let (mut execute, row) = (BytesMut::new(), reply(1, 1, true));
    put_packet(&mut execute, 0, b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x03\0\xe1\x10\0\0");
    group.bench_function("pooled, prepared, 1 row", |bench| {
        bench.iter_batched(
            || (execute.clone(), row.clone()),
            |said| pooled.asks(said),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A session, and of the pooled mode the connection that it is lent for each request.
struct Followed<M> {
    mysql: Mysql,
    machine: M,
    place: Option<Place>,
}

impl Followed<Pooled> {
    fn pooled() -> Self {
        let mysql = pooled("mysql_native_password");
        let machine = log_in(&mysql);
        Self { mysql, machine, place: Some(Place::new(AGREED, b"8.0.33", 7, true, true)) }
    }
}

impl Followed<Transparent> {
    /// One that has logged in.
    fn transparent() -> Self {
        let (mysql, machine) = (Mysql::default(), Transparent::default());
        let mut followed = Self { mysql, machine, place: None };
        let caps = AGREED.0.to_le_bytes();
        let mut greeting = b"\x0a8.0.33\0\x07\0\0\0saltsalt\0".to_vec();
        greeting.extend([caps[0], caps[1], 45, 2, 0, caps[2], caps[3], 21]);
        greeting.extend([0; 10]);
        greeting.extend(b"moresaltmore\0mysql_native_password\0");
        let mut said = BytesMut::new();
        put_packet(&mut said, 0, &greeting);
        followed.hears(&mut said);
        let mut login = [&caps[..4], &[0, 0, 0, 1, 45], &[0; 23]].concat();
        login.extend(b"joe\0\x03pwdmysql_native_password\0");
        let (mut packet, mut ok) = (BytesMut::new(), BytesMut::new());
        put_packet(&mut packet, 1, &login);
        put_packet(&mut ok, 2, &[0, 0, 0, 2, 0, 0, 0]);
        followed.asks((packet, ok));
        followed
    }
}

impl<M: SessionMachine<Mysql>> Followed<M> {
    /// As a session of the proxy's does it.
    fn asks(&mut self, (mut request, mut reply): (BytesMut, BytesMut)) {
        let (mysql, limits) = (&self.mysql, Limits::default());
        let taken = self.machine.take(mysql, Peer::Client, &mut (), &limits, &mut request);
        let mut frame: MysqlFrame = taken.expect("it is right").expect("all of it");
        assert!(self.machine.on_request(mysql, &frame) == Attachment::Upstream);
        if let Some(place) = self.place.take() {
            self.machine.attach(place);
        }
        assert!(matches!(self.machine.prepare(mysql, &mut frame), Ready::Send));
        black_box(frame.bytes());
        let hold = self.hears(&mut reply);
        if self.mysql.mode == Mode::Pooled {
            assert!(matches!(hold, Some(Hold::Release { reset: None })));
            self.place = Some(self.machine.detach());
        }
    }

    /// The last that is said of the connection.
    fn hears(&mut self, said: &mut BytesMut) -> Option<Hold<Mysql>> {
        let (limits, mut hold) = (Limits::default(), None);
        while !said.is_empty() {
            let taken = self.machine.take(&self.mysql, Peer::Upstream, &mut (), &limits, said);
            let frame = taken.expect("it is right").expect("all of it");
            hold = Some(self.machine.on_reply(&self.mysql, &frame));
            black_box(frame.bytes());
        }
        hold
    }
}

criterion_group!(benches, packets, logins, requests);
criterion_main!(benches);
