//! Makes up replies, and says them as servers would to clients of any capabilities.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use wiremesh_mysql::{
    Capabilities, StatusFlags,
    reply::{OkPacket, Shape},
    wire::{put_lenenc_bytes, put_lenenc_int, put_packet},
};

/// What a status says of the session.
const LASTING: u16 = 0xa203;
/// And what it says before rows already.
const EARLY: u16 = LASTING | 0x1438;

const MORE: u16 = StatusFlags::MORE_RESULTS.0;
const CURSOR: u16 = StatusFlags::CURSOR_EXISTS.0;
const PS_OUT: u16 = StatusFlags::PS_OUT_PARAMS.0;
const STATE_CHANGED: u16 = StatusFlags::STATE_CHANGED.0;

/// A reply, whoever it is said to.
#[derive(Clone, Debug)]
pub struct Reply {
    pub shape: Shape,
    pub seq: u8,
    /// The session's before it.
    pub status: u16,
    pub said: Said,
}

#[derive(Clone, Debug)]
pub enum Said {
    Fails,
    Text,
    Ok(Ok),
    End(Ok),
    Results(Vec<Answer>),
    Rows(Vec<Vec<u8>>, Ok),
    Fields(u8, Ok),
    Prepared { columns: u8, parameters: u8, warnings: u8, early: u16 },
}

/// One of several results.
#[derive(Clone, Debug)]
pub enum Answer {
    Ok(Ok),
    End(Ok),
    /// The client is asked for a file, which it sends in so many packets.
    File(u8, Ok),
    /// `early` is the status before the rows; without an end there is an error.
    Rows {
        columns: u8,
        early: u16,
        rows: Vec<Vec<u8>>,
        end: Option<Ok>,
        out: bool,
    },
    /// Of rows that wait at a cursor.
    Cursor {
        columns: u8,
        end: Ok,
    },
    Fails,
}

/// What an OK or EOF says.
#[derive(Clone, Debug)]
pub struct Ok {
    pub affected: u64,
    pub insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    pub info: Vec<u8>,
    /// Entries, and whether clients are told of them.
    pub changes: Vec<(bool, Vec<u8>)>,
}

/// A leg.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub capabilities: Capabilities,
    pub statement: u32,
}

impl Leg {
    fn ends_with_ok(self) -> bool {
        self.capabilities.has(Capabilities::DEPRECATE_EOF)
    }

    fn tracks(self) -> bool {
        self.capabilities.has(Capabilities::SESSION_TRACK)
    }
}

/// A reply as it is said on a leg: packets, and how many a client says in between.
pub struct Spoken {
    pub segments: Vec<(BytesMut, u8)>,
    pub next_seq: u8,
    /// What was said at the end of each result.
    pub oks: Vec<OkPacket>,
    /// How many changes of the session's state were told.
    pub changes: usize,
}

/// Says a reply.
struct Speaker {
    leg: Leg,
    /// Whose words it passes on; its own, if it is the server.
    from: Leg,
    is_server: bool,
    shape: Shape,
    /// Of the session.
    status: u16,
    seq: u8,
    segments: Vec<(BytesMut, u8)>,
    oks: Vec<OkPacket>,
    changes: usize,
}

impl Reply {
    /// As the server says it.
    pub fn by_server(&self, leg: Leg) -> Spoken {
        self.speak(leg, leg, true)
    }

    /// As a client should get it from such a server.
    pub fn to_client(&self, leg: Leg, from: Leg) -> Spoken {
        self.speak(leg, from, false)
    }

