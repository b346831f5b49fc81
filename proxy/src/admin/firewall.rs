use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;
use wiremesh::Reason;

use super::text::table;
use crate::{
    config::{Config, Judgement},
    policy::DEFAULT_RULE,
    telemetry::{
        FirewallTotals, Snapshot,
        watch::{DigestRow, ListenerDigests},
    },
};

/// The firewall of one listener.
#[derive(Serialize)]
pub(super) struct ListenerFirewall {
    listener: String,
    /// In order; at last what becomes of requests without a rule.
    rules: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    rule: String,
    action: Judgement,
    #[serde(flatten)]
    totals: FirewallTotals,
}

/// Those that there are.
pub(super) fn of(config: &Config, counts: &Snapshot) -> Vec<ListenerFirewall> {
    let guarded = |listener: &crate::config::Listener| {
        let firewall = listener.firewall.as_ref()?;
        let row = |(rule, action): (&str, Judgement)| Row {
            rule: rule.to_owned(),
            action,
            totals: counts.firewall(&listener.name, rule),
        };
        let rules = firewall.rules.iter().map(|rule| (rule.name.as_str(), rule.action));
        let rules = rules.chain([(DEFAULT_RULE, firewall.default)]).map(row).collect();
        Some(ListenerFirewall { listener: listener.name.clone(), rules })
    };
    config.listeners.iter().filter_map(guarded).collect()
}

/// For people.
pub(super) fn to_text(listeners: &[ListenerFirewall]) -> String {
    let mut text = String::new();
    for ListenerFirewall { listener, rules } in listeners {
        // A String takes every write.
        let _ = writeln!(text, "{listener}");
        let row = |Row { rule, action, totals }: &Row| {
            let FirewallTotals { allowed, denied, detected, limited } = totals;
            let action = match action {
                Judgement::Allow => "allow",
                Judgement::Deny => "deny",
                Judgement::Detect => "detect",
            };
            let [allowed, denied, detected, limited] =
                [allowed, denied, detected, limited].map(u64::to_string);
            [allowed, denied, detected, limited, action.to_owned(), rule.clone()]
        };
        let rows: Vec<_> = rules.iter().map(row).collect();
        let head = ["allowed", "denied", "detected", "limited", "action", "rule"];
        table(head, 0..4, &rows, &mut text);
        text.push('\n');
    }
    text
}

/// What was seen, as rules that allow it.
pub(super) fn to_rules(listeners: &[ListenerDigests]) -> String {
    let mut text = String::new();
    for ListenerDigests { listener, digests, others, .. } in listeners {
        // A String takes every write.
        let _ = writeln!(text, "# What the listener {} has seen.", one_line(listener));
        if let Some(others) = others {
            let n = others.count;
            let _ = writeln!(text, "# Not here are {n} requests, since `digests` has no room.");
        }
        let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let denied = Reason::Denied.flag();
        // What a firewall has always denied is not to be allowed for it.
        let passed =
            |row: &&DigestRow| row.totals.errors.get(denied).copied() < Some(row.totals.count);
        for row in digests.iter().filter(passed) {
            let known = services.entry(&row.service).or_default();
            if !known.contains(&&*row.digest) {
                known.push(&row.digest);
            }
        }
        text.push_str("rules:\n");
        for (service, mut digests) in services {
            digests.sort_unstable();
            let cut = |digest: &&str| digest.ends_with(" ...");
            let (beginnings, whole): (Vec<_>, Vec<_>) = digests.into_iter().partition(cut);
            if !whole.is_empty() {
                let name = format!("learnt {service}");
                let _ = writeln!(text, "- name: {}", quoted(name.trim_end()));
                if !service.is_empty() {
                    let _ = writeln!(text, "  services: [{}]", quoted(service));
                }
                text.push_str("  action: allow\n  digests:\n");
            }
            for digest in whole {
                let _ = writeln!(text, "  - {}", quoted(digest));
            }
            for digest in beginnings {
                let _ = writeln!(text, "  # Perhaps a beginning only:\n  # - {}", quoted(digest));
            }
        }
    }
    text
}

/// A text in YAML; what a configuration takes for a variable is none.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}
