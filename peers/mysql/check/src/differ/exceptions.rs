//! What may differ, with the reason.

use wiremesh_mysql::StatusFlags;
use wiremesh_mysql::wire::Reader;

use super::play::Heard;
use super::script::Op;
use crate::reply::{Answer, Column, Done, Failure, Table};

/// How the proxy gets at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    Transparent,
    Pooled,
}

/// Why an answer may be another than the server's own.
struct Exception {
    /// Shown in the end.
    reason: &'static str,
    /// Takes out of what came through the proxy what differs by this reason and no other; whether there was any.
    lift: fn(&[Op], &Heard, &mut Heard) -> bool,
}

/// Nothing at all, where every byte passes.
const TRANSPARENT: &[Exception] = &[];

const POOLED: &[Exception] = &[
    Exception {
        reason: "what a connection knew that was given back is refused, not guessed",
        lift: |_, direct, through| {
            let refused = refusal(through);
            if refused {
                through.clone_from(direct);
            }
            refused
        },
    },
    Exception {
        reason: "servers say that they tell of changes, and tell none",
        lift: |_, direct, through| lift(direct, through, empty_flag),
    },
    Exception {
        reason: "an EOF put in before rows says what was known before the statement: not that more results follow, \
                 nor that a transaction has begun or ended, nor of indexes and warnings",
        lift: |_, direct, through| lift(direct, through, early_eof),
    },
    Exception {
        reason: "who sets session_track_... is told what is told by default",
        lift: |said, direct, through| {
            let kinds = tracked(said);
            !kinds.is_empty()
                && lift(direct, through, |direct, through| other_kinds(direct, through, &kinds))
        },
    },
    Exception {
        reason: "MySQL tells of a transaction's state at its begin and end although session_track_transaction_info is OFF",
        lift: |_, direct, through| {
            let state = |(kind, _): &(u8, Vec<u8>)| *kind == 5;
            lift(direct, through, |direct, through| but_for(direct, through, state))
        },
    },
    Exception {
        reason: "MariaDB 11.4 tells of a switch under the name of the one that was told of first",
        lift: |said, direct, through| {
            let switch = |(kind, told): &(u8, Vec<u8>)| {
                *kind == 0 && told.get(1..).is_some_and(|name| name.starts_with(b"autocommit"))
            };
            let sets = match said.last() {
                Some(Op::Query(text)) => {
                    text.starts_with("set foreign_key_checks") || text.starts_with("set autocommit")
                }
                _ => false,
            };
            sets && lift(direct, through, |direct, through| but_for(direct, through, switch))
        },
    },
    Exception {
        reason: "what leaves the warnings of before as they are says how many the server knows of, \
                 and of errors of the proxy's own it does not",
        lift: |said, direct, through| {
            let leaves = matches!(said.last(), Some(Op::Ping | Op::InitDb(_) | Op::SetOption(_)));
            leaves && lift(direct, through, left_warnings)
        },
    },
    Exception {
        reason: "of errors of the proxy's own about prepared statements the server does not know",
        lift: |said, direct, through| {
            let asks = matches!(said.last(), Some(Op::Query(_) | Op::Execute { .. }));
            let shown = |heard: &Heard| {
                let Ok(reply) = heard else { return false };
                reply.iter().any(|answer| match answer {
                    Answer::Rows(table) => table.rows.iter().any(|row| {
                        let text = String::from_utf8_lossy(row);
                        text.contains("Unknown prepared statement handler (")
                            || text.contains(") has no open cursor")
                    }),
                    _ => false,
                })
            };
            let lifts = asks && shown(direct) && !shown(through);
            if lifts {
                through.clone_from(direct);
            }
            lifts
        },
    },
    Exception {
        reason: "what a user variable is described as goes by the connection's past, and a statement may be prepared again",
        lift: |said, direct, through| {
            let prepared = matches!(said.last(), Some(Op::Prepare(..) | Op::Execute { .. }));
            prepared && lift(direct, through, user_variable)
        },
    },
    Exception {
        reason: "MySQL describes SHOW TABLES by what it has read of its dictionary, now and then otherwise",
        lift: |said, direct, through| {
            let shows = matches!(said.last(), Some(Op::Query(text)) if text == "show tables");
            shows && lift(direct, through, dictionary)
        },
    },
    Exception {
        reason: "MariaDB counts on from the connection's statement before in `at row N`",
        lift: |_, direct, through| lift(direct, through, row_number),
    },
    Exception {
        reason: "the variables that one statement has set are told in another order",
        lift: |_, direct, through| lift(direct, through, other_order),
    },
];

