use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use wiremesh::{Reason, Retry as Safety, Status};

use super::meter::{Epoch, Rate, Window};
use crate::config::{self, RetryOn};

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The proxy gave it up.
    Locally(Reason),
    /// The upstream answered so.
    Answered(Status),
}

/// A try that failed, and whether another can do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How it failed.
    pub failed: Failed,
    /// What is known of its execution. [`IfUnsent`](Safety::IfUnsent) says that it was certainly not executed.
    pub safety: Safety,
}

impl Cause {
    /// Given up by the proxy. `safety` is the caller's to say: only it knows whether the request had left.
    pub fn local(reason: Reason, safety: Safety) -> Self {
        Self { failed: Failed::Locally(reason), safety }
    }

    /// Answered by the upstream. Only one that refuses for lack of capacity says with it that it has not executed the
    /// request: a proxy that lost its own upstream half-way answers "unavailable" too.
    pub fn answer(status: Status) -> Self {
        let safety = match status {
            Status::Overloaded => Safety::IfUnsent,
            Status::Timeout | Status::Unavailable => Safety::IfIdempotent,
            Status::Ok
            | Status::AppError
            | Status::BadRequest
            | Status::Unauthenticated
            | Status::Denied
            | Status::NotFound
            | Status::Internal
            | Status::Unknown => Safety::Never,
        };
        Self { failed: Failed::Answered(status), safety }
    }
}

/// A route's retry policy.
#[derive(Debug)]
pub struct Retry {
    attempts: u32,
    on: Box<[RetryOn]>,
    idempotent: bool,
    base: Duration,
    max: Duration,
    budget: Arc<RetryBudget>,
}

impl Retry {
    /// From the configuration, with a budget of its own; `None` where it allows no retry.
    pub fn compile(config: &config::Retry) -> Option<Self> {
        if config.attempts == 0 || config.on.is_empty() {
            return None;
        }
        Some(Self {
            attempts: config.attempts,
            on: config.on.clone().into(),
            idempotent: config.idempotent,
            base: config.backoff.base.into(),
            max: config.backoff.max.into(),
            budget: Arc::new(RetryBudget::new(
                config.budget.percent.fraction(),
                config.budget.min_per_second,
            )),
        })
    }

    /// What is counted for the retries of this route. Every request is to be told to it, once.
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Takes over what an older version of this policy has counted, if their budgets are the same.
    pub fn adopt(&mut self, old: &Self) {
        if self.budget.is_like(&old.budget) {
            self.budget = old.budget.clone();
        }
    }

    /// Whether a request that has been tried `tries` times, the first included, may be tried once more. `remaining` is
    /// what is left of its time after the pause before that try; `None` without a deadline.
    ///
    /// Yes takes one retry out of the budget, so it is asked once per failure, and last. What may have been executed is
    /// tried again only where the route is idempotent.
    pub fn should_retry(
        &self,
        cause: &Cause,
        tries: u32,
        remaining: Option<Duration>,
        now: Instant,
    ) -> bool {
        let harmless = match cause.safety {
            Safety::IfUnsent => true,
            Safety::IfIdempotent => self.idempotent,
            Safety::Never => false,
        };
        harmless
            && tries <= self.attempts
            && remaining != Some(Duration::ZERO)
            && self.on.iter().any(|condition| meets(*condition, cause))
            && self.budget.take(now)
    }

    /// How long to wait before the next try of a request that has been tried `tries` times: anything from zero to a
    /// bound that doubles with every try.
    pub fn backoff(&self, tries: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.max).mul_f64(rng.f64())
    }
}

fn meets(condition: RetryOn, cause: &Cause) -> bool {
    match condition {
        RetryOn::Connect => {
            cause.safety == Safety::IfUnsent
                && matches!(
                    cause.failed,
                    Failed::Locally(Reason::ConnectFailed | Reason::UpstreamReset)
                )
        }
        RetryOn::Reset => {
            matches!(cause.failed, Failed::Locally(Reason::UpstreamReset | Reason::BadReply))
        }
        RetryOn::Timeout => matches!(
            cause.failed,
            Failed::Locally(Reason::Timeout) | Failed::Answered(Status::Timeout)
        ),
        RetryOn::Overloaded => cause.failed == Failed::Answered(Status::Overloaded),
        RetryOn::Unavailable => cause.failed == Failed::Answered(Status::Unavailable),
    }
}

/// How many retries a route may add to its traffic, so that they cannot bury an upstream that is down: a share of the
/// requests of the last ten seconds, and a few per second besides.
#[derive(Debug)]
pub struct RetryBudget {
    share: f64,
    min_per_second: u32,
    epoch: Epoch,
    requests: Window,
    retries: Window,
    /// Paces the few per second.
    reserve: Option<Rate>,
    reserve_arrival: AtomicU64,
}

