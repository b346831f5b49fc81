use std::{fmt, net::IpAddr, sync::Arc};

use wiremesh::{Failure, Frame};

/// A user's own station, in process. Shared by all workers and called on the data path: it must not block.
///
/// ```
/// use wiremesh::{Failure, Frame, Reason};
/// use wiremesh_proxy::policy::{Filter, Verdict};
///
/// /// Lets nobody delete anything.
/// struct NoDelete;
///
/// impl Filter for NoDelete {
///     fn on_request(&self, request: &mut dyn Frame) -> Verdict {
///         match request.method().as_deref() {
///             Some("delete") => Verdict::Reply(Failure::new(Reason::Denied, "nothing is deleted here")),
///             _ => Verdict::Continue,
///         }
///     }
/// }
/// ```
pub trait Filter: Send + Sync {
    /// A client has connected. A reply here closes the connection.
    fn on_connection(&self, _peer: &PeerInfo<'_>) -> Verdict {
        Verdict::Continue
    }

    /// A request has arrived, and no route was chosen yet.
    fn on_request(&self, _request: &mut dyn Frame) -> Verdict {
        Verdict::Continue
    }

    /// A response, the upstream's or the proxy's own, is about to leave.
    fn on_response(&self, _response: &mut dyn Frame) {}
}

/// A client, as a filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo<'a> {
    /// Its address; `None` over Unix sockets.
    pub ip: Option<IpAddr>,
    /// The name of the listener that it connected to.
    pub listener: &'a str,
}

/// What a filter has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next station.
    Continue,
    /// This is the answer.
    Reply(Failure),
}

/// Filters, one after the other.
#[derive(Clone, Default)]
pub struct Filters(Option<Arc<[Box<dyn Filter>]>>);

impl Filters {
    /// A chain of these, in this order.
    pub fn new(filters: Vec<Box<dyn Filter>>) -> Self {
        Self((!filters.is_empty()).then(|| filters.into()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Asks them in order until one does not continue.
    pub fn on_connection(&self, peer: &PeerInfo<'_>) -> Verdict {
        self.first(|filter| filter.on_connection(peer))
    }

    /// Asks them in order until one does not continue.
    pub fn on_request(&self, request: &mut dyn Frame) -> Verdict {
        self.first(|filter| filter.on_request(request))
    }

    /// Shows the response to all of them, the last first, as it travels the other way.
    pub fn on_response(&self, response: &mut dyn Frame) {
        for filter in self.0.iter().flat_map(|filters| filters.iter().rev()) {
            filter.on_response(response);
        }
    }

    fn first(&self, mut ask: impl FnMut(&dyn Filter) -> Verdict) -> Verdict {
        let mut verdicts =
            self.0.iter().flat_map(|filters| filters.iter()).map(|filter| ask(&**filter));
        verdicts.find(|verdict| *verdict != Verdict::Continue).unwrap_or(Verdict::Continue)
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filters({})", self.0.as_ref().map_or(0, |filters| filters.len()))
    }
}

#[cfg(test)]
mod tests {
    use wiremesh::{HeaderView, Reason};

    use super::{super::testing::Request, *};

    /// Appends its name to the header `trail`, and refuses the method that is its name.
    struct Trail(&'static str);

    impl Trail {
        fn leave(&self, frame: &mut dyn Frame) {
            let trail = frame.header("trail").unwrap_or_default().into_owned() + self.0;
            frame.set_header("trail", &trail).unwrap();
        }
    }

    impl Filter for Trail {
        fn on_connection(&self, peer: &PeerInfo<'_>) -> Verdict {
            if peer.listener == self.0 { refusal(self.0) } else { Verdict::Continue }
        }

        fn on_request(&self, request: &mut dyn Frame) -> Verdict {
            self.leave(request);
            if request.method().as_deref() == Some(self.0) {
                refusal(self.0)
            } else {
                Verdict::Continue
            }
        }

        fn on_response(&self, response: &mut dyn Frame) {
            self.leave(response);
        }
    }

    struct Nothing;

    impl Filter for Nothing {}

    fn refusal(by: &'static str) -> Verdict {
        Verdict::Reply(Failure::new(Reason::Denied, by))
    }

    fn chain() -> Filters {
        Filters::new(vec![
            Box::new(Trail("a")),
            Box::new(Nothing),
            Box::new(Trail("b")),
            Box::new(Trail("c")),
        ])
    }

    #[test]
    fn requests_pass_in_order_until_refused() {
        let mut request = Request::new("s", "m");
        assert_eq!(chain().on_request(&mut request), Verdict::Continue);
        assert_eq!(request.header("trail").as_deref(), Some("abc"));
        let mut request = Request::new("s", "b");
        assert_eq!(chain().on_request(&mut request), refusal("b"));
        assert_eq!(request.header("trail").as_deref(), Some("ab"));
    }

    #[test]
    fn responses_pass_the_other_way() {
        let mut response = Request::default();
        chain().on_response(&mut response);
        assert_eq!(response.header("trail").as_deref(), Some("cba"));
    }

    #[test]
    fn connections() {
        let peer = |listener| PeerInfo { ip: None, listener };
        assert_eq!(chain().on_connection(&peer("c")), refusal("c"));
        assert_eq!(chain().on_connection(&peer("d")), Verdict::Continue);
    }

    #[test]
    fn no_filters() {
        let none = Filters::new(Vec::new());
        let mut request = Request::new("s", "m");
        assert!(none.is_empty() && !chain().is_empty());
        assert_eq!(none.on_request(&mut request), Verdict::Continue);
        assert_eq!(request, Request::new("s", "m"));
    }
}
