use wiremesh::HeaderSupport;

use super::{At, Check};
use crate::config::{
    model::{Cluster, Limit, Listener, Mirror, MirrorOnly, Retry, RetryOn, Route},
    protocol::{Copies, ProtocolInfo},
    report::hint,
    value::Address,
};

impl<'a> Check<'a> {
    pub(super) fn routes(
        &mut self,
        listener_at: At<'a>,
        listener: &'a Listener,
        protocols: &[ProtocolInfo],
    ) {
        let list = listener_at.field("routes");
        for (i, route) in listener.routes.iter().enumerate() {
            let at = list.item(i);
            self.target(at, listener_at, listener, route);
            self.headers(at, route, protocols);
            self.times(at, route);
            if let Some(retry) = &route.retry {
                self.retry(at.field("retry"), route, retry);
            }
            self.fault_and_limit(at, route);
            if let Some(mirror) = &route.mirror {
                let own = (!listener_at.field("address").mended()).then_some(&listener.address);
                self.mirror(at.field("mirror"), own, route, mirror);
                self.copies(at.field("mirror"), listener, mirror, protocols);
            }
            self.reachable(list, i, listener);
        }
        self.unique(list, "route", listener.routes.iter().map(|r| r.name.as_str()));
        self.connectable(list, listener, protocols);
    }

    /// Tells of clients that no server could be found for when they connect.
    fn connectable(&mut self, list: At<'a>, listener: &'a Listener, protocols: &[ProtocolInfo]) {
        let may_be_open = |(i, route): (usize, &Route)| {
            route.matches.is_empty() || list.item(i).field("match").mended_below()
        };
        let unknown = list.mended_below() || listener.routes.is_empty();
        if unknown || listener.routes.iter().enumerate().any(may_be_open) {
            return;
        }
        let none = Default::default();
        for protocol in protocols {
            let name = protocol.name;
            if (protocol.end_to_end)(listener.options.get(name).unwrap_or(&none)) {
                let message = format!(
                    "with {name} a client is connected to a server before it asks for anything, which takes a route without match; add one, or all clients are refused"
                );
                self.tell(list, message);
            }
        }
    }

    fn target(
        &mut self,
        at: At<'a>,
        listener_at: At<'a>,
        listener: &'a Listener,
        route: &'a Route,
    ) {
        let address = listener_at.field("address");
        let own = (!address.mended()).then_some(&listener.address);
        if let Some(name) = &route.cluster {
            self.cluster_name(at.field("cluster"), own, route, name);
        }
        let list = at.field("clusters");
        for (i, cluster) in route.clusters.iter().enumerate() {
            self.cluster_name(list.item(i).field("name"), own, route, &cluster.name);
        }
        self.unique(list, "share of cluster", route.clusters.iter().map(|c| c.name.as_str()));
        if !route.clusters.is_empty() && route.clusters.iter().all(|c| c.weight == 0) {
            self.tell(list, "every weight is 0, so no cluster would be used");
        }
        if route.reply.is_some() {
            for name in ["timeout", "try_timeout", "retry", "headers", "hash", "mirror"] {
                if at.has(name) {
                    let message = format!("{name} has no effect beside reply; remove it");
                    self.tell(at.field(name), message);
                }
            }
        }
    }

    fn cluster_name(&mut self, at: At<'a>, own: Option<&'a Address>, route: &'a Route, name: &str) {
        let Some(cluster) = self.known_cluster(at, own, name) else { return };
        let index = self.config.clusters.iter().position(|c| c.name == name).unwrap_or(usize::MAX);
        let balance = self.at("clusters").item(index).field("balance");
        if route.hash.is_some() && !cluster.balance.is_by_hash() && !balance.mended() {
            let message = format!(
                "the route has a hash, but cluster {name:?} balances by {}; set it to ring_hash or maglev, or remove the hash",
                cluster.balance
            );
            self.tell(at, message);
        }
    }

