//! Connections recorded between real clients and servers, as the proxy would pass them on.

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use wiremesh::{
    Peer,
    correlation::SessionMachine,
    kit::{self, Recorded},
};
use wiremesh_mysql::Mysql;

use super::driver::{Driver, Seen};

pub const FOLDER: &str = "../../testdata/mysql";

/// Who says what, piece by piece, in the order of a recorded connection.
pub fn conversation(recorded: &Recorded, name: &str) -> Vec<(Peer, Vec<u8>)> {
    let index = fs::read_to_string(Path::new(FOLDER).join(format!("{name}.idx"))).unwrap();
    let mut pieces =
        [Peer::Client, Peer::Upstream].map(|from| recorded.pieces(name, from).into_iter());
    let from = |line: &str| if line.starts_with("c2s") { Peer::Client } else { Peer::Upstream };
    index.lines().map(|line| (from(line), pieces[from(line) as usize].next().unwrap())).collect()
}

/// The same in other pieces.
pub fn pass_on(conversation: &[(Peer, Vec<u8>)], sizes: &[usize]) -> Driver {
    let (mut driver, mut sizes) = (Driver::default(), sizes.iter().cycle());
    for (from, bytes) in conversation {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            driver.receive(*from, piece).unwrap();
            rest = after;
        }
    }
    driver
}

fn all(conversation: &[(Peer, Vec<u8>)], side: Peer) -> Vec<u8> {
    conversation.iter().filter(|said| said.0 == side).flat_map(|said| said.1.clone()).collect()
}

/// Those of which packets are not looked into after the login.
fn is_relayed(driver: &Driver) -> bool {
    driver.machine.is_relaying()
}

#[test]
fn each_reply_ends_where_the_next_request_begins() {
    let recorded = Recorded::in_folder(FOLDER);
    for name in recorded.connections() {
        let conversation = conversation(&recorded, &name);
        let mut driver = Driver::default();
        for (n, (from, piece)) in conversation.iter().enumerate() {
            let pipelined = driver.busy && !driver.machine.is_open();
            driver.receive(*from, piece).unwrap_or_else(|error| {
                panic!("{name}, piece {n} from {from:?}: {error}, after {:?}", driver.seen.last())
            });
            if *from == Peer::Client && pipelined {
                println!("{name}: piece {n} comes before the reply has ended");
            }
        }
        assert!(driver.is_even(), "{name}: {:?}", driver.input);
        assert!(!driver.busy, "{name}: {:?} was not answered", driver.seen.last());
        for side in [Peer::Client, Peer::Upstream] {
            assert!(driver.passed[side as usize] == all(&conversation, side), "{name}, {side:?}");
        }
        if name.ends_with("zlib") || name.ends_with("zstd") {
            assert!(!is_relayed(&driver) && driver.methods().contains(&"COM_QUERY"), "{name}");
        }
    }
}

#[test]
fn any_pieces_give_the_same() {
    let recorded = Recorded::in_folder(FOLDER);
    let mut runner =
        TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    for name in recorded.connections() {
        let conversation = conversation(&recorded, &name);
        let expected = pass_on(&conversation, &[usize::MAX]);
        let same = |sizes: &[usize]| {
            let driver = pass_on(&conversation, sizes);
            assert_eq!(driver.seen, expected.seen, "{name} in pieces of {sizes:?}");
            assert_eq!(driver.digests, expected.digests, "{name} in pieces of {sizes:?}");
            assert!(driver.passed == expected.passed, "{name} in pieces of {sizes:?}");
        };
        same(&[1]);
        let sizes = prop::collection::vec(1..100_usize, 1..9);
        runner
            .run(&sizes, |sizes| {
                same(&sizes);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn who_they_are_is_known() {
    let recorded = Recorded::in_folder(FOLDER);
    let mut logins = 0;
    for name in recorded.connections() {
        let driver = pass_on(&conversation(&recorded, &name), &[usize::MAX]);
        for seen in &driver.seen {
            if let Seen::Request { method, user, .. } = seen
                && method != "SSL_REQUEST"
            {
                assert!(user.as_ref().is_some_and(|user| !user.is_empty()), "{name}: {seen:?}");
                logins += usize::from(method == "LOGIN");
            }
        }
        assert!(is_relayed(&driver) || driver.methods().contains(&"LOGIN"), "{name}");
    }
    assert!(logins > 10);
}

#[test]
fn statements_are_found_behind_attributes_and_by_their_number() {
    let recorded = Recorded::in_folder(FOLDER);
    for name in recorded.connections() {
        let driver = pass_on(&conversation(&recorded, &name), &[usize::MAX]);
        for digest in &driver.digests {
            assert!(digest.starts_with(|c: char| c.is_ascii_alphabetic()), "{name}: {digest:?}");
        }
        let known = ["COM_QUERY", "COM_STMT_EXECUTE", "COM_STMT_BULK_EXECUTE", "COM_STMT_FETCH"];
        let all = driver.methods().into_iter().filter(|method| known.contains(method)).count();
        // Some handles are made up.
        assert!(driver.digests.len() + 3 >= all, "{name}: {:?}", driver.digests);
    }
}

#[test]
fn conversations_that_go_wrong_are_survived() {
    let recorded = Recorded::in_folder(FOLDER);
    let mut inputs = 0;
    for name in recorded.connections() {
        let conversation = conversation(&recorded, &name);
        let turns: Vec<_> = conversation.iter().map(|(from, said)| (*from, &said[..])).collect();
        kit::talk(&Mysql::default(), &turns);
        inputs += kit::replay_talks(&Mysql::default(), &[&turns]);
    }
    assert!(inputs > 257 * 40, "{inputs}");
}
