//! What clients' libraries were recorded to say, and that each request and each reply is found where it begins and ends.

use wiremesh::{Peer, kit::Recorded};
use wiremesh_mysql::{
    Command,
    wire::{HEAD, Head},
};

use super::{
    captures::{FOLDER, conversation, pass_on},
    driver::{Driver, Seen},
};

/// One says something, however often it was read from, and whatever the other says next is about all of it.
type Turn = (Peer, Vec<u8>);

fn turns(name: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for (from, piece) in conversation(&Recorded::in_folder(FOLDER), name) {
        match turns.last_mut() {
            Some((last, said)) if *last == from => said.extend(piece),
            _ => turns.push((from, piece)),
        }
    }
    turns
}

/// The packets' numbers and bodies.
fn packets(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while let Some(head) = Head::read(bytes) {
        let (packet, rest) = bytes.split_at(HEAD + head.len);
        packets.push((packet[3], &packet[HEAD..]));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    packets
}

/// Those whose packets can be read without the codec: not compressed, not by TLS, and not up to the binary log, of which
/// nothing is followed.
fn plain() -> Vec<String> {
    let mut names = Recorded::in_folder(FOLDER).connections();
    names.retain(|name| {
        !["-zlib", "-zstd", "-tls", "-binlog"].iter().any(|unlike| name.ends_with(unlike))
    });
    names
}

fn libraries() -> Vec<String> {
    let mut names = plain();
    names.retain(|name| name.contains("-lib-"));
    names
}

/// A request is what the client numbers 0, and it is in progress up to the last byte before the next, and no further.
#[test]
fn replies_end_with_their_last_byte() {
    let mut ends = 0;
    for name in plain() {
        let turns = turns(&name);
        let mut driver = Driver::default();
        for (n, (from, said)) in turns.iter().enumerate() {
            if *from == Peer::Client {
                driver.receive(*from, said).unwrap();
                continue;
            }
            let next = turns.get(n + 1).map(|(_, next)| packets(next)[0].0);
            let (greets, ends_here) = (n == 0, next.is_none_or(|number| number == 0));
            for (at, byte) in said.iter().enumerate() {
                driver.receive(Peer::Upstream, &[*byte]).unwrap();
                let over = greets || ends_here && at + 1 == said.len();
                assert_eq!(driver.busy, !over, "{name}, turn {n}, byte {at} of {}", said.len());
            }
            ends += usize::from(ends_here && !greets);
        }
    }
    assert!(ends > 1250, "{ends}");
}

/// Whatever the pieces, what is seen is what the client's packets say.
#[test]
fn each_request_is_seen_once_and_in_its_order() {
    let names = libraries();
    assert_eq!(names.len(), SAID.len());
    for name in names {
        let whole = conversation(&Recorded::in_folder(FOLDER), &name);
        let said: Vec<u8> = whole
            .iter()
            .filter(|(from, _)| *from == Peer::Client)
            .flat_map(|(_, piece)| piece.clone())
            .collect();
        let commands = packets(&said).into_iter().filter(|(number, _)| *number == 0);
        let mut wanted = vec!["LOGIN"];
        wanted.extend(commands.map(|(_, body)| Command::of(body[0]).unwrap().name()));
        for sizes in [&[usize::MAX][..], &[1], &[3, 1, 7], &[5, 40]] {
            let driver = pass_on(&whole, sizes);
            assert_eq!(driver.methods(), wanted, "{name} in pieces of {sizes:?}");
            let pushed = driver.seen.iter().filter(|seen| matches!(seen, Seen::Push(_)));
            assert_eq!(pushed.count(), 1, "{name}: but for the greeting all was asked for");
            let silent = ["COM_STMT_CLOSE", "COM_QUIT"];
            let asked = wanted.iter().filter(|method| !silent.contains(method));
            let answered = driver.seen.iter().filter(|seen| matches!(seen, Seen::Reply { .. }));
            assert_eq!(answered.count(), asked.count(), "{name} in pieces of {sizes:?}");
        }
    }
}

const DUPLICATE: &str = "ER_DUP_ENTRY";
const MISSING: &str = "ER_NO_SUCH_TABLE";

/// Of those that prepare nothing.
const TEXT: &[&str] = &[DUPLICATE, MISSING];
/// Of those that prepare what cannot be.
const PREPARED: &[&str] = &[DUPLICATE, MISSING, MISSING];
/// Of those that then ask by text.
const AGAIN: &[&str] = &[DUPLICATE, MISSING, MISSING, MISSING];
/// Of the one that has executed by then what it prepared.
const AHEAD: &[&str] = &[DUPLICATE, MISSING, MISSING, "ER_UNKNOWN_STMT_HANDLER", MISSING];

/// Of each: how many replies have rows, the rows of all, and the errors.
const SAID: [(&str, usize, u64, &[&str]); 13] = [
    ("mariadb10-lib-mysql-async", 6, 11, PREPARED),
    ("mariadb10-lib-pymysql", 7, 12, TEXT),
    ("mariadb11-lib-mariadb-j", 7, 14, AHEAD),
    ("mariadb11-lib-mysql-async", 6, 11, PREPARED),
    ("mariadb11-lib-mysqlclient", 6, 11, TEXT),
    ("mysql8-lib-connector-j", 15, 21, AGAIN),
    ("mysql8-lib-go", 4, 9, PREPARED),
    ("mysql8-lib-mariadb-j", 6, 13, AGAIN),
    ("mysql8-lib-mysql-async", 6, 11, PREPARED),
    ("mysql8-lib-mysql2", 5, 10, PREPARED),
    ("mysql8-lib-mysqlclient", 6, 11, TEXT),
    ("mysql8-lib-pymysql", 6, 11, TEXT),
    ("mysql8-lib-sqlx", 4, 9, PREPARED),
];

#[test]
fn rows_and_errors_are_what_was_said() {
    for (name, with_rows, all_rows, errors) in SAID {
        let driver = pass_on(&conversation(&Recorded::in_folder(FOLDER), name), &[usize::MAX]);
        let mut seen = (0, 0, Vec::new());
        for reply in &driver.seen {
            if let Seen::Reply { error, rows, .. } = reply {
                seen.0 += usize::from(*rows > 0);
                seen.1 += rows;
                seen.2.extend(*error);
            }
        }
        assert_eq!(seen, (with_rows, all_rows, errors.to_vec()), "{name}");
        let who = match name.split('-').next() {
            Some("mysql8") => "sha2",
            Some("mariadb10") => "ed",
            _ => "nat",
        };
        for request in &driver.seen {
            if let Seen::Request { user, schema, method, .. } = request {
                assert_eq!(user.as_deref(), Some(who), "{name}");
                assert!(["test", "mysql"].contains(&schema.as_deref().unwrap_or("")), "{method}");
            }
        }
        // Prepared or as text, it is the same statement.
        let of = |text: &str| driver.digests.iter().filter(|digest| digest.contains(text)).count();
        assert!(of("wm_said") > 8 && of("wm_missing") > 0, "{name}: {:?}", driver.digests);
    }
}

/// It executed what the server had refused to prepare: neither that, nor what it had prepared before.
#[test]
fn what_was_refused_is_not_the_last_statement() {
    let recorded = Recorded::in_folder(FOLDER);
    let driver = pass_on(&conversation(&recorded, "mariadb11-lib-mariadb-j"), &[usize::MAX]);
    let from = driver.digests.iter().position(|digest| digest.contains("wm_missing")).unwrap();
    let wanted = ["select * from wm_missing", "select * from wm_missing where a = ?"];
    assert_eq!(driver.digests[from..from + 2], wanted);
}
