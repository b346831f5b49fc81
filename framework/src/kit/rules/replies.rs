use std::collections::BTreeSet;

use crate::{
    Failure, Frame, Kind, Peer, Protocol, Reason, Status,
    kit::{
        Report, Rule, Samples, Shape,
        probe::{Parsed, decode_one, encode},
        rules::ALL_SAMPLES,
    },
};

/// An id that probes are sent under, of any width.
const ID: u64 = 0x4d;

/// Every failure that there is, and messages that a careless encoder trips over.
fn failures() -> impl Iterator<Item = Failure> {
    let reasons = Reason::ALL.into_iter().map(|reason| Failure::new(reason, "no luck"));
    let statuses = Status::ALL
        .into_iter()
        .map(|status| Failure { status, ..Failure::new(Reason::Direct, "gone fishing") });
    let messages = ["", "two\r\nlines\n", "\u{fc}\u{1f41f}\0", &"long ".repeat(20_000)]
        .map(|message| Failure::new(Reason::Timeout, message.to_owned()));
    reasons.chain(statuses).chain(messages)
}

pub(super) fn check<P>(protocol: &P, samples: &Samples, parsed: &Parsed<'_, P>, report: &mut Report)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    for piece in &parsed.pieces {
        if piece.facts.kind != Kind::Request {
            continue;
        }
        let head = protocol.head(&piece.frame);
        for failure in failures() {
            let Some(reply) = protocol.reply(&head, &failure) else { continue };
            let want = samples.reads_as.get(&failure.status).copied().unwrap_or(failure.status);
            let outcome = decode_one(protocol, Peer::Upstream, &encode(protocol, &reply))
                .and_then(|reply| {
                    if (reply.kind(), reply.status()) != (Kind::Response, want) {
                        let (kind, status) = (reply.kind(), reply.status());
                        return Err(format!("arrives as {kind:?} {status}, not as {want}"));
                    }
                    P::Correlation::answers(protocol, &piece.frame, &reply)
                })
                .map_err(|problem| {
                    let message: String = failure.message.chars().take(40).collect();
                    let (reason, status) = (failure.reason, failure.status);
                    format!("the reply to {reason:?}, {status}, {message:?} {problem}")
                });
            report.note(Rule::Reply, &parsed.sample.name, piece.at.start, outcome);
        }
    }
}

/// Heartbeats and go-aways: in every lane there is, and what the samples hold of them.
pub(super) fn check_probes<P>(protocol: &P, all: &[Parsed<'_, P>], report: &mut Report)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let mut lanes = BTreeSet::new();
    for parsed in all {
        for piece in &parsed.pieces {
            lanes.insert(protocol.lane(&piece.frame));
            if piece.facts.kind == Kind::Heartbeat {
                let outcome = answered(protocol, parsed.sample.from, &piece.frame);
                report.note(Rule::Heartbeat, &parsed.sample.name, piece.at.start, outcome);
            }
        }
    }
    for lane in lanes {
        if let Some(probe) = protocol.heartbeat(lane) {
            report.note(Rule::Heartbeat, ALL_SAMPLES, 0, heartbeat(protocol, lane, probe));
        }
        if let Some(frame) = protocol.go_away(lane) {
            let bytes = encode(protocol, &frame);
            for from in [Peer::Client, Peer::Upstream] {
                let outcome = decode_one(protocol, from, &bytes)
                    .and_then(|frame| expect_kind(frame.kind(), Kind::GoAway))
                    .map_err(|problem| format!("in lane {lane}, from {from:?}, {problem}"));
                report.note(Rule::GoAway, ALL_SAMPLES, 0, outcome);
            }
        }
    }
}

fn heartbeat<P>(protocol: &P, lane: u32, mut probe: P::Frame) -> Result<(), String>
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let in_lane = protocol.lane(&probe);
    if in_lane != lane {
        return Err(format!("the probe of lane {lane} is one of lane {in_lane}"));
    }
    P::Correlation::set_id(protocol, &mut probe, ID);
    let arrived = decode_one(protocol, Peer::Client, &encode(protocol, &probe))
        .map_err(|problem| format!("the probe of lane {lane} {problem}"))?;
    // Where replies come in order, a request that is always answered will do.
    if P::Correlation::ID_BITS.is_none() && arrived.kind() == Kind::Request {
        return Ok(());
    }
    expect_kind(arrived.kind(), Kind::Heartbeat)?;
    answered(protocol, Peer::Client, &arrived)
}

/// Whether the probe that `from` sent has an answer that its sender knows as one.
fn answered<P>(protocol: &P, from: Peer, probe: &P::Frame) -> Result<(), String>
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let Some(answer) = protocol.heartbeat_reply(probe) else {
        return Err("has no answer".to_owned());
    };
    let back = if from == Peer::Client { Peer::Upstream } else { Peer::Client };
    let arrived = decode_one(protocol, back, &encode(protocol, &answer))
        .map_err(|problem| format!("its answer {problem}"))?;
    expect_kind(arrived.kind(), Kind::HeartbeatReply)?;
    P::Correlation::answers(protocol, probe, &arrived)
}

fn expect_kind(got: Kind, want: Kind) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("arrives as {got:?}, not as {want:?}")) }
}
