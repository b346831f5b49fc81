//! What a configuration of the right shape can still have wrong: names that lead nowhere, settings that contradict each
//! other, settings that a protocol cannot honour.

mod cluster;
mod firewall;
mod listener;
mod route;
mod users;

use std::collections::BTreeMap;

pub(super) use firewall::read_rules;

use super::{
    model::{Cluster, Config},
    protocol::ProtocolInfo,
    report::{Mistake, hint},
    source::Source,
    tree::Node,
    value::Duration,
};
use crate::telemetry::log;

/// Every such mistake. `root` is the tree that `config` was made from.
pub(super) fn check(
    config: &Config,
    root: &Node,
    source: &Source<'_>,
    protocols: &[ProtocolInfo],
) -> Vec<Mistake> {
    let mut check = Check {
        config,
        root,
        source,
        protocols,
        clusters: config.clusters.iter().map(|c| (c.name.as_str(), c)).collect(),
        mistakes: Vec::new(),
    };
    check.process();
    check.listeners();
    for (i, cluster) in config.clusters.iter().enumerate() {
        check.cluster(check.at("clusters").item(i), cluster);
    }
    check.unique(check.at("clusters"), "cluster", config.clusters.iter().map(|c| c.name.as_str()));
    check.mistakes
}

struct Check<'a> {
    config: &'a Config,
    root: &'a Node,
    source: &'a Source<'a>,
    protocols: &'a [ProtocolInfo],
    clusters: BTreeMap<&'a str, &'a Cluster>,
    mistakes: Vec<Mistake>,
}

/// A place in the document: a node, or the nearest one above where nothing is written.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
    /// Whether the place itself is written.
    exact: bool,
}

impl<'a> At<'a> {
    fn field(self, name: &str) -> Self {
        self.step(self.node.field(name))
    }

    fn item(self, index: usize) -> Self {
        self.step(self.node.item(index))
    }

    fn step(self, found: Option<&'a Node>) -> Self {
        match found {
            Some(node) if self.exact => Self { node, exact: true },
            _ => Self { node: self.node, exact: false },
        }
    }

    fn has(self, name: &str) -> bool {
        self.exact && self.node.field(name).is_some()
    }

    /// Whether what is written here, or may have been meant to be, is not known because of a mistake that was told.
    fn mended(self) -> bool {
        self.node.mended
    }

    /// The same of anything below, too.
    fn mended_below(self) -> bool {
        if self.exact { self.node.mended_below() } else { self.node.mended }
    }
}

impl<'a> Check<'a> {
    fn at(&self, name: &str) -> At<'a> {
        At { node: self.root, exact: true }.field(name)
    }

    fn tell(&mut self, at: At<'_>, message: impl Into<String>) {
        self.mistakes.push(self.source.mistake(at.node.at, message));
    }

    fn process(&mut self) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let (at, log) = (self.at("log"), &self.config.log);
        if at.mended() {
            return;
        }
        if log::check(log).is_err() {
            let word = log.bytes().all(|b| b.is_ascii_alphanumeric());
            let message = if word {
                format!("unknown level {log:?}{}", hint(log, "levels", LEVELS))
            } else {
                format!("{log:?} is not a filter; write it like info,wiremesh_proxy=debug")
            };
            self.tell(at, message);
        }
    }

    /// Tells of names that occur again; an empty one stands for a mistake that was told already.
    fn unique<'n>(&mut self, list: At<'a>, what: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen: BTreeMap<&str, At<'a>> = BTreeMap::new();
        for (i, name) in names.enumerate() {
            let at = list.item(i).field("name");
            match seen.get(name) {
                _ if name.is_empty() => {}
                Some(first) => {
                    let line = self.source.mistake(first.node.at, "").position.map_or(0, |p| p.0);
                    self.tell(at, format!("{what} {name:?} is already defined in line {line}"));
                }
                None => drop(seen.insert(name, at)),
            }
        }
    }

    /// Tells of a duration that is zero where that cannot work.
    fn over_zero(&mut self, parent: At<'a>, name: &str, value: Duration) {
        if value.is_zero() {
            self.tell(parent.field(name), format!("{name} must be over 0s"));
        }
    }
}