/// The reasons, where they are all that differs; `said` is what the client has said up to this answer.
pub(super) fn excepted(
    mode: Mode,
    said: &[Op],
    direct: Option<&Heard>,
    through: Option<&Heard>,
) -> Option<Vec<&'static str>> {
    let list = match mode {
        Mode::Transparent => TRANSPARENT,
        Mode::Pooled => POOLED,
    };
    let (direct, mut through) = (direct?, through?.clone());
    let lifted = list.iter().filter(|one| (one.lift)(said, direct, &mut through));
    let reasons = lifted.map(|one| one.reason).collect();
    (*direct == through).then_some(reasons)
}

/// Of each answer, where there are as many.
fn lift(direct: &Heard, through: &mut Heard, one: impl Fn(&Answer, &mut Answer) -> bool) -> bool {
    let (Ok(direct), Ok(through)) = (direct, through) else { return false };
    let alike = direct.len() == through.len();
    alike && direct.iter().zip(through).fold(false, |any, (a, b)| one(a, b) | any)
}

/// The EOF behind the columns says less than the server's, and the one behind the rows the same.
fn early_eof(direct: &Answer, through: &mut Answer) -> bool {
    /// The transaction's, which the statement may begin or end.
    const BEFORE: StatusFlags = StatusFlags::IN_TRANS.with(StatusFlags::IN_TRANS_READONLY);
    const UNKNOWN: StatusFlags = StatusFlags::MORE_RESULTS
        .with(StatusFlags::NO_INDEX)
        .with(StatusFlags::NO_GOOD_INDEX)
        .with(BEFORE);
    let (Answer::Rows(direct), Answer::Rows(through)) = (direct, through) else { return false };
    let (Some(whole), Some(known)) = (&direct.described, &mut through.described) else {
        return false;
    };
    let less = known.status | UNKNOWN == whole.status | UNKNOWN
        && known.status.without(BEFORE).without(whole.status).0 == 0
        && [0, direct.end.warnings].contains(&known.warnings);
    let said_later = direct.end.status & UNKNOWN == whole.status & UNKNOWN
        && direct.end.warnings >= whole.warnings;
    let lifts = whole != known && less && said_later && !direct.rows.is_empty();
    if lifts {
        known.clone_from(whole);
    }
    lifts
}

/// The kinds of changes of which a client has said, since its session began or was reset, whether it wants to be told.
fn tracked(said: &[Op]) -> Vec<u8> {
    let begun = said.iter().rposition(|op| matches!(op, Op::Reset | Op::ChangeUser));
    let mut kinds = Vec::new();
    for op in &said[begun.unwrap_or(0)..] {
        let Op::Query(text) = op else { continue };
        kinds.extend_from_slice(match text.strip_prefix("set session_track_") {
            Some(rest) if rest.starts_with("system_variables") => &[0_u8][..],
            Some(rest) if rest.starts_with("schema") => &[1],
            Some(rest) if rest.starts_with("state_change") => &[2],
            Some(rest) if rest.starts_with("transaction_info") => &[4, 5],
            _ => &[],
        });
    }
    kinds
}

/// What is told of other kinds is the same.
fn other_kinds(direct: &Answer, through: &mut Answer, kinds: &[u8]) -> bool {
    let (Some(direct), Some(through)) = (direct.done(), through.done_mut()) else { return false };
    let others = |done: &Done| {
        let mut changes = changes(&done.changes);
        changes.retain(|(kind, _)| !kinds.contains(kind));
        changes.sort_unstable();
        changes
    };
    let same = (&direct.changes, told(direct)) == (&through.changes, told(through));
    let lifts = !same && others(direct) == others(through);
    if lifts {
        tell(direct, through);
    }
    lifts
}

