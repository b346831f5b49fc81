//! Makes up replies as a server would send them, and so knows where they end.

use bytes::BytesMut;
use proptest::prelude::*;
use wiremesh_mysql::{
    Capabilities, StatusFlags,
    reply::Shape,
    wire::{put_lenenc_bytes, put_lenenc_int, put_packet},
};

/// Flags that change the form of replies, each on or off.
const FORMS: [Capabilities; 5] = [
    Capabilities::DEPRECATE_EOF,
    Capabilities::OPTIONAL_RESULTSET_METADATA,
    Capabilities::MARIADB_CACHE_METADATA,
    Capabilities::MARIADB_PROGRESS,
    Capabilities::SESSION_TRACK,
];

/// A reply, and what is to be known of it.
#[derive(Clone, Debug)]
pub struct Reply {
    pub capabilities: Capabilities,
    pub shape: Shape,
    pub seq: u8,
    pub packets: Vec<Vec<u8>>,
    pub rows: u64,
    pub error: Option<u16>,
    pub statement: Option<u32>,
}

impl Reply {
    pub fn bytes(&self) -> BytesMut {
        let (mut out, mut seq) = (BytesMut::new(), self.seq);
        for packet in &self.packets {
            seq = put_packet(&mut out, seq, packet);
        }
        out
    }

    pub fn next_seq(&self) -> u8 {
        put_packet_count(self.seq, &self.packets)
    }

    fn has(&self, flag: Capabilities) -> bool {
        self.capabilities.has(flag)
    }

    fn push(&mut self, packet: impl Into<Vec<u8>>) {
        self.packets.push(packet.into());
    }

    fn ok(&mut self, first: u8, status: StatusFlags, seed: u64) {
        let mut body = BytesMut::new();
        body.extend_from_slice(&[first]);
        put_lenenc_int(&mut body, seed);
        put_lenenc_int(&mut body, seed.rotate_left(20));
        body.extend_from_slice(&status.0.to_le_bytes());
        body.extend_from_slice(&[3, 0]);
        if self.has(Capabilities::SESSION_TRACK) {
            put_lenenc_bytes(&mut body, b"info");
            put_lenenc_bytes(&mut body, &[1, 2, 0xfe, 0xff]);
        }
        self.push(body.to_vec());
    }

    /// What ends rows, or columns where nothing else can.
    fn end(&mut self, status: StatusFlags) {
        if self.has(Capabilities::DEPRECATE_EOF) {
            self.ok(0xfe, status, 0);
        } else {
            let status = status.0.to_le_bytes();
            self.push([0xfe, 0, 0, status[0], status[1]]);
        }
    }

    fn end_of_columns(&mut self, status: StatusFlags) {
        if !self.has(Capabilities::DEPRECATE_EOF) {
            self.end(status);
        }
    }

    fn fail(&mut self, number: u16) {
        let number_bytes = number.to_le_bytes();
        let mut body = vec![0xff, number_bytes[0], number_bytes[1]];
        body.extend(b"#42000no");
        self.push(body);
        self.error = Some(number);
    }

    fn progress(&mut self, often: bool) {
        if often && self.has(Capabilities::MARIADB_PROGRESS) {
            self.push(b"\xff\xff\xff\x01\x01\x02\x10\x27\0\x05stage".to_vec());
        }
    }

    fn columns(&mut self, count: u64) {
        for n in 0..count {
            let mut body = b"\x03def\x04shop\x01t\x01t".to_vec();
            body.extend(vec![b'x'; usize::try_from(n % 7).unwrap()]);
            self.push(body);
        }
    }
}

fn put_packet_count(seq: u8, packets: &[Vec<u8>]) -> u8 {
    let mut scratch = BytesMut::new();
    packets.iter().fold(seq, |seq, packet| {
        scratch.clear();
        put_packet(&mut scratch, seq, packet)
    })
}

/// One of a chain of results.
#[derive(Clone, Debug)]
pub enum Result {
    Ok(u64),
    Rows { columns: u64, described: bool, rows: Vec<Row>, fails: bool },
    Fails,
}

/// A row, by its first byte and its length beyond that.
#[derive(Clone, Debug)]
pub struct Row(u8, usize);

impl Row {
    fn body(&self) -> Vec<u8> {
        let mut body = vec![self.0];
        if self.0 == 0xfe {
            // A field of 16 MiB: its length takes eight bytes.
            body.extend(0x100_0000_u64.to_le_bytes());
            body.resize(9 + 0x100_0000, b'v');
        }
        body.resize(body.len() + self.1, 0xff);
        body
    }
}

fn row() -> impl Strategy<Value = Row> {
    // A text's length, NULL, or the beginning of a binary row.
    (prop_oneof![Just(0), 1..=250_u8, Just(0xfb), Just(0xfc), Just(0xfd)], 0..70_usize)
        .prop_map(|(first, len)| Row(first, len))
}

fn result() -> impl Strategy<Value = Result> {
    let columns = prop_oneof![1..9_u64, 251..260_u64];
    prop_oneof![
        3 => any::<u64>().prop_map(Result::Ok),
        5 => (columns, any::<bool>(), prop::collection::vec(row(), 0..20), any::<bool>()).prop_map(
            |(columns, described, rows, fails)| Result::Rows { columns, described, rows, fails },
        ),
        1 => Just(Result::Fails),
    ]
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    prop::collection::vec(any::<bool>(), FORMS.len()).prop_map(|on| {
        let both = FORMS.into_iter().zip(on).filter(|form| form.1);
        let set = both.fold(Capabilities::PROTOCOL_41, |set, form| set | form.0);
        // No server has both.
        match set.has(Capabilities::MARIADB_CACHE_METADATA) {
            true => set.without(Capabilities::OPTIONAL_RESULTSET_METADATA),
            false => set,
        }
    })
}

