//! The toys keep every rule of the kit, and each rule that should be asked of them is.

use wiremesh::kit::{Report, Rule, check, conformance};
use wiremesh_toys::{Desk, Kv, Mx, samples};

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
