//! Where replies end: of every shape, under every capability, in any pieces.

mod model;

use proptest::prelude::*;
use wiremesh::DecodeError;
use wiremesh_mysql::{
    Capabilities, Command, StatusFlags,
    reply::{Outcome, Shape, Tracker},
    wire::Head,
};

use self::model::{Reply, reply, with_a_huge_row};

/// What follows a reply, none of which is its: it begins like a row, an end and an error.
const AFTER: &[u8] = b"\x05\0\0\x07\xfe\0\0\0\0\xff\xff";

/// Feeds the reply and [`AFTER`] in pieces of these lengths in turn, up to the reply's end, and answers how much was its.
fn follow(tracker: &mut Tracker, reply: &Reply, pieces: &[usize]) -> Result<usize, DecodeError> {
    let mut bytes = reply.bytes().to_vec();
    bytes.extend_from_slice(AFTER);
    tracker.begin(reply.shape, Some(reply.seq));
    let (mut taken, mut pieces) = (0, pieces.iter().cycle());
    while !tracker.is_done() && taken < bytes.len() {
        assert_eq!(tracker.has_begun(), taken > 0);
        let end = bytes.len().min(taken.saturating_add(*pieces.next().unwrap()));
        let fed = tracker.feed(&bytes[taken..end])?;
        assert!(tracker.is_done() || fed == end - taken, "only what follows the end is left");
        taken += fed;
    }
    Ok(taken)
}

