//! The toys keep every rule of the kit, and each rule that should be asked of them is.

use wiremesh::{
    Peer, Status,
    kit::{Report, Rule, check, conformance, replay_talks, talk},
};
use wiremesh_toys::{Call, Desk, Kv, Mx, end_to_end::packet, samples};

#[test]
fn multiplexed_conforms() {
    conformance(Mx, &samples::mx());
}

#[test]
fn inorder_conforms() {
    conformance(Kv, &samples::kv());
}

#[test]
fn session_conforms() {
    conformance(Desk::default(), &samples::desk());
}

#[test]
fn end_to_end_conforms() {
    conformance(Call, &samples::call());
}

#[test]
fn what_is_said_end_to_end_may_come_in_any_pieces() {
    let said = |packets: &[(u8, &str)]| -> Vec<u8> {
        let said =
            packets.iter().map(|(code, text)| packet(*code, Status::Ok, text.as_bytes()).bytes);
        said.flatten().collect()
    };
    let long = "x".repeat(3000);
    let turns = [
        (Peer::Upstream, said(&[(b'G', "welcome")])),
        (Peer::Client, said(&[(b'L', "me"), (b'P', "my word"), (b'P', ""), (b'Q', "ROWS 2")])),
        (Peer::Upstream, said(&[(b'W', "your word?")])),
        (Peer::Upstream, said(&[(b'I', "")])),
        (Peer::Upstream, said(&[(b'R', "row"), (b'R', &long), (b'T', "")])),
        (Peer::Client, said(&[(b'N', &long), (b'Q', &long)])),
        (Peer::Upstream, said(&[(b'W', "")])),
        (Peer::Client, said(&[(b'P', &long), (b'P', "")])),
        (Peer::Upstream, said(&[(b'I', "")])),
        (Peer::Client, said(&[(b'T', ""), (b'X', "what"), (b'Q', "ever")])),
        (Peer::Upstream, said(&[(b'I', &long), (b'!', "")])),
    ];
    let turns: Vec<_> = turns.iter().map(|(from, said)| (*from, &said[..])).collect();
    talk(&Call, &turns);
    assert!(replay_talks(&Call, &[&turns, &turns[..5], &turns[5..9]]) > 500);
}

fn not_asked(report: &Report) -> Vec<Rule> {
    Rule::ALL.into_iter().filter(|rule| report.tried(*rule) == 0).collect()
}

#[test]
fn only_what_a_protocol_lacks_is_not_asked_of_it() {
    assert_eq!(not_asked(&check(&Mx, &samples::mx())), [Rule::Trace]);
    assert_eq!(not_asked(&check(&Kv, &samples::kv())), [Rule::Id, Rule::Trace, Rule::GoAway]);
    let desk = check(&Desk::default(), &samples::desk());
    let lacks = [Rule::Detect, Rule::Foreign, Rule::Id, Rule::Trace, Rule::Heartbeat, Rule::GoAway];
    assert_eq!(not_asked(&desk), lacks);
}