    /// The cluster of this name; tells of one that cannot be sent to.
    fn known_cluster(
        &mut self,
        at: At<'a>,
        own: Option<&'a Address>,
        name: &str,
    ) -> Option<&'a Cluster> {
        let Some(&cluster) = self.clusters.get(name) else {
            // A cluster whose name could not be read may be the one.
            let unread = self.clusters.contains_key("")
                || self.clusters.is_empty() && self.at("clusters").mended();
            if !name.is_empty() && !unread {
                let known = self.clusters.keys().copied();
                let hint = hint(name, "clusters", known);
                self.tell(at, format!("unknown cluster {name:?}{hint}"));
            }
            return None;
        };
        if let Some(own) = own
            && cluster.endpoints.iter().any(|e| e.address == *own)
        {
            let message =
                format!("cluster {name:?} has this listener's own address ({own}) as an endpoint");
            self.tell(at, message);
        }
        Some(cluster)
    }

    fn mirror(
        &mut self,
        at: At<'a>,
        own: Option<&'a Address>,
        route: &'a Route,
        mirror: &'a Mirror,
    ) {
        if at.mended() {
            return;
        }
        let (name_at, name) = (at.field("cluster"), mirror.cluster.as_str());
        self.known_cluster(name_at, own, name);
        if route.cluster_names().any(|target| target == name) {
            let message = format!(
                "the route's requests go to cluster {name:?} already; a mirror is another cluster"
            );
            self.tell(name_at, message);
        }
    }

    /// Tells of requests that cannot be copied.
    fn copies(
        &mut self,
        at: At<'a>,
        listener: &'a Listener,
        mirror: &'a Mirror,
        protocols: &[ProtocolInfo],
    ) {
        if at.mended() {
            return;
        }
        let none = Default::default();
        for protocol in protocols {
            let name = protocol.name;
            let options = listener.options.get(name).unwrap_or(&none);
            if protocol.copies == Copies::None || (protocol.end_to_end)(options) {
                let mode = if protocol.copies == Copies::None { "" } else { " in this mode" };
                let message = format!("requests of {name} cannot be copied{mode}; remove this");
                self.tell(at, message);
            } else if protocol.copies == Copies::Reads {
                if mirror.only == Some(MirrorOnly::Writes) {
                    let message = format!("of {name} only reads can be copied; remove this");
                    self.tell(at.field("only"), message);
                }
            } else if mirror.only.is_some() && !protocol.stateful {
                let message = format!("{name} does not tell reads from writes; remove this");
                self.tell(at.field("only"), message);
            }
        }
    }

    fn headers(&mut self, at: At<'a>, route: &Route, protocols: &[ProtocolInfo]) {
        if !route.matches.headers.is_empty() {
            let at = at.field("match").field("headers");
            self.needs_headers(at, protocols, HeaderSupport::Read);
        }
        if !route.headers.is_empty() {
            self.needs_headers(at.field("headers"), protocols, HeaderSupport::Edit);
        }
        if route.hash.is_some() {
            self.needs_headers(at.field("hash"), protocols, HeaderSupport::Read);
        }
        if route.limit.as_ref().is_some_and(|limit| limit.by_header.is_some()) {
            let at = at.field("limit").field("by_header");
            self.needs_headers(at, protocols, HeaderSupport::Read);
        }
        for name in route.headers.add.keys().filter(|name| route.headers.set.contains_key(*name)) {
            let at = at.field("headers").field("add").field(name);
            self.tell(at, format!("header {name:?} is both set and added; remove one of them"));
        }
    }

    fn times(&mut self, at: At<'a>, route: &Route) {
        for (name, value) in [("timeout", route.timeout), ("try_timeout", route.try_timeout)] {
            if let Some(value) = value {
                self.over_zero(at, name, value);
            }
        }
        if let (Some(whole), Some(one)) = (route.timeout, route.try_timeout)
            && one > whole
            && !at.field("timeout").mended()
            && !at.field("try_timeout").mended()
        {
            let message = format!(
                "try_timeout ({one}) is longer than timeout ({whole}), so it would never end a try"
            );
            self.tell(at.field("try_timeout"), message);
        }
    }

    fn retry(&mut self, at: At<'a>, route: &Route, retry: &Retry) {
        for (i, on) in retry.on.iter().enumerate() {
            let (name, after) = match on {
                RetryOn::Reset => ("reset", "a reset"),
                RetryOn::Timeout => ("timeout", "a timeout"),
                RetryOn::Unavailable => ("unavailable", "an answer of unavailable"),
                RetryOn::Connect | RetryOn::Overloaded => continue,
            };
            let at_item = at.field("on").item(i);
            if !retry.idempotent && !at.field("idempotent").mended() {
                let message = format!(
                    "after {after} the request may have been executed; remove {name:?}, or say idempotent: true if executing it twice does no harm"
                );
                self.tell(at_item, message);
            }
            if *on == RetryOn::Timeout && route.try_timeout.is_none() {
                let message = "without a try_timeout nothing is left of the timeout for another try; set try_timeout on the route";
                self.tell(at_item, message);
            }
        }
        let backoff = retry.backoff;
        if backoff.base > backoff.max && !at.field("backoff").mended_below() {
            let message = format!("base ({}) is longer than max ({})", backoff.base, backoff.max);
            self.tell(at.field("backoff"), message);
        }
    }

    fn fault_and_limit(&mut self, at: At<'a>, route: &Route) {
        if let Some(abort) = route.fault.as_ref().and_then(|fault| fault.abort)
            && abort.status.0 == wiremesh::Status::Ok
            && !at.field("fault").field("abort").field("status").mended()
        {
            self.tell(
                at.field("fault").field("abort").field("status"),
                "an abort needs an error; ok is none",
            );
        }
        if let Some(limit) = &route.limit {
            self.limit(at.field("limit"), limit);
        }
    }

    pub(super) fn limit(&mut self, at: At<'a>, limit: &Limit) {
        if !at.mended() {
            if limit.requests_per_second.is_none() && limit.concurrency.is_none() {
                self.tell(at, "this limits nothing; add requests_per_second or concurrency");
            } else if limit.requests_per_second.is_none() && limit.burst.is_some() {
                self.tell(at.field("burst"), "burst has no effect without requests_per_second");
            }
        }
    }

    /// Tells of a route that can never be the first to match.
    fn reachable(&mut self, list: At<'a>, index: usize, listener: &'a Listener) {
        let matches = |i: usize| listener.routes.get(i).map(|route| &route.matches);
        let Some(own) = matches(index) else { return };
        // What a mended match would have been is not known.
        if list.item(index).field("match").mended_below() {
            return;
        }
        let earlier = (0..index).find(|i| {
            let unknown = list.item(*i).field("match").mended_below();
            !unknown && matches(*i).is_some_and(|m| m.is_empty() || m == own)
        });
        let Some(earlier) = earlier.and_then(|i| listener.routes.get(i)) else { return };
        let name = &earlier.name;
        let message = if earlier.matches.is_empty() {
            format!("no request gets here, since route {name:?} above takes them all; put it last")
        } else {
            format!("no request gets here, since route {name:?} above has the same match")
        };
        self.tell(list.item(index), message);
    }
}
