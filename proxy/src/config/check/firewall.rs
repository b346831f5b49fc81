use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use wiremesh::{Digested, HeaderSupport};

use super::{At, Check};
use crate::{
    config::{
        load::RULES_SCHEMA,
        model::{Config, Firewall, FirewallFile, FirewallRule, Judgement},
        protocol::ProtocolInfo,
        report::Mistake,
        shape::Shape,
        source::Source,
        tree::Node,
    },
    policy::DEFAULT_RULE,
};

impl<'a> Check<'a> {
    pub(super) fn firewall(
        &mut self,
        at: At<'a>,
        firewall: &'a Firewall,
        protocols: &[ProtocolInfo],
    ) {
        let nothing = firewall.rules.is_empty() && firewall.file.is_none();
        if nothing && firewall.default == Judgement::Allow && !at.mended_below() {
            self.tell(at, "without rules, all requests pass; add rules or a file, or remove this");
        }
        self.rules(at.field("rules"), &firewall.rules, protocols);
    }

    fn rules(&mut self, list: At<'a>, rules: &'a [FirewallRule], protocols: &[ProtocolInfo]) {
        for (i, rule) in rules.iter().enumerate() {
            self.rule(list.item(i), rule, protocols);
        }
        self.unique(list, "firewall rule", rules.iter().map(|rule| rule.name.as_str()));
    }

    fn rule(&mut self, at: At<'a>, rule: &'a FirewallRule, protocols: &[ProtocolInfo]) {
        if rule.name == DEFAULT_RULE {
            let message = format!(
                "{DEFAULT_RULE:?} is what requests without a rule are counted under; name the rule differently"
            );
            self.tell(at.field("name"), message);
        }
        if !rule.users.is_empty() {
            self.needs_headers(at.field("users"), protocols, HeaderSupport::Read);
        }
        for (name, given) in [
            ("digests", !rule.digests.is_empty()),
            ("digest_pattern", rule.digest_pattern.is_some()),
        ] {
            for protocol in protocols.iter().filter(|it| given && (it.digest_of)("").is_none()) {
                let message = format!("requests of {} have no digests; remove this", protocol.name);
                self.tell(at.field(name), message);
            }
        }
        let list = at.field("digests");
        for (i, text) in rule.digests.iter().enumerate() {
            self.digest(list.item(i), rule, text, protocols);
        }
        if let Some(limit) = &rule.limit {
            self.limit(at.field("limit"), limit);
            if limit.by_header.is_some() {
                let at = at.field("limit").field("by_header");
                self.needs_headers(at, protocols, HeaderSupport::Read);
            }
        }
        if rule.timeout.is_some_and(|timeout| timeout.is_zero()) {
            self.tell(at.field("timeout"), "timeout must be over 0s");
        }
        let denies = rule.action == Judgement::Deny && !at.field("action").mended();
        for (name, given) in [("limit", rule.limit.is_some()), ("timeout", rule.timeout.is_some())]
        {
            if given && denies {
                let message = format!("{name} has no effect where all is denied; remove it");
                self.tell(at.field(name), message);
            }
        }
        if rule.message.is_some() && !denies && !at.field("action").mended() {
            let message = "a message is for what is denied; remove it, or set action: deny";
            self.tell(at.field("message"), message);
        }
    }

    fn digest(&mut self, at: At<'a>, rule: &FirewallRule, text: &str, protocols: &[ProtocolInfo]) {
        if at.mended() {
            return;
        }
        if text.trim().is_empty() {
            return self.tell(at, "there is nothing in it; write a statement, or remove it");
        }
        let passes = rule.action != Judgement::Deny && !rule.beginnings;
        let cut = protocols.iter().find_map(|protocol| {
            (protocol.digest_of)(text).filter(|(_, digested)| *digested == Digested::Beginning)
        });
        if passes && cut.is_some() {
            self.tell(
                at,
                "this is too long to be told whole, and whatever begins like it would pass; set beginnings: true if it may",
            );
        }
    }
}

/// Reads the files of firewalls that have one, and puts what is in them behind the rules of the configuration. The mistakes
/// are those of all.
pub(in crate::config) fn read_rules(
    config: &mut Config,
    root: &Node,
    source: &Source<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    protocols: &[ProtocolInfo],
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for i in 0..config.listeners.len() {
        let file = config.listeners[i].firewall.as_mut().and_then(|it| it.file.take());
        let Some(file) = file else { continue };
        let at = At { node: root, exact: true }.field("listeners").item(i).field("firewall");
        match fs::read_to_string(&file) {
            Ok(text) => {
                let rules = parse_rules(&file, &text, config, i, env, protocols, &mut mistakes);
                if let Some(firewall) = &mut config.listeners[i].firewall {
                    firewall.rules.extend(rules);
                }
            }
            Err(error) => {
                let message = format!("{file} cannot be read: {error}");
                mistakes.push(source.mistake(at.field("file").node.at, message));
            }
        }
    }
    mistakes
}

fn parse_rules(
    file: &str,
    text: &str,
    config: &Config,
    listener: usize,
    env: &dyn Fn(&str) -> Option<String>,
    protocols: &[ProtocolInfo],
    mistakes: &mut Vec<Mistake>,
) -> Vec<FirewallRule> {
    let (source, missing) = Source::expand(file, text, env);
    mistakes.extend(missing);
    let mut root = match Node::parse(&source) {
        Ok(root) => root,
        Err(mistake) => {
            mistakes.push(mistake);
            return Vec::new();
        }
    };
    let mut shape = Shape::new(&RULES_SCHEMA, &source);
    shape.mend_root(&mut root);
    mistakes.extend(shape.mistakes);
    let rules = match FirewallFile::deserialize(root.to_json()) {
        Ok(file) => file.rules,
        Err(error) => {
            let message = error.to_string();
            mistakes.push(Mistake { file: file.to_owned(), position: None, message });
            return Vec::new();
        }
    };
    let listener = &config.listeners[listener];
    let spoken: Vec<_> = protocols
        .iter()
        .filter(|protocol| listener.protocols.iter().any(|name| name == protocol.name))
        .cloned()
        .collect();
    let mut check = Check {
        config,
        root: &root,
        source: &source,
        protocols,
        clusters: BTreeMap::new(),
        mistakes: Vec::new(),
    };
    let list = check.at("rules");
    check.rules(list, &rules, &spoken);
    for (i, rule) in rules.iter().enumerate() {
        let others = listener.firewall.iter().flat_map(|firewall| &firewall.rules);
        if others.into_iter().any(|other| other.name == rule.name && !rule.name.is_empty()) {
            let message =
                format!("firewall rule {:?} is already defined in the configuration", rule.name);
            check.tell(list.item(i).field("name"), message);
        }
    }
    mistakes.append(&mut check.mistakes);
    rules
}
