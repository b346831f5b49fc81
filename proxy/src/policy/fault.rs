use std::time::Duration;

use wiremesh::{Failure, Reason, Status};

use crate::config;

/// Failures made on purpose, to see how callers take them.
#[derive(Clone, Debug)]
pub struct Fault {
    delay: Option<(f64, Duration)>,
    abort: Option<(f64, Status)>,
}

/// What one request gets. A delay comes first, then the abort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultDecision {
    /// How long to hold it back.
    pub delay: Option<Duration>,
    /// What to answer in the upstream's place.
    pub abort: Option<Failure>,
}

impl Fault {
    /// From the configuration; `None` where it does nothing.
    pub fn compile(config: &config::Fault) -> Option<Self> {
        let delay = config.delay.as_ref().map(|d| (d.percent.fraction(), d.duration.into()));
        let abort = config.abort.as_ref().map(|a| (a.percent.fraction(), *a.status));
        let fault = Self {
            delay: delay.filter(|(share, _)| *share > 0.0),
            abort: abort.filter(|(share, _)| *share > 0.0),
        };
        (fault.delay.is_some() || fault.abort.is_some()).then_some(fault)
    }

    /// What the next request gets. Delay and abort are drawn independently.
    pub fn decide(&self, rng: &mut fastrand::Rng) -> FaultDecision {
        let delay = self.delay.filter(|(share, _)| rng.f64() < *share).map(|(_, length)| length);
        let abort = self.abort.filter(|(share, _)| rng.f64() < *share).map(|(_, status)| Failure {
            status,
            ..Failure::new(Reason::Fault, "fault injected by configuration")
        });
        FaultDecision { delay, abort }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(yaml: &str) -> Option<Fault> {
        Fault::compile(&serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn nothing_configured() {
        for yaml in ["{}", "{ delay: { percent: 0, duration: 1s } }"] {
            assert!(fault(yaml).is_none(), "{yaml}");
        }
    }

    #[test]
    fn always() {
        let fault = fault(
            "{ delay: { percent: 100, duration: 5ms }, abort: { percent: 100, status: not_found } }",
        );
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let decision = fault.as_ref().unwrap().decide(&mut rng);
            assert_eq!(decision.delay, Some(Duration::from_millis(5)));
            let abort = decision.abort.unwrap();
            assert_eq!((abort.reason, abort.status), (Reason::Fault, Status::NotFound));
        }
    }

    #[test]
    fn shares_are_kept_and_independent() {
        let fault = fault(
            "{ delay: { percent: 10, duration: 5ms }, abort: { percent: 50, status: internal } }",
        );
        let fault = fault.unwrap();
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut delayed, mut aborted, mut both) = (0, 0, 0);
        for _ in 0..100_000 {
            let FaultDecision { delay, abort } = fault.decide(&mut rng);
            delayed += u32::from(delay.is_some());
            aborted += u32::from(abort.is_some());
            both += u32::from(delay.is_some() && abort.is_some());
        }
        assert!((9_500..10_500).contains(&delayed), "{delayed}");
        assert!((49_000..51_000).contains(&aborted), "{aborted}");
        assert!((4_600..5_400).contains(&both), "{both}");
    }
}