/// MariaDB has the flag where nothing can be told, too.
fn told(done: &Done) -> StatusFlags {
    done.status & StatusFlags::STATE_CHANGED
}

fn tell(direct: &Done, through: &mut Done) {
    through.status = through.status.without(StatusFlags::STATE_CHANGED) | told(direct);
    through.changes.clone_from(&direct.changes);
}

/// Such a change is told by one of them, and all others by both.
fn but_for(direct: &Answer, through: &mut Answer, extra: impl Fn(&(u8, Vec<u8>)) -> bool) -> bool {
    let (Some(direct), Some(through)) = (direct.done(), through.done_mut()) else { return false };
    let others = |done: &Done| {
        let mut changes = changes(&done.changes);
        changes.retain(|change| !extra(change));
        changes
    };
    let lifts = direct.changes != through.changes && others(direct) == others(through);
    if lifts {
        tell(direct, through);
    }
    lifts
}

/// What says how many warnings there were before it.
fn left_warnings(direct: &Answer, through: &mut Answer) -> bool {
    let (Answer::Done(direct), Answer::Done(through)) = (direct, through) else { return false };
    let lifts = direct.warnings != through.warnings;
    through.warnings = direct.warnings;
    lifts
}

fn empty_flag(direct: &Answer, through: &mut Answer) -> bool {
    let lift = |direct: &Done, through: &mut Done| {
        let lifts = direct.changes.is_empty()
            && through.changes.is_empty()
            && told(direct) != StatusFlags(0)
            && told(through) == StatusFlags(0);
        if lifts {
            through.status = through.status | told(direct);
        }
        lifts
    };
    let described = match (direct, &mut *through) {
        (Answer::Rows(direct), Answer::Rows(through)) => {
            match (&direct.described, &mut through.described) {
                (Some(direct), Some(through)) => lift(direct, through),
                _ => false,
            }
        }
        _ => false,
    };
    match (direct.done(), through.done_mut()) {
        (Some(direct), Some(through)) => lift(direct, through) | described,
        _ => described,
    }
}

/// The columns of user variables alone are described otherwise, and so in another type.
fn user_variable(direct: &Answer, through: &mut Answer) -> bool {
    let columns = |answer: &Answer| match answer {
        Answer::Rows(table) => table.columns.clone(),
        Answer::Prepared(prepared) => prepared.columns.clone(),
        _ => Vec::new(),
    };
    let is_user = |column: &Column| {
        column.names.get(4).is_some_and(|name| name.starts_with('@') && !name.starts_with("@@"))
    };
    let (of_direct, of_through) = (columns(direct), columns(through));
    let alike = |(a, b): (&Column, &Column)| a == b || is_user(a) && a.names == b.names;
    let lifts = of_direct != of_through
        && of_direct.len() == of_through.len()
        && of_direct.iter().zip(&of_through).all(alike);
    match (direct, through) {
        (Answer::Rows(direct), Answer::Rows(through)) if lifts => {
            through.columns.clone_from(&direct.columns);
            if direct.rows.len() == through.rows.len() {
                through.rows.clone_from(&direct.rows);
            }
        }
        (Answer::Prepared(direct), Answer::Prepared(through)) if lifts => {
            through.columns.clone_from(&direct.columns);
        }
        _ => return false,
    }
    true
}

/// The same rows, under the same name.
fn dictionary(direct: &Answer, through: &mut Answer) -> bool {
    let (Answer::Rows(direct), Answer::Rows(through)) = (direct, through) else { return false };
    let name = |table: &Table| table.columns.first().and_then(|one| one.names.get(4).cloned());
    let lifts = direct.columns != through.columns
        && direct.rows == through.rows
        && name(direct) == name(through);
    if lifts {
        through.clone_from(direct);
    }
    lifts
}

