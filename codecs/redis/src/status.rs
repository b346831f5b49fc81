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
    let (code, rest) = match text.iter().position(|byte| *byte == b' ') {
        Some(at) => text.split_at_checked(at).unwrap_or((text, &[])),
        None => (text, &[][..]),
    };
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
