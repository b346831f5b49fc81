//! What may differ, with the reason.

use super::play::Heard;
use super::script::Op;
use crate::reply::Answer;

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
    applies: fn(Option<&Op>, &Heard, &Heard) -> bool,
}

/// Nothing at all, where every byte passes.
const TRANSPARENT: &[Exception] = &[];

const POOLED: &[Exception] = &[Exception {
    reason: "what a connection knew that was given back is refused, not guessed",
    applies: |_, _, through| refusal(through),
}];

/// The reason, where there is one.
pub(super) fn excepted(
    mode: Mode,
    op: Option<&Op>,
    direct: Option<&Heard>,
    through: Option<&Heard>,
) -> Option<&'static str> {
    let list = match mode {
        Mode::Transparent => TRANSPARENT,
        Mode::Pooled => POOLED,
    };
    let (direct, through) = (direct?, through?);
    list.iter().find(|one| (one.applies)(op, direct, through)).map(|one| one.reason)
}

fn refusal(heard: &Heard) -> bool {
    let Ok(reply) = heard else { return false };
    let failure = reply.iter().find_map(Answer::failure);
    failure.is_some_and(|one| one.number == 1105 && one.text.starts_with("wiremesh"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Done, Failure};

    #[test]
    fn refusals_are_excepted_where_connections_are_shared() {
        let fails = |number, text: &str| -> Heard {
            let (state, text) = ("HY000".into(), text.into());
            Ok(vec![Answer::Error(Failure { number, state, text })])
        };
        let fine: Heard = Ok(vec![Answer::Done(Done::default())]);
        let refused = fails(1105, "wiremesh: the connection was given back");
        let of = |mode, through: &Heard| excepted(mode, None, Some(&fine), Some(through));
        assert!(of(Mode::Pooled, &refused).is_some());
        assert_eq!(of(Mode::Transparent, &refused), None);
        assert_eq!(of(Mode::Pooled, &fails(1105, "something else")), None);
        assert_eq!(of(Mode::Pooled, &fails(1064, "wiremesh")), None);
        assert_eq!(excepted(Mode::Pooled, None, Some(&fine), None), None);
    }
}
