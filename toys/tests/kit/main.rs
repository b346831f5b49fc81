//! The kit is tested by protocols that are broken in one place: the rule for that place catches each, and no other does.

mod broken;

use broken::{Broken, FLAWS, samples};
use wiremesh::kit::{Rule, check, fuzz_decode, seeds};

/// Checks the protocol with each flaw, the numbers of which are given.
macro_rules! each {
    ($($flaw:literal)*) => {
        [$(check(&Broken::<$flaw>, &samples())),*]
    };
}

#[test]
fn each_flaw_is_caught_by_the_rule_for_it_and_by_no_other() {
    let reports = each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27);
    assert_eq!(reports.len(), FLAWS.len());
    for ((name, rule), report) in FLAWS.iter().zip(&reports) {
        assert_eq!(report.broken(), [*rule], "a protocol that {name}:\n{report}");
        let breach = &report.breaches()[0];
        let said = format!("rule {rule}, sample \"{}\", offset {}:", breach.sample, breach.offset);
        assert!(report.to_string().starts_with(&said), "{report}");
    }
}

#[test]
fn every_rule_has_a_flaw() {
    for rule in Rule::ALL {
        assert!(FLAWS.iter().any(|(_, caught_by)| *caught_by == rule), "{rule}");
    }
}

#[test]
fn without_a_flaw_every_rule_is_asked_and_kept() {
    let report = check(&Broken::<{ FLAWS.len() }>, &samples());
    assert!(report.breaches().is_empty(), "{report}");
    for rule in Rule::ALL {
        assert!(report.tried(rule) > 0, "{rule}");
    }
}

#[test]
fn a_breach_says_where() {
    let truncation = FLAWS.iter().position(|flaw| flaw.1 == Rule::Truncation).unwrap();
    assert_eq!(truncation, 2);
    let report = check(&Broken::<2>, &samples());
    let breach = &report.breaches()[0];
    assert_eq!((breach.sample.as_str(), breach.offset), ("request", 5));
}

#[test]
fn no_samples_is_a_breach() {
    let report = check(&Broken::<{ FLAWS.len() }>, &wiremesh::kit::Samples::new());
    assert_eq!(report.broken(), [Rule::Decode]);
}

#[test]
#[should_panic(expected = "broken does not conform:\nrule boundary, sample \"request\"")]
fn conformance_panics_with_the_report() {
    wiremesh::kit::conformance(Broken::<1>, &samples());
}

/// The fuzz body finds by itself what it looks for.
#[test]
fn the_fuzz_body_catches_what_it_can() {
    let caught = |fuzz: fn(&[u8])| {
        seeds(&samples()).iter().any(|seed| std::panic::catch_unwind(|| fuzz(seed)).is_err())
    };
    assert!(!caught(|seed| fuzz_decode(&Broken::<{ FLAWS.len() }>, seed)));
    for (name, caught) in [
        ("chunking", caught(|seed| fuzz_decode(&Broken::<3>, seed))),
        ("untouched", caught(|seed| fuzz_decode(&Broken::<4>, seed))),
        ("wire-len", caught(|seed| fuzz_decode(&Broken::<5>, seed))),
        ("id", caught(|seed| fuzz_decode(&Broken::<8>, seed))),
        ("header", caught(|seed| fuzz_decode(&Broken::<11>, seed))),
        ("reply", caught(|seed| fuzz_decode(&Broken::<17>, seed))),
    ] {
        assert!(caught, "{name}");
    }
}
