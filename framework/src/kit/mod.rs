//! What a protocol's author gets from a handful of samples: a conformance test, a fuzz target, a benchmark.
//!
//! ```ignore
//! let samples = Samples::new()
//!     .client("add", b"\0\0\0\x07\0\x05\x03addhi")
//!     .foreign("http", b"GET / HTTP/1.1\r\n");
//! wiremesh::kit::conformance(MyProtocol::default(), &samples);
//! ```
//!
//! What a protocol lacks (headers, heartbeats, ids) is not asked of it; which rules were kept, and how often each was
//! tried, is in the [`Report`] that [`check`] gives.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "runs in tests only, where a panic is a failed test"
)]

#[cfg(feature = "bench")]
mod bench;
mod fuzz;
mod fuzz_mux;
mod probe;
mod recorded;
mod report;
mod rules;
mod samples;
mod shape;
mod talk;

#[cfg(feature = "bench")]
pub use bench::bench;
pub use fuzz::{fuzz_decode, replay, seeds};
pub use fuzz_mux::fuzz_mux;
pub use recorded::{Decoder, Recorded};
pub use report::{Breach, Report, Rule};
pub use samples::{Sample, Samples};
pub use shape::Shape;
pub use talk::{fuzz_talk, replay_talks, talk};

use crate::Protocol;

/// Checks every [`Rule`] that applies to the protocol, on every sample.
///
/// # Panics
///
/// When a rule is broken, saying which, by which sample, and at what offset.
#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "one line in the author's test")]
pub fn conformance<P>(protocol: P, samples: &Samples)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let report = check(&protocol, samples);
    assert!(report.breaches().is_empty(), "{} does not conform:\n{report}", P::NAME);
}

/// As [`conformance`], with the result in hand.
pub fn check<P>(protocol: &P, samples: &Samples) -> Report
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let mut report = Report::default();
    rules::check(protocol, samples, &mut report);
    report
}
