//! The rules, by what they look at.

mod edits;
mod framing;
mod hostile;
mod ids;
mod limits;
mod opening;
mod replies;

use super::{Report, Rule, Samples, Shape, probe::Parsed};
use crate::Protocol;

/// The name that stands for all samples together, or none of them.
const ALL_SAMPLES: &str = "(all)";

pub(super) fn check<P>(protocol: &P, samples: &Samples, report: &mut Report)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let mut parsed = Vec::new();
    for sample in samples.own() {
        let outcome = Parsed::new(protocol, sample).map(|it| parsed.push(it));
        let offset = outcome.as_ref().map_or_else(|error| error.0, |()| 0);
        report.note(Rule::Decode, &sample.name, offset, outcome.map_err(|error| error.1));
    }
    if samples.own().is_empty() {
        report.note(Rule::Decode, ALL_SAMPLES, 0, Err("there are no samples".to_owned()));
    }
    opening::check::<P>(samples, report);
    for sample in &parsed {
        framing::check(protocol, sample, report);
        limits::check(protocol, sample, report);
        ids::check(protocol, sample, report);
        edits::check(protocol, sample, report);
        replies::check(protocol, samples, sample, report);
    }
    edits::check_support(protocol, &parsed, report);
    replies::check_probes(protocol, &parsed, report);
    hostile::check(protocol, &parsed, report);
}
