//! What errors mean: one table from the server's words to the neutral vocabulary, and the proxy's own words.

use wiremesh::{Failure, Reason, Status};

/// What the text of an error says. The codes are those of `redis-server` 7.
///
/// - `NOAUTH`, `WRONGPASS`: [`Unauthenticated`](Status::Unauthenticated). `NOPERM`, and `DENIED` of the protected mode:
///   [`Denied`](Status::Denied).
/// - `BUSY` (a script runs), `OOM` (`maxmemory`), too many clients: [`Overloaded`](Status::Overloaded).
/// - `LOADING`, `MASTERDOWN`, `CLUSTERDOWN`, `NOREPLICAS`: [`Unavailable`](Status::Unavailable).
/// - `MISCONF` (it cannot save, and takes no writes): [`Internal`](Status::Internal).
/// - `ERR` with the text of an unknown command or subcommand, a wrong number of arguments, a syntax or protocol error:
///   [`BadRequest`](Status::BadRequest).
/// - All others, `WRONGTYPE` and `EXECABORT` as well as `MOVED`, `ASK`, `TRYAGAIN`, `CROSSSLOT` and `READONLY`, speak of this
///   request and not of the server's health: [`AppError`](Status::AppError).
/// - The proxy's own say which [`Reason`] they have.
pub(crate) fn of(text: &[u8]) -> Status {
    let (code, rest) = code(text);
    if let Some(status) = rest.strip_prefix(b" wiremesh ").and_then(ours) {
        return status;
    }
    match code {
        b"NOAUTH" | b"WRONGPASS" => Status::Unauthenticated,
        b"NOPERM" | b"DENIED" => Status::Denied,
        b"BUSY" | b"OOM" => Status::Overloaded,
        b"LOADING" | b"MASTERDOWN" | b"CLUSTERDOWN" | b"NOREPLICAS" => Status::Unavailable,
        b"MISCONF" => Status::Internal,
        b"ERR" => of_err(rest.get(1..).unwrap_or_default()),
        _ => Status::AppError,
    }
}

/// Whether a server that says this serves other requests well, so that it is not to be ejected: `OOM`, `MISCONF` and
/// `NOREPLICAS` refuse writes, and reads go on; `CLUSTERDOWN` is about the slots that nobody serves, or about all nodes.
pub(crate) fn is_partial(text: &[u8]) -> bool {
    matches!(code(text).0, b"OOM" | b"MISCONF" | b"NOREPLICAS" | b"CLUSTERDOWN")
}

/// The first word, and what follows.
fn code(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// The codes of errors that servers, clusters and sentinels of version 7 have.
const CODES: [&str; 34] = [
    "ASK",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "DENIED",
    "ERR",
    "EXECABORT",
    "INPROG",
    "INVALIDOBJ",
    "IOERR",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOGOODSLAVE",
    "NOGROUP",
    "NOMASTERLINK",
    "NOPERM",
    "NOPROTO",
    "NOREPLICAS",
    "NOSCRIPT",
    "NOTBUSY",
    "NOTREADY",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
    "WRONGPASS",
    "WRONGTYPE",
    "NOQUORUM",
];

/// What errors of this code are counted as: the code, `other` for those that scripts and modules make up.
pub(crate) fn class(code: &[u8]) -> &'static str {
    CODES.into_iter().find(|known| known.as_bytes() == code).unwrap_or("other")
}

fn of_err(text: &[u8]) -> Status {
    const BAD: [&[u8]; 5] = [
        b"unknown command",
        b"unknown subcommand",
        b"wrong number of arguments",
        b"syntax error",
        b"Protocol error",
    ];
    if text.starts_with(b"max number of clients") {
        Status::Overloaded
    } else if BAD.iter().any(|bad| text.starts_with(bad)) {
        Status::BadRequest
    } else {
        Status::AppError
    }
}

/// What [`text`] wrote behind `wiremesh `.
fn ours(rest: &[u8]) -> Option<Status> {
    let end = rest.iter().position(|byte| *byte == b':')?;
    let head = std::str::from_utf8(rest.get(..end)?).ok()?;
    match head.split_once(' ') {
        Some((_, status)) => Status::from_name(status),
        None => Reason::ALL.into_iter().find(|r| r.flag() == head).map(Reason::status),
    }
}

/// The text of the proxy's own error: a code that clients know, `wiremesh`, the reason's flag, the status where it is not
/// the reason's own, and the message.
pub(crate) fn text(failure: &Failure) -> String {
    let code = match failure.status {
        Status::Unauthenticated => "NOAUTH",
        Status::Denied => "NOPERM",
        Status::Overloaded => "BUSY",
        _ => "ERR",
    };
    if failure.status == failure.reason.status() {
        format!("{code} {failure}")
    } else {
        let (flag, status) = (failure.reason.flag(), failure.status);
        format!("{code} wiremesh {flag} {status}: {}", failure.message)
    }
}

#[cfg(test)]
mod tests {
    use wiremesh::Frame;

    use super::*;
    use crate::Message;

    #[test]
    fn what_is_held_against_a_server() {
        // Behind the status: whether it may lead to the server's ejection.
        for (text, status, blamed) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", Status::Overloaded, false),
            ("MISCONF Redis is configured to save RDB snapshots", Status::Internal, false),
            ("NOREPLICAS Not enough good replicas to write.", Status::Unavailable, false),
            ("CLUSTERDOWN Hash slot not served", Status::Unavailable, false),
            ("READONLY You can't write against a read only replica.", Status::AppError, false),
            ("MOVED 1 a:1", Status::AppError, false),
            ("WRONGTYPE no", Status::AppError, false),
            ("NOPERM no", Status::Denied, false),
            ("BUSY Redis is busy running a script.", Status::Overloaded, true),
            ("LOADING Redis is loading the dataset in memory", Status::Unavailable, true),
            ("MASTERDOWN Link with MASTER is down", Status::Unavailable, true),
            ("ERR max number of clients reached", Status::Overloaded, true),
            ("OOM", Status::Overloaded, false),
            ("OOMX", Status::AppError, false),
        ] {
            let message = Message::error(text);
            assert_eq!(message.status(), status, "{text}");
            let is_blamed = status.is_upstream_fault() && !message.is_partial_fault();
            assert_eq!(is_blamed, blamed, "{text}");
        }
        assert!(!Message::simple("OOM").is_partial_fault());
    }
}
