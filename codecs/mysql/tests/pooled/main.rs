//! The pooled mode with clients and servers that are not what they should be.

mod client;
mod hostile;
mod server;

use std::{fs, path::Path};

use hostile::{Mesh, survive};
use proptest::prelude::*;

/// The flags of [`Mesh::new`]: everything in short, without attributes.
const SHORT: u8 = 0b1_0111;

const QUERY: u8 = 0;
const PREPARE: u8 = 1;
const EXECUTE: u8 = 2;

/// A client says this and is answered.
fn asks(who: u8, code: u8, which: u8) -> [u8; 2] {
    [1 | who << 3, code | which << 4]
}

/// What the checks are about takes place: one connection goes to and fro, and each executes there what it has prepared.
#[test]
fn a_connection_goes_to_and_fro() {
    let mut mesh = Mesh::new(0, SHORT);
    // `select ? /* whose it is */`
    let prepared = [asks(0, PREPARE, 2), asks(1, PREPARE, 2)];
    let executed = [asks(0, EXECUTE, 0), asks(1, EXECUTE, 0)];
    mesh.play([prepared, executed, executed].as_flattened().as_flattened());
    mesh.end();
    assert_eq!((mesh.executed, mesh.connections), (4, 1));
}

/// What a reset has dropped on the server is prepared again.
#[test]
fn a_connection_is_reset() {
    let mut mesh = Mesh::new(0, SHORT);
    let (says, error, lets_go) = ([0, QUERY], [2, 2], [7, 0]);
    mesh.play(&[asks(0, PREPARE, 2), asks(0, EXECUTE, 0), says, error, lets_go].concat());
    assert_eq!((mesh.executed, mesh.connections, mesh.resets), (1, 1, 1));
    mesh.play(&asks(0, EXECUTE, 0));
    mesh.end();
    assert_eq!((mesh.executed, mesh.connections), (2, 1));
}

/// What the fuzzer has found worth keeping, where it was used.
#[test]
fn the_corpus_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mysql_pooled");
    for file in fs::read_dir(corpus).into_iter().flatten() {
        survive(&fs::read(file.expect("an entry").path()).expect("a file"));
    }
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    let what = (0..2_u8, prop_oneof![3 => Just(0), 1 => 0..16_u8], any::<u8>());
    let step = |kind: u8| {
        what.clone().prop_map(move |(who, piece, about)| vec![kind | who << 3 | piece << 4, about])
    };
    let raw = |kind: u8| {
        let bytes = prop::collection::vec(any::<u8>(), 0..20);
        (what.clone(), bytes).prop_map(move |((who, piece, _), bytes)| {
            let len = u8::try_from(bytes.len()).expect("they are few");
            [&[kind | who << 3 | piece << 4, len], &bytes[..]].concat()
        })
    };
    prop_oneof![
        3 => step(0),
        8 => step(1),
        2 => step(2),
        3 => step(3),
        1 => raw(4),
        1 => raw(5),
        2 => step(7),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_survived(how in any::<[u8; 2]>(), steps in prop::collection::vec(step(), 0..120)) {
        survive(&[&how[..], &steps.concat()].concat());
    }
}
