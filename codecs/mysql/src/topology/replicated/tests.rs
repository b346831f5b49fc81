use bytes::{Bytes, BytesMut};
use wiremesh::{Limits, Peer, Protocol};

use super::*;
use crate::wire::{put_lenenc_bytes, put_packet};

/// The columns that matter, under both names, among others.
const NEW: [&str; 5] = [
    "Replica_IO_State",
    "Source_Host",
    "Replica_IO_Running",
    "Replica_SQL_Running",
    "Seconds_Behind_Source",
];
const OLD: [&str; 5] = [
    "Slave_IO_State",
    "Master_Host",
    "Slave_IO_Running",
    "Slave_SQL_Running",
    "Seconds_Behind_Master",
];

fn frames(packets: &[Vec<u8>]) -> Vec<MysqlFrame> {
    let mut bytes = BytesMut::new();
    for (seq, packet) in (1_u8..).zip(packets) {
        put_packet(&mut bytes, seq, packet);
    }
    let mut frames = Vec::new();
    let mysql = Mysql::default();
    while let Some(frame) =
        mysql.decode(Peer::Upstream, &mut (), &Limits::default(), &mut bytes).expect("well-formed")
    {
        frames.push(frame);
    }
    assert!(bytes.is_empty());
    frames
}

fn text(out: &mut Vec<u8>, text: &str) {
    let mut bytes = BytesMut::new();
    put_lenenc_bytes(&mut bytes, text.as_bytes());
    out.extend_from_slice(&Bytes::from(bytes));
}