fn row_number(direct: &Answer, through: &mut Answer) -> bool {
    let (Answer::Error(direct), Answer::Error(through)) = (direct, through) else { return false };
    let number = |failure: &Failure| {
        let (text, row) = failure.text.rsplit_once(" at row ")?;
        row.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.to_owned())
    };
    let lifts = direct.number == through.number
        && direct.state == through.state
        && direct.text != through.text
        && number(direct).is_some_and(|text| number(through) == Some(text));
    if lifts {
        through.text.clone_from(&direct.text);
    }
    lifts
}

fn other_order(direct: &Answer, through: &mut Answer) -> bool {
    let (Some(direct), Some(through)) = (direct.done(), through.done_mut()) else { return false };
    let sorted = |done: &Done| {
        let mut changes = changes(&done.changes);
        changes.sort_unstable();
        changes
    };
    let lifts = direct.changes != through.changes && sorted(direct) == sorted(through);
    if lifts {
        through.changes.clone_from(&direct.changes);
    }
    lifts
}

/// Kinds and what is told, one by one.
fn changes(block: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut all, mut rest) = (Vec::new(), Reader::new(block));
    while let Ok(kind) = rest.u8() {
        let Ok(told) = rest.lenenc_bytes() else { break };
        all.push((kind, told.to_vec()));
    }
    all
}

fn refusal(heard: &Heard) -> bool {
    let Ok(reply) = heard else { return false };
    let failure = reply.iter().find_map(Answer::failure);
    failure.is_some_and(|one| one.number == 1105 && one.text.starts_with("wiremesh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_excepted_where_connections_are_shared() {
        let fails = |number, text: &str| -> Heard {
            let (state, text) = ("HY000".into(), text.into());
            Ok(vec![Answer::Error(Failure { number, state, text })])
        };
        let fine: Heard = Ok(vec![Answer::Done(Done::default())]);
        let refused = fails(1105, "wiremesh: the connection was given back");
        let of = |mode, through: &Heard| excepted(mode, &[], Some(&fine), Some(through));
        assert!(of(Mode::Pooled, &refused).is_some());
        assert_eq!(of(Mode::Transparent, &refused), None);
        assert_eq!(of(Mode::Pooled, &fails(1105, "something else")), None);
        assert_eq!(of(Mode::Pooled, &fails(1064, "wiremesh")), None);
        assert_eq!(excepted(Mode::Pooled, &[], Some(&fine), None), None);
    }

    #[test]
    fn eofs_before_rows_may_say_less_and_nothing_else() {
        let done =
            |status, warnings| Done { status: StatusFlags(status), warnings, ..Done::default() };
        let rows = |described, end, rows: &[&[u8]]| -> Heard {
            let rows = rows.iter().map(|row| row.to_vec()).collect();
            Ok(vec![Answer::Rows(Table {
                columns: Vec::new(),
                described: Some(described),
                rows,
                end,
            })])
        };
        let server = rows(done(0x2a, 1), done(0x2a, 1), &[b"1"]);
        let of = |through: &Heard| excepted(Mode::Pooled, &[], Some(&server), Some(through));
        for before in [2, 3] {
            // In the second there was a transaction, which the statement has ended.
            assert!(of(&rows(done(before, 0), done(0x2a, 1), &[b"1"])).is_some());
        }
        for other in [
            rows(done(0x4002, 0), done(0x2a, 1), &[b"1"]),
            rows(done(3, 0), done(0x2b, 1), &[b"1"]),
            rows(done(0, 0), done(0x2a, 1), &[b"1"]),
            rows(done(2, 2), done(0x2a, 1), &[b"1"]),
            rows(done(2, 0), done(2, 1), &[b"1"]),
            rows(done(2, 0), done(0x2a, 0), &[b"1"]),
            rows(done(2, 0), done(0x2a, 1), &[b"2"]),
        ] {
            assert_eq!(of(&other), None, "{other:?}");
        }
        let server = rows(done(0x22, 0), done(0x22, 0), &[]);
        let through = rows(done(2, 0), done(0x22, 0), &[]);
        assert_eq!(
            excepted(Mode::Pooled, &[], Some(&server), Some(&through)),
            None,
            "there it is known"
        );
    }
}
