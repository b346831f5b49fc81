//! Cases one by one.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;
use wiremesh_mysql::{
    Capabilities,
    pooled::statements::{
        Need, Plan, PrepareReply, Prepared, PreparedLimits, Setting, Statement, StatementLimits,
        Statements,
    },
    wire::{HEAD, MAX_BODY},
};

use super::{
    client::{ATTRIBUTES, Client, Place, command, execution, packet},
    server::{Answer, Fails, LONGLONG, STRING, Value},
};

const SETTING: Setting<'static> = Setting { schema: b"shop", fingerprint: 7 };
const BULK: Capabilities = Capabilities::MARIADB_STMT_BULK;

fn digest() -> Arc<[u8]> {
    Arc::from(&b"digest"[..])
}

fn prepared(capabilities: Capabilities) -> Prepared {
    Prepared::new(capabilities, PreparedLimits::default())
}

fn reply(id: u32, parameters: u16) -> Vec<u8> {
    [&[0][..], &id.to_le_bytes(), &[1, 0], &parameters.to_le_bytes(), &[0, 0, 0]].concat()
}

/// A client that has prepared a statement there, as the server's number 500.
fn with_one(capabilities: Capabilities, place: &mut Prepared, text: &[u8], n: u16) -> Statements {
    let mut statements = Statements::new(capabilities, StatementLimits::default());
    let mut frame = packet(&[b"\x16", text].concat());
    assert_eq!(statements.on_request(&frame, &SETTING, digest, None), Need::Upstream);
    assert_eq!(statements.plan(&mut frame, &SETTING, place), Plan::Send);
    let mut body = reply(500, n);
    assert_eq!(statements.on_prepare_reply(&mut body, place), PrepareReply::Pass);
    assert_eq!(body, reply(1, n));
    statements
}

/// What is sent where this is asked for.
fn sent(statements: &mut Statements, place: &mut Prepared, body: &[u8]) -> Result<Vec<u8>, u16> {
    let mut frame = packet(body);
    match statements.on_request(&frame, &SETTING, digest, Some(place)) {
        Need::Upstream => {}
        Need::Refuse(problem) => return Err(problem.number),
        other => panic!("{other:?}"),
    }
    match statements.plan(&mut frame, &SETTING, place) {
        Plan::Send => {
            statements.on_reply(false, Default::default(), place);
            assert_eq!(frame[..HEAD], packet(&frame[HEAD..])[..HEAD]);
            Ok(frame[HEAD..].to_vec())
        }
        Plan::Refuse(problem) => Err(problem.number),
        other => panic!("{other:?}"),
    }
}