fn check(reply: &Reply, pieces: &[usize]) {
    let mut tracker = Tracker::new(reply.capabilities);
    let taken = follow(&mut tracker, reply, pieces).unwrap();
    assert_eq!((taken, tracker.is_done()), (reply.bytes().len(), true));
    assert_eq!(tracker.next_seq(), Some(reply.next_seq()));
    let Outcome { rows, error, statement, .. } = *tracker.outcome();
    let error = error.map(|error| error.number);
    assert_eq!((rows, error, statement), (reply.rows, reply.error, reply.statement));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn end_where_the_model_says(reply in reply(), pieces in prop::collection::vec(1..200usize, 1..12)) {
        check(&reply, &pieces);
        check(&reply, &[usize::MAX]);
        check(&reply, &[1]);
    }

    #[test]
    fn anything_else_is_an_error_or_wants_more(
        reply in reply(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        pieces in prop::collection::vec(1..200usize, 1..12),
    ) {
        let mut bytes = reply.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let outcomes = [&pieces[..], &[usize::MAX]].map(|pieces| {
            let mut tracker = Tracker::new(reply.capabilities);
            tracker.begin(reply.shape, Some(reply.seq));
            let (mut taken, mut pieces) = (0, pieces.iter().cycle());
            while taken < bytes.len() && !tracker.is_done() {
                let end = bytes.len().min(taken.saturating_add(*pieces.next().unwrap()));
                match tracker.feed(&bytes[taken..end]) {
                    Ok(fed) => taken += fed,
                    Err(error) => return Err(error),
                }
            }
            Ok((taken, tracker.is_done(), *tracker.outcome()))
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }
}

#[test]
fn rows_that_begin_like_an_end() {
    for flags in [Capabilities::DEPRECATE_EOF, Capabilities(0)] {
        let reply = with_a_huge_row(flags);
        check(&reply, &[usize::MAX]);
        check(&reply, &[1_000_003]);
    }
}

#[test]
fn gaps_are_malformed() {
    let what = "sequence number";
    let reply = with_a_huge_row(Capabilities(0));
    let bytes = reply.bytes();
    for seq in [0, 2, 255] {
        let mut tracker = Tracker::new(reply.capabilities);
        tracker.begin(reply.shape, Some(seq));
        assert_eq!(tracker.feed(&bytes), Err(DecodeError::Malformed { what }));
    }
    let mut tracker = Tracker::new(reply.capabilities);
    tracker.begin(reply.shape, None);
    assert!(tracker.feed(&bytes).is_ok() && tracker.is_done());
}

/// Packets with consecutive numbers from 1 on.
fn packets(bodies: &[&[u8]]) -> Vec<u8> {
    packets_from(1, bodies)
}

fn packets_from(seq: u8, bodies: &[&[u8]]) -> Vec<u8> {
    let numbered = (seq..).zip(bodies);
    numbered
        .flat_map(|(seq, body)| [&Head { len: body.len(), seq }.bytes(), *body].concat())
        .collect()
}

fn tracker(flags: Capabilities, shape: Shape) -> Tracker {
    let mut tracker = Tracker::new(flags);
    tracker.begin(shape, Some(1));
    tracker
}

#[test]
fn a_file_is_asked_for_in_between() {
    let mut tracker = tracker(Capabilities(0), Shape::Results);
    let asked = packets(&[b"\xfb/tmp/file"]);
    assert_eq!(tracker.feed(&asked), Ok(asked.len()));
    assert!(tracker.wants_file() && tracker.is_between_packets());
    // Two packets of the client's, the last of them empty.
    tracker.expect(Some(4));
    let answer = packets_from(4, &[b"\0\x03\0\x0a\0\0\0"]);
    assert_eq!(tracker.feed(&answer), Ok(answer.len()));
    assert!(!tracker.is_done(), "the status says that there is more");
    let last = packets_from(5, &[b"\0\x02\0\x02\0\0\0"]);
    assert_eq!(tracker.feed(&last), Ok(last.len()));
    assert!(tracker.is_done());
    assert_eq!((tracker.outcome().affected, tracker.outcome().results), (5, 2));
}

#[test]
fn out_parameters_are_one_more_result() {
    let end = b"\xfe\0\0\x08\0";
    let out = b"\xfe\0\0\x08\x10";
    let column = b"\x03def";
    let all = packets(&[
        b"\x01",
        column,
        end,
        b"\0\0a",
        end,
        b"\x01",
        column,
        out,
        b"\0\0b",
        out,
        b"\0\0\0\x02\0\0\0",
    ]);
    let mut mariadb = tracker(Capabilities(0), Shape::Execution);
    assert_eq!(mariadb.feed(&all), Ok(all.len()));
    assert!(mariadb.is_done() && mariadb.outcome().results == 3 && mariadb.outcome().rows == 2);
    // Of MySQL only what is before the rows says what follows them.
    let last = b"\xfe\0\0\x02\0";
    let all = packets(&[b"\x01", column, out, b"\0\0b", last, b"\0\0\0\x02\0\0\0"]);
    let mut mysql = tracker(Capabilities(0), Shape::Execution);
    assert_eq!(mysql.feed(&all), Ok(all.len()));
    assert!(mysql.is_done() && mysql.outcome().results == 2 && mysql.outcome().rows == 1);
}

#[test]
fn a_cursor_counts_only_where_one_can_be_opened() {
    let all = packets(&[b"\x01", b"\x03def", b"\xfe\0\0\x40\0", b"\0\0a", b"\xfe\0\0\x80\0"]);
    let mut execution = tracker(Capabilities(0), Shape::Execution);
    assert!(execution.feed(&all).is_ok_and(|fed| fed < all.len()) && execution.is_done());
    let status = execution.outcome().ok.map(|ok| ok.status);
    assert_eq!(status, Some(StatusFlags::CURSOR_EXISTS));
    let mut query = tracker(Capabilities(0), Shape::Results);
    assert!(query.feed(&all) == Ok(all.len()) && query.is_done());
}

#[test]
fn reports_of_progress_are_no_errors_where_they_were_agreed_on() {
    let report = packets(&[b"\xff\xff\xff\x01\x01\x02\x10\x27\0\x05stage"]);
    let mut agreed = tracker(Capabilities::MARIADB_PROGRESS, Shape::Results);
    assert!(agreed.feed(&report) == Ok(report.len()) && !agreed.is_done());
    let mut not = tracker(Capabilities(0), Shape::Results);
    assert!(not.feed(&report) == Ok(report.len()) && not.is_done());
}

#[test]
fn what_is_no_reply_is_malformed() {
    let malformed = |shape, body: &[u8]| {
        let error = tracker(Capabilities(0), shape).feed(&packets(&[body]));
        assert!(
            matches!(error, Err(DecodeError::Malformed { .. })),
            "{shape:?} {body:?}: {error:?}"
        );
    };
    for shape in [Shape::Single, Shape::Results, Shape::Execution, Shape::Prepared] {
        malformed(shape, b"");
        malformed(shape, b"\xff");
        malformed(shape, b"\0");
    }
    malformed(Shape::Single, b"\x01");
    malformed(Shape::Results, b"\xfd\0\0\x01");
    malformed(Shape::Login, b"\0\0");
}

#[test]
fn shapes_of_commands() {
    let none = [Command::Quit, Command::StmtSendLongData, Command::StmtClose];
    for (command, name) in Command::ALL {
        assert_eq!(Shape::of(Some(command)) == Shape::None, none.contains(&command), "{name}");
    }
    assert_eq!(Shape::of(None), Shape::Single);
    assert_eq!(Shape::of(Some(Command::BinlogDumpGtid)), Shape::Relay);
    let mut relay = tracker(Capabilities(0), Shape::Relay);
    assert!(relay.feed(b"anything") == Ok(8) && !relay.is_done() && !relay.is_between_packets());
}

#[test]
fn a_statement_may_be_answered_by_an_end_alone() {
    for (flags, end) in [
        (Capabilities(0), &b"\xfe\0\0\x02\0"[..]),
        (Capabilities::DEPRECATE_EOF, b"\xfe\0\0\x02\0\0\0"),
    ] {
        let mut tracker = tracker(flags, Shape::Results);
        assert!(tracker.feed(&packets(&[end])).is_ok() && tracker.is_done());
        let status = tracker.outcome().ok.map(|ok| ok.status);
        assert_eq!(status, Some(StatusFlags::AUTOCOMMIT));
    }
}
