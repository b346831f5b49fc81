use std::collections::BTreeSet;

use super::{At, Check};
use crate::config::{model::Cluster, value::Address};

impl<'a> Check<'a> {
    pub(super) fn cluster(&mut self, at: At<'a>, cluster: &'a Cluster) {
        self.endpoints(at.field("endpoints"), cluster);
        for (name, value) in [
            ("dns_refresh", cluster.dns_refresh),
            ("connect_timeout", cluster.connect_timeout),
            ("idle_timeout", cluster.idle_timeout),
        ] {
            self.over_zero(at, name, value);
        }
        if cluster.connections > cluster.max_connections {
            let message = format!(
                "{} connections per endpoint are more than max_connections ({}) allows in all",
                cluster.connections, cluster.max_connections
            );
            self.tell(at.field("connections"), message);
        }
        if let Some(keepalive) = cluster.keepalive {
            let at = at.field("keepalive");
            self.over_zero(at, "interval", keepalive.interval);
            self.over_zero(at, "timeout", keepalive.timeout);
        }
        if let Some(outlier) = cluster.outlier {
            self.over_zero(at.field("outlier"), "ejection", outlier.ejection);
        }
        if let Some(health) = cluster.health {
            let at = at.field("health");
            self.over_zero(at, "interval", health.interval);
            self.over_zero(at, "timeout", health.timeout);
            if health.timeout > health.interval && !health.interval.is_zero() {
                let message = format!(
                    "a check would begin before the last has timed out; keep timeout within interval ({})",
                    health.interval
                );
                self.tell(at.field("timeout"), message);
            }
        }
    }

    fn endpoints(&mut self, list: At<'a>, cluster: &'a Cluster) {
        let mut seen = BTreeSet::new();
        for (i, endpoint) in cluster.endpoints.iter().enumerate() {
            let at = list.item(i);
            if at.mended_below() {
                continue;
            }
            if matches!(endpoint.address, Address::Tcp { port: 0, .. }) {
                self.tell(
                    at,
                    format!("{} has port 0, which cannot be connected to", endpoint.address),
                );
            }
            if !seen.insert(&endpoint.address) {
                let message =
                    format!("{} is here twice; give it a weight instead", endpoint.address);
                self.tell(at, message);
            }
        }
        if !cluster.endpoints.is_empty() && cluster.endpoints.iter().all(|e| e.weight == 0) {
            self.tell(list, "every weight is 0, so no endpoint would be used");
        }
    }
}