    fn speak(&self, leg: Leg, from: Leg, is_server: bool) -> Spoken {
        let (shape, status, seq) = (self.shape, self.status, self.seq);
        let segments = vec![(BytesMut::new(), 0)];
        let (oks, changes) = (Vec::new(), 0);
        let mut speaker =
            Speaker { leg, from, is_server, shape, status, seq, segments, oks, changes };
        match &self.said {
            Said::Fails => speaker.fail(),
            Said::Text => speaker.packet(b"Uptime: 7  Threads: 1"),
            Said::Ok(ok) => speaker.ok(ok),
            Said::End(ok) => speaker.end(ok, false),
            Said::Results(answers) => speaker.answers(answers),
            Said::Rows(rows, end) => {
                rows.iter().for_each(|row| speaker.packet(row));
                speaker.end(end, false);
            }
            Said::Fields(columns, end) => {
                speaker.definitions(*columns);
                speaker.end(end, false);
            }
            Said::Prepared { columns, parameters, warnings, early } => {
                let mut body = vec![0];
                body.extend(leg.statement.to_le_bytes());
                body.extend([*columns, 0, *parameters, 0, 0, *warnings, 0]);
                speaker.packet(&body);
                for count in [*parameters, *columns].into_iter().filter(|count| *count > 0) {
                    speaker.definitions(count);
                    let known = (status & LASTING, u16::from(*warnings));
                    speaker.early_eof((*early, u16::from(*warnings)), known);
                }
            }
        }
        let Speaker { segments, seq, oks, changes, .. } = speaker;
        Spoken { segments, next_seq: seq, oks, changes }
    }
}

impl Speaker {
    fn packet(&mut self, body: &[u8]) {
        let (bytes, _) = self.segments.last_mut().unwrap();
        self.seq = put_packet(bytes, self.seq, body);
    }

    fn fail(&mut self) {
        self.packet(b"\xff\x28\x04#42000no");
    }

    fn definitions(&mut self, count: u8) {
        for n in 0..count {
            let mut body = b"\x03def\x04shop\x01t\x01t".to_vec();
            body.extend(vec![b'x'; usize::from(n % 7)]);
            self.packet(&body);
        }
    }

    fn eof(&mut self, status: u16, warnings: u16) {
        let mut body = BytesMut::new();
        body.put_u8(0xfe);
        body.put_u16_le(warnings);
        body.put_u16_le(status);
        self.packet(&body);
    }

    /// Behind descriptions: what a server says, and what is known otherwise.
    fn early_eof(&mut self, says: (u16, u16), known: (u16, u16)) {
        if self.leg.ends_with_ok() {
            return;
        }
        let (status, warnings) = if self.from.ends_with_ok() { known } else { says };
        self.eof(status, warnings);
    }

    fn ok(&mut self, ok: &Ok) {
        self.put_ok(0, ok);
    }

    fn end(&mut self, ok: &Ok, out: bool) {
        let mut ok = ok.clone();
        if out && (self.leg.ends_with_ok() || self.from.ends_with_ok()) {
            ok.status |= MORE | PS_OUT;
        }
        self.status = ok.status;
        if !self.leg.ends_with_ok() {
            let status = if out { ok.status | MORE | PS_OUT } else { ok.status };
            let status = StatusFlags(status);
            self.oks.push(OkPacket { status, warnings: ok.warnings, ..OkPacket::default() });
            return self.eof(ok.status, ok.warnings);
        }
        if !self.from.ends_with_ok() {
            (ok.affected, ok.insert_id) = (0, 0);
            (ok.info, ok.changes) = (Vec::new(), Vec::new());
        }
        self.put_ok(0xfe, &ok);
    }

    fn put_ok(&mut self, first: u8, ok: &Ok) {
        self.status = ok.status;
        let mut block = Vec::new();
        if self.leg.tracks() && self.from.tracks() {
            let told = ok.changes.iter().filter(|change| change.0 || self.is_server);
            self.changes += told.clone().count();
            block = told.flat_map(|change| change.1.clone()).collect();
        }
        let status = if block.is_empty() { ok.status } else { ok.status | STATE_CHANGED };
        let Ok { affected, insert_id, warnings, .. } = *ok;
        self.oks.push(OkPacket { affected, insert_id, status: StatusFlags(status), warnings });
        let mut body = BytesMut::new();
        body.put_u8(first);
        put_lenenc_int(&mut body, ok.affected);
        put_lenenc_int(&mut body, ok.insert_id);
        body.put_u16_le(status);
        body.put_u16_le(ok.warnings);
        if !ok.info.is_empty() || !block.is_empty() {
            put_lenenc_bytes(&mut body, &ok.info);
        }
        if !block.is_empty() {
            put_lenenc_bytes(&mut body, &block);
        }
        self.packet(&body);
    }