/// A text result as servers send it that were not asked for anything newer.
fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Vec<MysqlFrame> {
    let mut packets = vec![vec![u8::try_from(columns.len()).expect("few")]];
    for name in columns {
        let mut definition = Vec::new();
        ["def", "", "", "", name, ""].iter().for_each(|it| text(&mut definition, it));
        definition.extend([0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        packets.push(definition);
    }
    packets.push(vec![0xfe, 0, 0, 2, 0]);
    for row in rows {
        let mut packet = Vec::new();
        for field in *row {
            match field {
                Some(field) => text(&mut packet, field),
                None => packet.push(0xfb),
            }
        }
        packets.push(packet);
    }
    packets.push(vec![0xfe, 0, 0, 2, 0]);
    frames(&packets)
}

fn error(number: u16) -> Vec<MysqlFrame> {
    let [low, high] = number.to_le_bytes();
    frames(&[[&[0xff, low, high][..], b"#42000no"].concat()])
}

/// What a server tells of the variables. 8.0.33 and 10.11 have these names, and the latter no `super_read_only`.
fn variables(read_only: &str) -> Vec<MysqlFrame> {
    let all: [&[_]; 2] =
        [&[Some("innodb_read_only"), Some("OFF")], &[Some("read_only"), Some(read_only)]];
    rows(&["Variable_name", "Value"], &all)
}

/// The two answers about replication of a server that knows both names.
fn status(io: &str, sql: &str, lag: Option<&str>) -> Vec<MysqlFrame> {
    let row: &[_] = &[Some("Waiting"), Some("a"), Some(io), Some(sql), lag];
    [rows(&NEW, &[row]), rows(&OLD, &[row])].concat()
}

fn none() -> Vec<MysqlFrame> {
    [rows(&NEW, &[]), rows(&OLD, &[])].concat()
}

fn machine() -> Replicated {
    Replicated::new("mon".into(), Password::default(), 10)
}

fn learn(
    machine: &mut Replicated,
    asked: &str,
    answers: &[Vec<MysqlFrame>],
) -> Result<Found, String> {
    let all = answers.concat();
    // As the proxy asks: an answer is over where it is over, and not before.
    let mut rest = &all[..];
    while !rest.is_empty() {
        let len = (1..=rest.len()).find(|len| machine.is_answered(&rest[..*len]));
        rest = &rest[len.expect("it ends")..];
    }
    machine.learn(asked, &all)
}

fn primary() -> [Vec<MysqlFrame>; 2] {
    [variables("OFF"), none()]
}

fn replica() -> [Vec<MysqlFrame>; 2] {
    [variables("ON"), status("Yes", "Yes", Some("0"))]
}

fn shards(primary: Option<&str>, replicas: &[&str]) -> Option<Result<Shards, String>> {
    let replicas = replicas.iter().map(|it| (*it).to_owned()).collect();
    let shard = Shard { primary: primary.map(Into::into), replicas };
    Some(Ok(Shards { shards: vec![shard], slots: vec![] }))
}

#[test]
fn the_one_that_takes_writes_is_the_primary() {
    let mut all = machine();
    assert_eq!(learn(&mut all, "c:1", &replica()), Ok(Found::Ask(vec![])));
    assert_eq!(learn(&mut all, "b:1", &primary()), Ok(Found::Ask(vec![])));
    assert_eq!(learn(&mut all, "a:1", &replica()), Ok(Found::Ask(vec![])));
    all.unanswered("d:1");
    assert_eq!(all.conclude(), shards(Some("b:1"), &["a:1", "c:1"]));
}

#[test]
fn any_kind_of_read_only_is() {
    for value in ["ON", "1", "NO_LOCK", "NO_LOCK_NO_ADMIN"] {
        let mut all = machine();
        learn(&mut all, "a:1", &[variables(value), none()]).expect("an answer");
        assert_eq!(all.conclude(), shards(None, &[]), "{value}");
    }
    let mut all = machine();
    learn(&mut all, "a:1", &[variables("0"), none()]).expect("an answer");
    assert_eq!(all.conclude(), shards(Some("a:1"), &[]));
}

#[test]
fn replicas_that_are_behind_or_have_stopped_are_left_out() {
    let cases = [
        ("Yes", "Yes", Some("10"), true),
        ("Yes", "Yes", Some("11"), false),
        ("Yes", "Yes", None, false),
        ("Connecting", "Yes", None, false),
        ("No", "Yes", Some("0"), false),
        ("Yes", "No", None, false),
    ];
    for (io, sql, lag, in_step) in cases {
        let mut all = machine();
        learn(&mut all, "a:1", &primary()).expect("an answer");
        learn(&mut all, "b:1", &[variables("ON"), status(io, sql, lag)]).expect("an answer");
        let replicas: &[&str] = if in_step { &["b:1"] } else { &[] };
        assert_eq!(all.conclude(), shards(Some("a:1"), replicas), "{io} {sql} {lag:?}");
    }
}

#[test]
fn of_several_sources_none_may_be_behind() {
    let row = |lag| [Some("Waiting"), Some("a"), Some("Yes"), Some("Yes"), Some(lag)];
    for (lags, in_step) in [(["0", "1"], true), (["0", "60"], false)] {
        let (one, two) = (row(lags[0]), row(lags[1]));
        let both = rows(&NEW, &[&one, &two]);
        let mut all = machine();
        learn(&mut all, "b:1", &[variables("ON"), both, error(1064)]).expect("an answer");
        assert_eq!(all.conclude(), shards(None, if in_step { &["b:1"] } else { &[] }));
    }
}

#[test]
fn servers_that_know_one_of_the_names_only() {
    let row: &[_] = &[Some("Waiting"), Some("a"), Some("Yes"), Some("Yes"), Some("3")];
    for answers in [[rows(&NEW, &[row]), error(1064)], [error(1064), rows(&OLD, &[row])]] {
        let mut all = machine();
        learn(&mut all, "a:1", &[&[variables("ON")], &answers[..]].concat()).expect("an answer");
        assert_eq!(all.conclude(), shards(None, &["a:1"]));
    }
}

#[test]
fn two_primaries_and_none() {
    let mut all = machine();
    learn(&mut all, "b:1", &primary()).expect("an answer");
    learn(&mut all, "a:1", &primary()).expect("an answer");
    let why = "more than one server takes writes: a:1, b:1; set read_only on all but one";
    assert_eq!(all.conclude(), Some(Err(why.into())));

    let mut all = machine();
    learn(&mut all, "b:1", &replica()).expect("an answer");
    assert_eq!(all.conclude(), shards(None, &["b:1"]));

    // Nobody knows what the other is now.
    let mut all = machine();
    learn(&mut all, "b:1", &replica()).expect("an answer");
    all.unanswered("a:1");
    assert_eq!(all.conclude(), Some(Err("all servers that answer are read-only".into())));

    let mut all = machine();
    all.unanswered("a:1");
    assert_eq!(all.conclude(), None);
}

#[test]
fn what_makes_no_sense_is_said() {
    let learn = |answers: &[Vec<MysqlFrame>]| learn(&mut machine(), "a:1", answers);
    let why = learn(&[variables("ON"), error(1227), error(1227)]).expect_err("no privilege");
    assert!(why.contains("REPLICATION CLIENT"), "{why}");
    assert!(learn(&[error(1227), none()]).is_err());
    assert!(learn(&[rows(&["Variable_name", "Value"], &[]), none()]).is_err());
    assert!(learn(&[variables("ON")]).is_err());
    assert!(learn(&[frames(&[vec![0, 0, 0, 2, 0, 0, 0]]), none()]).is_err());
    // A column that is not there, a row that is cut, an answer without an end.
    assert!(learn(&[frames(&[vec![0xfb]])]).is_err());
    let mut cut = variables("ON");
    cut[4] = frames(&[vec![9, b'x']]).remove(0);
    assert!(learn(&[cut, none()]).is_err());
    let mut endless = variables("ON");
    let end = endless.pop().expect("its end");
    let row = endless[5].clone();
    endless.extend(std::iter::repeat_n(row, 2000));
    assert!(answer::len(&endless).is_some_and(|len| len <= 1024));
    endless.push(end);
    assert!(machine().learn("a:1", &endless).is_err());
}