/// 500, as it stands in a packet.
const ID: [u8; 4] = [0xf4, 1, 0, 0];

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn executions_are_laid_out_anew_where_that_must_be() {
    let plain = |said: &[u8]| concat(&[b"\x17\x01\0\0\0\0\x01\0\0\0\0", said, b"\x05"]);
    let named = |said: &[u8]| concat(&[b"\x17\x01\0\0\0\x08\x01\0\0\0\x01\0", said, b"\x05"]);
    let to_plain = |said: &[u8]| concat(&[b"\x17", &ID, b"\0\x01\0\0\0\0", said, b"\x05"]);
    let to_named = |flags: &[u8], said: &[u8]| {
        concat(&[b"\x17", &ID, flags, b"\x01\0\0\0\x01\0", said, b"\x05"])
    };
    let none = Capabilities(0);

    let mut place = prepared(none);
    let mut one = with_one(none, &mut place, b"select ?", 1);
    assert_eq!(sent(&mut one, &mut place, &plain(b"\0")), Err(1835));
    let said = to_plain(b"\x01\x01\0");
    assert_eq!(sent(&mut one, &mut place, &plain(b"\x01\x01\0")), Ok(said.clone()));
    assert_eq!(sent(&mut one, &mut place, &plain(b"\0")), Ok(to_plain(b"\0")));

    let mut place = prepared(ATTRIBUTES);
    let mut one = with_one(none, &mut place, b"select ?", 1);
    let outcome = sent(&mut one, &mut place, &plain(b"\x01\x01\0"));
    assert_eq!(outcome, Ok(to_named(b"\0", b"\x01\x01\0\0")));
    assert_eq!(sent(&mut one, &mut place, &plain(b"\0")), Ok(to_named(b"\0", b"\0")));

    let mut place = prepared(ATTRIBUTES);
    let mut one = with_one(ATTRIBUTES, &mut place, b"select ?", 1);
    let outcome = sent(&mut one, &mut place, &named(b"\x01\x01\0\x01x"));
    assert_eq!(outcome, Ok(to_named(b"\x08", b"\x01\x01\0\x01x")));

    let mut place = prepared(none);
    let mut one = with_one(ATTRIBUTES, &mut place, b"select ?", 1);
    assert_eq!(sent(&mut one, &mut place, &named(b"\x01\x01\0\x01x")), Ok(said.clone()));
    assert_eq!(sent(&mut one, &mut place, &named(b"\0")), Ok(to_plain(b"\0")));
    // An attribute, which is not taken there; without its type, nowhere.
    let attribute = b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\0\x01\x01\0\0\x01\0\x01x\x05\x06";
    assert_eq!(sent(&mut one, &mut place, attribute), Ok(said));
    assert_eq!(sent(&mut one, &mut place, b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\0\0\x05"), Err(1835));
    // Fewer than there are, and too short.
    assert_eq!(sent(&mut one, &mut place, b"\x17\x01\0\0\0\x08\x01\0\0\0\0"), Err(1835));
    assert_eq!(sent(&mut one, &mut place, b"\x17\x01\0\0\0"), Err(1835));
}

#[test]
fn types_are_put_in_where_the_connection_has_others() {
    let mut first = prepared(BULK);
    let mut one = with_one(BULK, &mut first, b"insert ?, ?", 2);
    let execute = |says: &[u8]| concat(&[b"\x17\x01\0\0\0\0\x01\0\0\0\0", says, b"\x05\x06"]);
    let bulk = |flags, says: &[u8]| {
        concat(&[b"\xfa\x01\0\0\0", &[flags, 0], says, b"\0\x05\0\x06\0\x07\x01"])
    };
    let types = b"\x01\0\x01\x80";
    assert!(sent(&mut one, &mut first, &execute(&concat(&[b"\x01", types]))).is_ok());

    let mut second = prepared(BULK);
    let mut two = with_one(BULK, &mut second, b"insert ?, ?", 2);
    assert!(sent(&mut two, &mut second, &execute(b"\x01\x03\0\x03\x80")).is_ok());
    let put_in = concat(&[b"\x17", &ID, b"\0\x01\0\0\0\0\x01", types, b"\x05\x06"]);
    assert_eq!(sent(&mut one, &mut second, &execute(b"\0")), Ok(put_in));
    let as_is = concat(&[b"\x17", &ID, b"\0\x01\0\0\0\0\0\x05\x06"]);
    assert_eq!(sent(&mut one, &mut second, &execute(b"\0")), Ok(as_is));

    // Many rows at once, with types and without.
    let said = sent(&mut two, &mut second, &bulk(128, b"\x03\0\x03\x80")).unwrap();
    assert_eq!(said[1..], [&ID[..], &bulk(128, b"\x03\0\x03\x80")[5..]].concat());
    let put_in = concat(&[&[0xfa], &ID, &bulk(128, types)[5..]]);
    assert_eq!(sent(&mut one, &mut second, &bulk(0, b"")), Ok(put_in));
    assert_eq!(
        sent(&mut one, &mut second, &bulk(64, b"")),
        Ok(concat(&[&[0xfa], &ID, &bulk(64, b"")[5..]]))
    );
    let mut third = prepared(Capabilities(0));
    let mut three = with_one(Capabilities(0), &mut third, b"insert ?, ?", 2);
    assert_eq!(sent(&mut three, &mut third, &bulk(128, types)), Err(1047));
}

#[test]
fn long_executions_are_cut_anew() {
    let twice = MAX_BODY as i64 - 4;
    for (named, over) in
        [(false, -5), (false, -4), (false, -3), (false, 0), (true, -7), (false, twice)]
    {
        let capabilities = if named { ATTRIBUTES } else { Capabilities(0) };
        let mut places = [
            Place::new(capabilities, 1, 9),
            Place::new(capabilities, 1000, 9),
            Place::new(ATTRIBUTES, 2000, 9),
        ];
        let mut client = Client::new(0, named, StatementLimits::default());
        let id = client.prepare(&mut places, 0, b"insert ?, ?").unwrap();
        let values: Vec<Value> =
            [&b"a"[..], b"bc"].map(|value| (STRING, Some(value.to_vec()))).to_vec();
        let how = (false, true, Fails::No);
        assert_eq!(client.execute(&mut places, 0, id, values.clone(), &[], how, 99), None);
        // Without types, on connections that have none: what is put in does not fit any more.
        let len = usize::try_from(MAX_BODY as i64 + over).unwrap() - 22;
        let long = vec![7; len];
        let mut rest = execution(named, false, &values, &HashMap::new(), &[], false);
        rest.truncate(rest.len() - 5);
        rest.push(0xfe);
        rest.extend((len as u64).to_le_bytes());
        rest.extend(&long);
        rest.push(0);
        let all = command(0x17, id, &rest);
        for lent in [1, 2, 1] {
            let answer = client.ask(&mut places, lent, &all, 16_388);
            let Answer::Executed { values, .. } = answer else { panic!("{answer:?}") };
            assert!(values[0].1.as_ref() == Some(&long), "{over}");
            assert_eq!(values[1], (STRING, Some(Vec::new())));
        }
    }
}

#[test]
fn long_executions_are_made_shorter() {
    for over in [-2, 0, 1, 2, 3, 40_000, MAX_BODY as i64] {
        let none = Capabilities(0);
        let mut places = [Place::new(none, 1, 9), Place::new(none, 1000, 9)];
        let mut client = Client::new(0, true, StatementLimits::default());
        let id = client.prepare(&mut places, 0, b"insert ?").unwrap();
        let value = |value: &[u8]| (STRING, Some(value.to_vec()));
        let attribute = [(b"who".to_vec(), value(b"wm"))];
        for attributes in [&attribute[..], &[]] {
            let short = [value(b"a")];
            let mut rest = execution(true, false, &short, &HashMap::new(), attributes, true);
            let end = if attributes.is_empty() { 0 } else { 3 };
            let behind = rest.split_off(rest.len() - end);
            rest.truncate(rest.len() - 2);
            rest.push(0xfe);
            let len = usize::try_from(MAX_BODY as i64 + over).unwrap() - rest.len() - 13 - end;
            rest.extend((len as u64).to_le_bytes());
            rest.resize(rest.len() + len, 7);
            rest.extend(behind);
            let all = command(0x17, id, &rest);
            for lent in [0, 1] {
                let answer = client.ask(&mut places, lent, &all, 16_388);
                let Answer::Executed { values, attributes, .. } = answer else {
                    panic!("{answer:?}")
                };
                assert!(attributes.is_empty());
                assert!(values == [(STRING, Some(vec![7; len]))], "{over}");
            }
        }
    }
}

#[test]
fn bounds() {
    let limits = StatementLimits { statements: 2, bytes: 60, text: 40 };
    let mut client = Client::new(0, false, limits);
    let mut places = [Place::new(Capabilities(0), 1, 2)];
    assert_eq!(client.prepare(&mut places, 0, &[b'x'; 41]), Err(1153));
    let id = client.prepare(&mut places, 0, &[b'x'; 40]).unwrap();
    assert_eq!(client.prepare(&mut places, 0, &[b'y'; 30]), Err(1461));
    assert!(client.prepare(&mut places, 0, b"select 1").is_ok());
    assert_eq!(client.prepare(&mut places, 0, b"select 2"), Err(1461));
    client.ask(&mut places, 0, &command(0x19, id, &[]), 9);
    // What is not used any more is closed with the next that is prepared.
    for n in 0..20 {
        let id = client.prepare(&mut places, 0, format!("select {n}").as_bytes()).unwrap();
        client.ask(&mut places, 0, &command(0x19, id, &[]), 9);
        assert!(places[0].server.len() <= 3, "{n}");
        assert_eq!(places[0].prepared.len(), 2);
    }
}

#[test]
fn the_last_one_has_an_id_of_its_own() {
    let (mut place, last) = (prepared(BULK), u32::MAX);
    let mut one = with_one(BULK, &mut place, b"select 1", 0);
    let execute = command(0x17, last, &[0, 1, 0, 0, 0])[HEAD..].to_vec();
    let expected = concat(&[b"\x17", &ID, &[0, 1, 0, 0, 0]]);
    assert_eq!(sent(&mut one, &mut place, &execute), Ok(expected));
    assert_eq!(one.statement(&packet(&execute)).map(Statement::text), Some(&b"select 1"[..]));
    // One that fails is none.
    let mut frame = packet(b"\x16select");
    assert_eq!(one.on_request(&frame, &SETTING, digest, None), Need::Upstream);
    assert_eq!(one.plan(&mut frame, &SETTING, &mut place), Plan::Send);
    one.on_prepare_reply(&mut b"\xff\x28\x04#42000no".to_vec(), &mut place);
    assert_eq!(sent(&mut one, &mut place, &execute), Err(1243));
    assert_eq!(sent(&mut one, &mut place, &execute[..3]), Err(1835));
}

#[test]
fn what_cannot_be_prepared_again_is_not_executed() {
    let mut place = prepared(BULK);
    let mut one = with_one(BULK, &mut place, b"select ?", 1);
    let frame = packet(b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x01\0\x05");
    let answers: [(Vec<u8>, u16, &[u8]); 2] = [
        (b"\xff\x7a\x04#42S02no such table".to_vec(), 1146, b"no such table"),
        // It has become another.
        (reply(9, 2), 1615, b"Prepared statement needs to be re-prepared"),
    ];
    for (mut answer, number, text) in answers {
        let (mut frame, mut other) = (frame.clone(), prepared(BULK));
        assert_eq!(one.on_request(&frame, &SETTING, digest, None), Need::Upstream);
        let first = one.plan(&mut frame, &SETTING, &mut other);
        assert_eq!(first, Plan::First(packet(b"\x16select ?")));
        let PrepareReply::Refuse(problem) = one.on_prepare_reply(&mut answer, &mut other) else {
            panic!("{number}");
        };
        assert_eq!((problem.number, &problem.text[..]), (number, text));
        assert!(problem.packet(1).ends_with(text));
        let mut closes = BytesMut::new();
        other.put_closes(&mut closes);
        let expected = if number == 1615 { command(0x19, 9, &[]) } else { BytesMut::new() };
        assert_eq!(closes, expected);
    }
    let elsewhere = Setting { schema: b"attic", ..SETTING };
    let (mut frame, mut other) = (frame, prepared(BULK));
    assert_eq!(one.on_request(&frame, &elsewhere, digest, None), Need::Upstream);
    let Plan::Refuse(problem) = one.plan(&mut frame, &elsewhere, &mut other) else {
        panic!("it would be another");
    };
    assert_eq!(problem.number, 1615);
}

#[test]
fn a_request_may_go_to_another_connection_after_all() {
    let mut place = prepared(ATTRIBUTES);
    let mut one = with_one(Capabilities(0), &mut place, b"select ?", 1);
    let mut frame = packet(b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x01\0\x05");
    one.on_request(&frame, &SETTING, digest, None);
    assert_eq!(one.plan(&mut frame, &SETTING, &mut place), Plan::Send);
    one.on_failed();
    let mut other = prepared(BULK);
    assert_eq!(one.plan(&mut frame, &SETTING, &mut other), Plan::First(packet(b"\x16select ?")));
    one.on_prepare_reply(&mut reply(700, 1), &mut other);
    assert_eq!(one.plan(&mut frame, &SETTING, &mut other), Plan::Send);
    assert_eq!(frame, command(0x17, 700, b"\0\x01\0\0\0\0\x01\x01\0\x05"));

    // One that prepares, with what goes before it.
    let limits = PreparedLimits { statements: 1, bytes: 1000 };
    let mut full = Prepared::new(BULK, limits);
    let mut two = with_one(BULK, &mut full, b"select ?", 1);
    let before = packet(b"\x16select 1");
    let mut frame = before.clone();
    two.on_request(&frame, &SETTING, digest, None);
    assert_eq!(two.plan(&mut frame, &SETTING, &mut full), Plan::Send);
    assert_eq!(frame, [&command(0x19, 500, &[])[..], &before].concat());
    two.on_failed();
    assert_eq!(two.plan(&mut frame, &SETTING, &mut other), Plan::Send);
    assert_eq!(frame, before);
}

#[test]
fn nothing_is_allocated_where_only_the_id_changes() {
    for (capabilities, says) in [(Capabilities(0), true), (ATTRIBUTES, true), (BULK, false)] {
        let mut place = prepared(capabilities);
        let mut one = with_one(capabilities, &mut place, b"select ?, ?", 2);
        let values: Vec<Value> = vec![(LONGLONG, Some(vec![1; 8])), (STRING, Some(vec![2; 9]))];
        let named = capabilities == ATTRIBUTES;
        let rest = |says| execution(named, false, &values, &HashMap::new(), &[], says);
        let body = |says| command(0x17, 1, &rest(says))[HEAD..].to_vec();
        sent(&mut one, &mut place, &body(true)).unwrap();
        let mut frame = packet(&body(says));
        let allocated = allocation_counter::measure(|| {
            assert!(one.wanted(&frame) <= frame.len());
            let need = one.on_request(&frame, &SETTING, digest, Some(&place));
            assert_eq!(need, Need::Upstream);
            assert_eq!(one.plan(&mut frame, &SETTING, &mut place), Plan::Send);
            one.on_reply(false, Default::default(), &mut place);
        });
        assert_eq!(allocated.count_total, 0);
        assert_eq!(frame[HEAD + 1..][..4], ID);
    }
}