    fn answers(&mut self, answers: &[Answer]) {
        for answer in answers {
            match answer {
                Answer::Ok(ok) => self.ok(ok),
                Answer::End(ok) => self.end(ok, false),
                Answer::File(packets, ok) => {
                    self.packet(b"\xfb/tmp/file");
                    self.segments.last_mut().unwrap().1 = *packets;
                    self.segments.push((BytesMut::new(), 0));
                    self.seq = self.seq.wrapping_add(*packets);
                    self.ok(ok);
                }
                Answer::Fails => self.fail(),
                Answer::Cursor { columns, end } => {
                    self.packet(&[*columns]);
                    self.definitions(*columns);
                    self.end(end, false);
                }
                Answer::Rows { columns, early, rows, end, out } => {
                    self.packet(&[*columns]);
                    self.definitions(*columns);
                    let says = if *out { *early | MORE | PS_OUT } else { *early };
                    let seen_ahead = match self.shape {
                        Shape::Execution => rows.len() < 2,
                        _ => rows.is_empty(),
                    };
                    let known = match end {
                        Some(end) if seen_ahead => {
                            let out = if *out { MORE | PS_OUT } else { 0 };
                            ((end.status | out) & EARLY, end.warnings)
                        }
                        _ => (self.status & LASTING, 0),
                    };
                    self.status = says;
                    self.early_eof((says, 1), known);
                    rows.iter().for_each(|row| self.packet(row));
                    match end {
                        Some(end) => self.end(end, *out),
                        None => self.fail(),
                    }
                }
            }
        }
    }
}

fn entry(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u8(kind);
    put_lenenc_bytes(&mut out, data);
    out.to_vec()
}

fn variable(name: &str, value: &str) -> Vec<u8> {
    let mut data = BytesMut::new();
    put_lenenc_bytes(&mut data, name.as_bytes());
    put_lenenc_bytes(&mut data, value.as_bytes());
    entry(0, &data)
}

fn change() -> impl Strategy<Value = (bool, Vec<u8>)> {
    prop_oneof![
        4 => any::<u16>().prop_map(|n| (false, variable("statement_id", &n.to_string()))),
        2 => prop_oneof![Just("autocommit"), Just("time_zone"), Just("character_set_results")]
            .prop_map(|name| (true, variable(name, "value"))),
        1 => Just((false, variable("autocommit_", &"long ".repeat(100)))),
        1 => Just((true, entry(1, b"\x04shop"))),
        1 => Just((false, entry(2, b"\x011"))),
        1 => Just((false, entry(3, b"\0\x05uid:1"))),
        1 => Just((false, entry(4, b"\x00"))),
        1 => Just((false, entry(5, b"\x08T_______"))),
        1 => Just((false, entry(77, b"zz"))),
    ]
}

fn ok() -> impl Strategy<Value = Ok> {
    let status = any::<u16>().prop_map(|status| status & !(MORE | CURSOR | PS_OUT | STATE_CHANGED));
    let changes = prop::collection::vec(change(), 0..4);
    let info = prop_oneof![Just(0), 1..50_usize, 250..260_usize];
    (any::<[u32; 2]>(), any::<u16>(), status, info, changes).prop_map(
        |([a, b], warnings, status, info, changes)| Ok {
            affected: u64::from(a) >> (b % 32),
            insert_id: u64::from(b) << (a % 32),
            status,
            warnings,
            info: vec![b'i'; info],
            changes,
        },
    )
}

fn row() -> impl Strategy<Value = Vec<u8>> {
    // A text's length, NULL, or the beginning of a binary row.
    (prop_oneof![Just(0), 1..=250_u8, Just(0xfb), Just(0xfc), Just(0xfd)], 0..70_usize)
        .prop_map(|(first, len)| [vec![first], vec![0xfe; len]].concat())
}

fn rows(may_be_out: bool) -> impl Strategy<Value = Answer> {
    let rows = prop_oneof![
        prop::collection::vec(row(), 0..3),
        prop::collection::vec(row(), 0..20),
        prop::collection::vec(row(), 300..301),
    ];
    let early = any::<u16>().prop_map(|early| early & !(CURSOR | PS_OUT | STATE_CHANGED));
    (1..9_u8, early, rows, ok(), any::<[bool; 2]>()).prop_map(
        move |(columns, early, rows, end, [a, b])| {
            let out = may_be_out && a;
            Answer::Rows { columns, early, rows, end: (out || a || b).then_some(end), out }
        },
    )
}