impl RetryBudget {
    /// `share` is a fraction of one.
    pub fn new(share: f64, min_per_second: u32) -> Self {
        Self {
            share,
            min_per_second,
            epoch: Epoch::default(),
            requests: Window::default(),
            retries: Window::default(),
            reserve: (min_per_second > 0)
                .then(|| Rate::new(f64::from(min_per_second), min_per_second)),
            reserve_arrival: AtomicU64::new(0),
        }
    }

    /// Counts a request, at its first try.
    pub fn on_request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// Takes one retry out, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        let second = self.second(now);
        // Counted before it is compared: threads that compare at once can only take too few.
        self.retries.add(second);
        let share = self.share * self.requests.total(second) as f64;
        if self.retries.total(second) as f64 <= share {
            return true;
        }
        self.retries.take_back(second);
        let nanos = self.epoch.nanos(now);
        self.reserve.as_ref().is_some_and(|rate| rate.admit(&self.reserve_arrival, nanos))
    }

    /// How many retries the share has let through in the last ten seconds, and how many requests there were.
    pub fn recent(&self, now: Instant) -> (u64, u64) {
        let second = self.second(now);
        (self.retries.total(second), self.requests.total(second))
    }

    fn is_like(&self, other: &Self) -> bool {
        self.share == other.share && self.min_per_second == other.min_per_second
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(self.epoch.elapsed(now).as_secs()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "on: [connect, reset, timeout, overloaded, unavailable]";

    fn retry(yaml: &str) -> Retry {
        Retry::compile(&serde_saphyr::from_str(yaml).unwrap()).unwrap()
    }

    /// With a budget that does not matter.
    fn generous(settings: &str) -> Retry {
        retry(&format!("{{ {settings}, budget: {{ percent: 0, min_per_second: 1000000 }} }}"))
    }

    fn allows(retry: &Retry, cause: Cause) -> bool {
        retry.should_retry(&cause, 1, None, Instant::now())
    }

    fn every_cause() -> Vec<Cause> {
        let mut causes: Vec<_> = Status::ALL.map(Cause::answer).into();
        for reason in Reason::ALL {
            for safety in [Safety::Never, Safety::IfUnsent, Safety::IfIdempotent] {
                causes.push(Cause::local(reason, safety));
            }
        }
        causes
    }

    #[test]
    fn conditions() {
        use Safety::{IfIdempotent, IfUnsent};
        let cases = [
            (Cause::local(Reason::ConnectFailed, IfUnsent), "connect"),
            (Cause::local(Reason::UpstreamReset, IfUnsent), "connect"),
            (Cause::local(Reason::UpstreamReset, IfUnsent), "reset"),
            (Cause::local(Reason::UpstreamReset, IfIdempotent), "reset"),
            (Cause::local(Reason::BadReply, IfIdempotent), "reset"),
            (Cause::local(Reason::Timeout, IfUnsent), "timeout"),
            (Cause::local(Reason::Timeout, IfIdempotent), "timeout"),
            (Cause::answer(Status::Timeout), "timeout"),
            (Cause::answer(Status::Overloaded), "overloaded"),
            (Cause::answer(Status::Unavailable), "unavailable"),
            (Cause::local(Reason::BadReply, IfUnsent), "reset"),
        ];
        for condition in ["connect", "reset", "timeout", "overloaded", "unavailable"] {
            let retry = generous(&format!("on: [{condition}], idempotent: true"));
            for cause in every_cause() {
                let expected = cases.contains(&(cause, condition));
                assert_eq!(allows(&retry, cause), expected, "{condition} {cause:?}");
            }
        }
    }

    #[test]
    fn what_may_have_been_executed_is_not_retried() {
        let careful = generous(ALL);
        let idempotent = generous(&format!("{ALL}, idempotent: true"));
        let mut differ = 0;
        for cause in every_cause() {
            match cause.safety {
                Safety::Never => {
                    assert!(!allows(&careful, cause) && !allows(&idempotent, cause), "{cause:?}");
                }
                Safety::IfIdempotent => {
                    assert!(!allows(&careful, cause), "{cause:?}");
                    differ += u32::from(allows(&idempotent, cause));
                }
                Safety::IfUnsent => {
                    assert_eq!(allows(&careful, cause), allows(&idempotent, cause), "{cause:?}");
                }
            }
        }
        assert_eq!(differ, 5, "reset, undecodable reply, timeout; timeout or unavailable answered");
    }

    #[test]
    fn attempts_are_counted_after_the_first_try() {
        let retry = generous("attempts: 2");
        let cause = Cause::local(Reason::ConnectFailed, Safety::IfUnsent);
        let now = Instant::now();
        let allowed = [1, 2, 3].map(|tries| retry.should_retry(&cause, tries, None, now));
        assert_eq!(allowed, [true, true, false]);
    }

    #[test]
    fn no_time_no_retry() {
        let retry = generous("attempts: 2");
        let cause = Cause::local(Reason::ConnectFailed, Safety::IfUnsent);
        let now = Instant::now();
        assert!(!retry.should_retry(&cause, 1, Some(Duration::ZERO), now));
        assert!(retry.should_retry(&cause, 1, Some(Duration::from_millis(1)), now));
    }

    #[test]
    fn a_refusal_for_another_reason_leaves_the_budget() {
        let retry = retry("{ budget: { percent: 0, min_per_second: 1 } }");
        let now = Instant::now();
        assert!(!retry.should_retry(&Cause::answer(Status::Internal), 1, None, now));
        let cause = Cause::local(Reason::ConnectFailed, Safety::IfUnsent);
        let allowed = [(); 2].map(|()| retry.should_retry(&cause, 1, None, now));
        assert_eq!(allowed, [true, false]);
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let retry = generous("backoff: { base: 25ms, max: 250ms }");
        let mut rng = fastrand::Rng::with_seed(3);
        for (tries, bound) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (60, 250)] {
            let bound = Duration::from_millis(bound);
            let pauses: Vec<_> = (0..2000).map(|_| retry.backoff(tries, &mut rng)).collect();
            let longest = *pauses.iter().max().unwrap();
            assert!(longest <= bound && longest > bound.mul_f64(0.95), "{tries}: {longest:?}");
            let mean = pauses.iter().sum::<Duration>() / 2000;
            assert!(mean > bound.mul_f64(0.45) && mean < bound.mul_f64(0.55), "{tries}: {mean:?}");
        }
    }

    #[test]
    fn nothing_to_retry() {
        for yaml in ["{ attempts: 0 }", "{ on: [] }"] {
            assert!(Retry::compile(&serde_saphyr::from_str(yaml).unwrap()).is_none(), "{yaml}");
        }
    }

    #[test]
    fn budget_follows_the_traffic() {
        let budget = RetryBudget::new(0.2, 0);
        let start = Instant::now();
        assert!(!budget.take(start), "no traffic, no retries");
        for _ in 0..100 {
            budget.on_request(start);
        }
        assert_eq!((0..100).filter(|_| budget.take(start)).count(), 20);
        assert_eq!(budget.recent(start), (20, 100));
        let later = start + Duration::from_secs(10);
        assert_eq!(budget.recent(later), (0, 0));
        assert!(!budget.take(later), "what is past counts no more");
    }

    #[test]
    fn budget_of_a_quiet_route() {
        let budget = RetryBudget::new(0.2, 3);
        let start = Instant::now();
        let mut taken = 0;
        for ms in 0..10_000 {
            taken += u32::from(budget.take(start + Duration::from_millis(ms)));
        }
        assert_eq!(taken, 3 + 29, "a second's worth at once, then three a second");
    }

    #[test]
    fn budget_is_never_overdrawn() {
        for seed in 0..20 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let (share, min) = (rng.f64(), rng.u32(0..10));
            let budget = RetryBudget::new(share, min);
            let start = Instant::now();
            let (mut elapsed, mut requests, mut retries) = (Duration::ZERO, 0.0, 0.0);
            for _ in 0..20_000 {
                elapsed += Duration::from_micros(rng.u64(0..5000));
                if rng.bool() {
                    budget.on_request(start + elapsed);
                    requests += 1.0;
                } else if budget.take(start + elapsed) {
                    retries += 1.0;
                }
                // A request counts in two spans of ten seconds at most.
                let reserve = f64::from(min) * (elapsed.as_secs_f64() + 1.0);
                assert!(retries <= share * requests * 2.0 + reserve, "{retries} of {requests}");
                let (taken, seen) = budget.recent(start + elapsed);
                if elapsed.as_secs() < 10 {
                    assert!(taken as f64 <= share * seen as f64, "{taken} of {seen}");
                }
            }
        }
    }

    #[test]
    fn a_reload_keeps_the_count_of_a_budget_that_is_the_same() {
        let now = Instant::now();
        let yaml = "{ budget: { percent: 0, min_per_second: 1 } }";
        let old = retry(yaml);
        assert!(old.budget().take(now));
        let mut same = retry(yaml);
        same.adopt(&old);
        assert!(!same.budget().take(now));
        let mut changed = retry("{ budget: { percent: 0, min_per_second: 2 } }");
        changed.adopt(&old);
        assert!(changed.budget().take(now));
    }
}
