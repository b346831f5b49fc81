use std::time::{Duration, Instant};

use wiremesh::Frame;

use super::Route;

/// Changes of a timeout below this are not worth an edit of the frame.
const GRAIN: Duration = Duration::from_millis(1);

impl Route {
    /// When the request that came at `now` must have been answered: by the route's timeout or the request's own, the
    /// earlier one. `None` where neither has one.
    pub fn deadline(&self, request: &dyn Frame, now: Instant) -> Option<Instant> {
        sooner(self.timeout, request.timeout()).and_then(|timeout| now.checked_add(timeout))
    }

    /// When a try that begins at `now` must have been answered, given the request's deadline.
    pub fn try_deadline(&self, deadline: Option<Instant>, now: Instant) -> Option<Instant> {
        sooner(self.try_timeout.and_then(|timeout| now.checked_add(timeout)), deadline)
    }
}

/// Tells the upstream how much time is left until `deadline`: that of the try, which is never later than the request's.
///
/// A request that says the same already, give or take a millisecond, stays as it is. What is left is never said to be
/// less than a millisecond, since zero means "for ever" in some protocols.
pub fn pass_on_timeout(request: &mut dyn Frame, deadline: Option<Instant>, now: Instant) {
    let Some(deadline) = deadline else { return };
    let left = deadline.saturating_duration_since(now).max(GRAIN);
    if request.timeout().is_none_or(|own| own.abs_diff(left) >= GRAIN) {
        request.set_timeout(left);
    }
}

fn sooner<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Request, *};
    use crate::{config, policy::RouteTable};

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn with_route(timeout: Option<u64>, try_timeout: Option<u64>, check: impl Fn(&Route)) {
        let route = config::Route {
            timeout: timeout.map(config::Duration::from_millis),
            try_timeout: try_timeout.map(config::Duration::from_millis),
            ..config::Route::to_cluster("r", "c")
        };
        let table = RouteTable::compile(&[route]).unwrap();
        check(table.routes().next().unwrap());
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let now = Instant::now();
        let cases = [
            (None, None, None),
            (Some(3000), None, Some(3000)),
            (None, Some(500), Some(500)),
            (Some(3000), Some(500), Some(500)),
            (Some(300), Some(500), Some(300)),
        ];
        for (route, own, expected) in cases {
            with_route(route, None, |route| {
                let request = Request::with_timeout(own.map(ms));
                assert_eq!(route.deadline(&request, now), expected.map(|n| now + ms(n)));
            });
        }
    }

    #[test]
    fn an_endless_timeout_is_none() {
        with_route(None, None, |route| {
            let request = Request::with_timeout(Some(Duration::MAX));
            assert_eq!(route.deadline(&request, Instant::now()), None);
        });
    }

    #[test]
    fn a_try_ends_with_the_request() {
        let now = Instant::now();
        with_route(None, Some(1000), |route| {
            assert_eq!(route.try_deadline(None, now), Some(now + ms(1000)));
            assert_eq!(route.try_deadline(Some(now + ms(10)), now), Some(now + ms(10)));
            assert_eq!(route.try_deadline(Some(now + ms(3000)), now), Some(now + ms(1000)));
        });
        with_route(None, None, |route| {
            assert_eq!(route.try_deadline(None, now), None);
            assert_eq!(route.try_deadline(Some(now + ms(7)), now), Some(now + ms(7)));
        });
    }

    #[test]
    fn what_is_left_is_passed_on() {
        let now = Instant::now();
        let cases = [
            // own, left, passed on, edits
            (None, None, None, 0),
            (Some(500), None, Some(500), 0),
            (None, Some(300), Some(300), 1),
            (Some(500), Some(300), Some(300), 1),
            (Some(500), Some(500), Some(500), 0),
            (Some(500), Some(499), Some(499), 1),
            (Some(500), Some(0), Some(1), 1),
        ];
        for (own, left, passed, edits) in cases {
            let mut request = Request::with_timeout(own.map(ms));
            pass_on_timeout(&mut request, left.map(|n| now + ms(n)), now);
            assert_eq!((request.timeout, request.timeouts_set), (passed.map(ms), edits), "{own:?}");
        }
        let mut request = Request::with_timeout(Some(ms(500)));
        pass_on_timeout(&mut request, Some(now + ms(500)), now + Duration::from_micros(900));
        assert_eq!(request.timeouts_set, 0, "below a millisecond the frame stays as it came");
    }

    #[test]
    fn a_deadline_in_the_past_leaves_a_millisecond() {
        let now = Instant::now();
        let mut request = Request::with_timeout(Some(ms(500)));
        pass_on_timeout(&mut request, Some(now), now + ms(20));
        assert_eq!(request.timeout, Some(ms(1)));
    }
}