fn answer(executes: bool) -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => ok().prop_map(Answer::Ok),
        1 => ok().prop_map(Answer::End),
        1 => (1..5_u8, ok()).prop_map(|(packets, ok)| Answer::File(packets, ok)),
        6 => rows(executes),
        1 => Just(Answer::Fails),
    ]
}

/// Ends where an error does, says that more follows where more does, and has an OK behind OUT parameters.
fn chain(mut answers: Vec<Answer>, last: Ok) -> Said {
    let fails = |answer: &Answer| matches!(answer, Answer::Fails | Answer::Rows { end: None, .. });
    if let Some(at) = answers.iter().position(fails) {
        answers.truncate(at + 1);
    } else {
        answers.push(Answer::Ok(last));
    }
    let count = answers.len();
    for answer in &mut answers[..count - 1] {
        match answer {
            Answer::Rows { out: true, .. } | Answer::Fails => {}
            Answer::Ok(ok) | Answer::End(ok) | Answer::File(_, ok) => ok.status |= MORE,
            Answer::Rows { end, .. } => end.as_mut().unwrap().status |= MORE,
            Answer::Cursor { .. } => unreachable!("is alone"),
        }
    }
    Said::Results(answers)
}

fn said(shape: Shape) -> BoxedStrategy<Said> {
    let said = match shape {
        Shape::Single => prop_oneof![ok().prop_map(Said::Ok), ok().prop_map(Said::End)].boxed(),
        Shape::Text => Just(Said::Text).boxed(),
        Shape::Results => (prop::collection::vec(answer(false), 1..5), ok())
            .prop_map(|(answers, last)| chain(answers, last))
            .boxed(),
        Shape::Execution => prop_oneof![
            4 => (prop::collection::vec(answer(true), 1..4), ok())
                .prop_map(|(answers, last)| chain(answers, last)),
            1 => (1..9_u8, ok()).prop_map(|(columns, mut end)| {
                end.status |= CURSOR;
                Said::Results(vec![Answer::Cursor { columns, end }])
            }),
        ]
        .boxed(),
        Shape::Rows => (prop::collection::vec(row(), 0..9), ok())
            .prop_map(|(rows, end)| Said::Rows(rows, end))
            .boxed(),
        Shape::Fields => (0..9_u8, ok()).prop_map(|(n, end)| Said::Fields(n, end)).boxed(),
        _ => (0..5_u8, 0..5_u8, any::<u8>(), any::<u16>())
            .prop_map(|(columns, parameters, warnings, early)| Said::Prepared {
                columns,
                parameters,
                warnings,
                early,
            })
            .boxed(),
    };
    prop_oneof![9 => said, 1 => Just(Said::Fails)].boxed()
}

/// A reply of any shape.
pub fn reply() -> impl Strategy<Value = Reply> {
    let shape = prop_oneof![
        1 => Just(Shape::Single),
        1 => Just(Shape::Text),
        5 => Just(Shape::Results),
        5 => Just(Shape::Execution),
        1 => Just(Shape::Rows),
        1 => Just(Shape::Fields),
        3 => Just(Shape::Prepared),
    ];
    shape.prop_flat_map(|shape| {
        (any::<u8>(), any::<u16>(), said(shape)).prop_map(move |(seq, status, said)| Reply {
            shape,
            seq,
            status,
            said,
        })
    })
}

/// A leg of any capabilities.
pub fn leg() -> impl Strategy<Value = Leg> {
    (any::<[bool; 2]>(), any::<u32>()).prop_map(|([eof, track], statement)| {
        let mut capabilities = Capabilities::PROTOCOL_41;
        for (has, flag) in
            [(eof, Capabilities::DEPRECATE_EOF), (track, Capabilities::SESSION_TRACK)]
        {
            if has {
                capabilities = capabilities | flag;
            }
        }
        Leg { capabilities, statement }
    })
}