fn chain(reply: &mut Reply, results: &[Result], cursor: bool) {
    for (n, result) in results.iter().enumerate() {
        reply.progress(n % 2 == 0);
        let more = n + 1 < results.len() && !cursor;
        let status = if more { StatusFlags::MORE_RESULTS } else { StatusFlags::AUTOCOMMIT };
        match result {
            Result::Ok(seed) => reply.ok(0, status, *seed),
            Result::Fails => {
                reply.fail(1064);
                return;
            }
            Result::Rows { columns, described, rows, fails } => {
                let told = reply.has(Capabilities::OPTIONAL_RESULTSET_METADATA)
                    || reply.has(Capabilities::MARIADB_CACHE_METADATA);
                let mut head = BytesMut::new();
                put_lenenc_int(&mut head, *columns);
                if told {
                    head.extend_from_slice(&[u8::from(*described)]);
                }
                reply.push(head.to_vec());
                reply.columns(if told && !described { 0 } else { *columns });
                if cursor {
                    reply.end(StatusFlags::CURSOR_EXISTS);
                    return;
                }
                reply.end_of_columns(status);
                reply.rows += rows.len() as u64;
                for row in rows {
                    reply.push(row.body());
                }
                if *fails {
                    reply.fail(1317);
                    return;
                }
                reply.end(status);
            }
        }
        if !more {
            return;
        }
    }
}

fn prepared(reply: &mut Reply, columns: u16, parameters: u16, described: bool) {
    let mut body = b"\0\x2a\0\0\0".to_vec();
    body.extend(columns.to_le_bytes());
    body.extend(parameters.to_le_bytes());
    body.extend([0, 0, 0]);
    let told = reply.has(Capabilities::OPTIONAL_RESULTSET_METADATA);
    if told {
        body.push(described.into());
    }
    reply.push(body);
    reply.statement = Some(42);
    for count in [parameters, columns].into_iter().filter(|count| *count > 0) {
        reply.columns(if told && !described { 0 } else { count.into() });
        reply.end_of_columns(StatusFlags::AUTOCOMMIT);
    }
}

/// A reply of any shape, under any capabilities.
pub fn reply() -> impl Strategy<Value = Reply> {
    let shape = prop_oneof![
        1 => Just(Shape::Single),
        1 => Just(Shape::Text),
        5 => Just(Shape::Results),
        5 => Just(Shape::Execution),
        1 => Just(Shape::Rows),
        1 => Just(Shape::Fields),
        3 => Just(Shape::Prepared),
        1 => Just(Shape::Login),
    ];
    let results = prop::collection::vec(result(), 1..5);
    (capabilities(), shape, any::<u8>(), results, any::<[u8; 3]>()).prop_map(
        |(capabilities, shape, seq, results, [a, b, c])| {
            let (packets, error, statement) = (Vec::new(), None, None);
            let mut reply = Reply { capabilities, shape, seq, packets, rows: 0, error, statement };
            let fails = a > 200;
            match shape {
                Shape::Results => chain(&mut reply, &results, false),
                Shape::Execution => chain(&mut reply, &results, a > 200),
                Shape::Prepared if !fails => {
                    prepared(&mut reply, u16::from(a % 5), u16::from(b % 5), c > 80);
                }
                Shape::Login => {
                    for _ in 0..a % 3 {
                        reply.push(b"\x01\x04".to_vec());
                    }
                    if b > 100 {
                        // To another plugin; alone: to that of before 4.1.
                        reply.push(if c > 100 {
                            b"\xfeplugin\0salt\0".to_vec()
                        } else {
                            vec![0xfe]
                        });
                    }
                    if c > 200 { reply.fail(1045) } else { reply.ok(0, StatusFlags::AUTOCOMMIT, 0) }
                }
                _ if fails => reply.fail(1046),
                Shape::Text => reply.push(b"Uptime: 7  Threads: 1".to_vec()),
                Shape::Rows => {
                    reply.rows = u64::from(b % 9);
                    for n in 0..b % 9 {
                        reply.push(vec![0; usize::from(n) + 1]);
                    }
                    reply.end(StatusFlags::LAST_ROW_SENT);
                }
                Shape::Fields => {
                    reply.columns(u64::from(b % 9));
                    reply.end(StatusFlags::AUTOCOMMIT);
                }
                _ if b > 128 => reply.end(StatusFlags::AUTOCOMMIT),
                _ => reply.ok(0, StatusFlags::IN_TRANS, u64::from(c) << 40),
            }
            reply
        },
    )
}

/// Rows of text, one of which is of 16 MiB.
pub fn with_a_huge_row(capabilities: Capabilities) -> Reply {
    let rows = vec![Row(5, 5), Row(0xfe, 0), Row(0xfb, 3), Row(0xfe, 0x00ff_fff5), Row(1, 1)];
    let result = Result::Rows { columns: 1, described: true, rows, fails: false };
    let (packets, error, statement) = (Vec::new(), None, None);
    let shape = Shape::Results;
    let mut reply = Reply { capabilities, shape, seq: 1, packets, rows: 0, error, statement };
    chain(&mut reply, &[result.clone(), Result::Ok(7)], false);
    reply
}
