use std::collections::BTreeSet;

use wiremesh::topology::TopologyError;

use super::{At, Check};
use crate::{
    config::{
        model::{Cluster, ClusterTls, ReadFrom},
        protocol::ProtocolInfo,
        report::hint,
        value::Address,
    },
    net::tls::server_name,
};

impl<'a> Check<'a> {
    pub(super) fn cluster(&mut self, at: At<'a>, cluster: &'a Cluster) {
        self.endpoints(at.field("endpoints"), cluster);
        self.topology(at, cluster);
        if let Some(tls) = &cluster.tls {
            self.tls(at, cluster, tls);
        }
        for (name, value) in [
            ("dns_refresh", cluster.dns_refresh),
            ("topology_refresh", cluster.topology_refresh),
            ("pending_timeout", cluster.pending_timeout),
            ("hold_idle_timeout", cluster.hold_idle_timeout),
            ("connect_timeout", cluster.connect_timeout),
            ("idle_timeout", cluster.idle_timeout),
        ] {
            self.over_zero(at, name, value);
        }
        if let Some(timeout) = cluster.hold_timeout {
            self.over_zero(at, "hold_timeout", timeout);
        }
        if cluster.connections > cluster.max_connections {
            let message = format!(
                "{} connections per endpoint are more than max_connections ({}) allows in all",
                cluster.connections, cluster.max_connections
            );
            self.tell(at.field("connections"), message);
        }
        if let Some(max) = cluster.max_held
            && max as usize > cluster.max_connections
        {
            let message = format!(
                "{max} connections are to be held at most; say 1 to max_connections ({})",
                cluster.max_connections
            );
            self.tell(at.field("max_held"), message);
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

    fn tls(&mut self, at: At<'a>, cluster: &'a Cluster, tls: &'a ClusterTls) {
        let at = at.field("tls");
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => {
                self.tell(
                    at.field("certificate"),
                    "certificate needs key, the file with its private key",
                );
            }
            (None, Some(_)) => {
                self.tell(at.field("key"), "key needs certificate, the file that it belongs to");
            }
            _ => {}
        }
        if !tls.verify && tls.ca.is_some() {
            self.tell(at.field("ca"), "ca has no effect with verify: false; remove one of them");
        }
        if let Some(name) = &tls.server_name
            && let Err(error) = server_name(name)
        {
            self.tell(at.field("server_name"), error.to_string());
        }
        let file = cluster.endpoints.iter().find(|it| matches!(it.address, Address::Unix(_)));
        if let Some(file) = file
            && tls.server_name.is_none()
        {
            let address = &file.address;
            let message =
                format!("{address} has no name that its certificate could be for; set server_name");
            self.tell(at, message);
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

    fn topology(&mut self, at: At<'a>, cluster: &'a Cluster) {
        let (kind_at, options_at) = (at.field("topology"), at.field("topology_options"));
        if kind_at.mended() {
            return;
        }
        if cluster.is_static() {
            let unused = [
                ("topology_options", !cluster.topology_options.is_empty()),
                ("read_from", cluster.read_from != ReadFrom::default()),
            ];
            for (name, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
                let message = format!(
                    "{name} has no effect with topology static; set topology, or remove it"
                );
                self.tell(at.field(name), message);
            }
        }
        for protocol in self.spoken_to(cluster) {
            let name = protocol.name;
            if cluster.is_static() {
                let (list, count) = (at.field("endpoints"), cluster.endpoints.len());
                if protocol.stateful && count > 1 && !list.mended_below() {
                    let kinds = match (protocol.check_topology)("", &Default::default()) {
                        Err(TopologyError::Kind(kinds)) if !kinds.is_empty() => kinds,
                        _ => &["one"],
                    };
                    let message = format!(
                        "{count} servers of {name} hold different data, and nothing says which holds what; set topology to {}, or leave one endpoint",
                        kinds.join(" or ")
                    );
                    self.tell(list, message);
                }
                continue;
            }
            match (protocol.check_topology)(&cluster.topology, &cluster.topology_options) {
                Ok(()) => {}
                Err(TopologyError::Kind(known)) => {
                    let kind = &cluster.topology;
                    let known = known.iter().copied().chain(["static"]);
                    let hint = hint(kind, "topologies", known);
                    self.tell(kind_at, format!("{name} has no topology {kind:?}{hint}"));
                }
                Err(TopologyError::Option(option, error)) => {
                    let at = options_at.field(&option);
                    if !at.mended() {
                        self.tell(at, format!("topology option {option:?}: {error}"));
                    }
                }
                Err(TopologyError::Missing(option, purpose)) => {
                    let kind = &cluster.topology;
                    let message = format!(
                        "topology {kind} needs the option {option:?}, {purpose}; write topology_options: {{ {option}: ... }}"
                    );
                    self.tell(kind_at, message);
                }
            }
        }
    }

    /// The protocols of the listeners that send to the cluster.
    fn spoken_to(&self, cluster: &Cluster) -> Vec<&'a ProtocolInfo> {
        let listeners = self.config.listeners.iter().filter(|listener| {
            listener.routes.iter().any(|route| {
                let mut names = route.cluster_names().chain(route.mirror_name());
                names.any(|name| name == cluster.name)
            })
        });
        let names: BTreeSet<_> =
            listeners.flat_map(|listener| &listener.protocols).map(String::as_str).collect();
        self.protocols.iter().filter(|protocol| names.contains(protocol.name)).collect()
    }
}
