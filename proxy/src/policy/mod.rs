//! What is decided about a connection or request, once for all protocols.
//!
//! Every station is a module of its own, sees a request only as a [`Frame`](wiremesh::Frame), and does no I/O: the time
//! and the random numbers are handed in. Stations are compiled from the configuration, shared by all workers, and never
//! change; what they count is in atomics. A station that is not configured is a `None` in the compiled [`Route`].
//!
//! A request's way:
//!
//! 1. [`Trusted`]: may it say whose the connection is? [`Authorize`]: may this address connect? (once per connection)
//! 2. [`Filters::on_connection`] (once per connection), [`Filters::on_request`]: the user's own filters.
//! 3. [`RouteTable::find`]: the route, and with it everything below.
//! 4. [`Firewall::judge`]: does the listener let it pass, and within which rule's limit?
//! 5. [`Fault::decide`]: failures made on purpose.
//! 6. [`Limit::admit`]: rate and concurrency; the [`Permit`] lives as long as the request.
//! 7. [`Route::deadline`], [`HeaderEdits::apply`], [`Action::pick`], [`HashKey::of`]: what is sent, where, until when.
//! 8. [`Mirror::wants`]: is a copy sent elsewhere?
//! 9. [`Route::try_deadline`] and [`pass_on_timeout`], for every try.
//! 10. [`Retry::should_retry`], after a try that failed.
//! 11. [`Filters::on_response`]: before the reply leaves.

mod authorize;
mod fault;
mod filter;
mod firewall;
mod limit;
mod meter;
mod mirror;
mod retry;
mod route;
mod table;
#[cfg(test)]
mod testing;
mod timeout;

pub use authorize::{Authorize, Trusted};
pub use fault::{Fault, FaultDecision};
pub use filter::{Filter, Filters, PeerInfo, Verdict};
pub use firewall::{DEFAULT_RULE, Firewall, Rule, Verdicted};
pub use limit::{Limit, Permit};
pub use mirror::Mirror;
pub use retry::{Cause, Failed, Retry, RetryBudget};
pub use route::{Action, HashKey, HeaderEdits, Route, Weighted};
pub use table::{CompileError, RouteTable};
pub use timeout::pass_on_timeout;
