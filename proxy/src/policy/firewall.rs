use std::{fmt::Write, time::Duration};

use regex::{Regex, RegexBuilder};
use rustc_hash::FxHashMap;
use wiremesh::{Bearing, Digested, Failure, Frame, Reason, write_escaped};

use super::{CompileError, Limit};
use crate::config::{self, DigestOf, Judgement};

/// The name under which requests are counted for which there is no rule.
pub const DEFAULT_RULE: &str = "default";

/// Which requests pass, by who sends them and what they have executed.
///
/// What is not known of a request is taken for the worst: a rule that denies is for it where it may be, one that lets pass
/// only where it certainly is.
#[derive(Debug)]
pub struct Firewall {
    rules: Box<[Rule]>,
    default: Judgement,
    denied: Box<str>,
    /// The rules for a digest, as people see it; and those that deny it, by its lower case.
    exact: FxHashMap<Box<str>, Vec<u32>>,
    denying: FxHashMap<Box<str>, Vec<u32>>,
    /// The rules without a digest, and with those the rules that deny some.
    without: Box<[u32]>,
    unknown: Box<[u32]>,
    digests: bool,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Box<str>,
    /// How many requests it lets pass.
    pub limit: Option<Limit>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    action: Judgement,
    users: Box<[String]>,
    services: Box<[String]>,
    methods: Box<[String]>,
    /// `None`: whatever is executed.
    what: Option<What>,
    denied: Box<str>,
}

#[derive(Debug)]
struct What {
    /// The digests' first words, in lower case.
    words: Box<[String]>,
    pattern: Option<Regex>,
    beginnings: bool,
}

/// What becomes of a request, and by which rule; `None`: by none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicted {
    /// The rule's place.
    pub rule: Option<usize>,
    /// What becomes of it.
    pub action: Judgement,
}

impl Firewall {
    /// From a listener's configuration; `None` where it has none. `digest_of`: how its protocols digest what a rule says.
    pub fn compile(
        config: Option<&config::Firewall>,
        digest_of: &[DigestOf],
    ) -> Result<Option<Self>, CompileError> {
        let Some(config) = config else { return Ok(None) };
        let rules: Box<[_]> = config.rules.iter().map(Rule::compile).collect::<Result<_, _>>()?;
        let (mut exact, mut denying) = (FxHashMap::default(), FxHashMap::default());
        let note = |map: &mut FxHashMap<Box<str>, Vec<u32>>, text: String, at: u32| {
            let known = map.entry(text.into()).or_default();
            if known.last() != Some(&at) {
                known.push(at);
            }
        };
        for (rule, at) in config.rules.iter().zip(0..) {
            for form in rule.digests.iter().flat_map(|text| forms(text, digest_of, rule.beginnings))
            {
                if rule.action == Judgement::Deny {
                    note(&mut denying, form.to_lowercase(), at);
                } else {
                    note(&mut exact, form, at);
                }
            }
        }
        let those = |is: &dyn Fn(&Rule) -> bool| -> Box<[u32]> {
            (0..).zip(&rules).filter(|(_, rule)| is(rule)).map(|(at, _)| at).collect()
        };
        let (without, unknown) = (
            those(&|rule| rule.what.is_none()),
            those(&|rule| rule.what.is_none() || rule.action == Judgement::Deny),
        );
        Ok(Some(Self {
            digests: without.len() < rules.len() || config.default != Judgement::Allow,
            rules,
            default: config.default,
            denied: "the firewall has no rule that allows this".into(),
            exact,
            denying,
            without,
            unknown,
        }))
    }

    /// Takes over what the limits of rules of the same names have counted.
    pub fn adopt(&mut self, old: &Self) {
        for rule in &mut self.rules {
            let known = old.rules.iter().find(|known| known.name == rule.name);
            if let (Some(limit), Some(known)) =
                (&mut rule.limit, known.and_then(|known| known.limit.as_ref()))
            {
                limit.adopt(known);
            }
        }
    }

    /// Its rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether requests' digests are needed, to judge them or to say what was detected.
    pub fn needs_digests(&self) -> bool {
        self.digests
    }

    /// The rules without a digest, for requests that have none; and those for requests whose digest is not known.
    pub fn without_digest(&self, digested: Digested) -> &[u32] {
        if digested == Digested::None { &self.without } else { &self.unknown }
    }

    /// The rules, in order, that are for a digest as far as it goes. Worth being remembered.
    pub fn for_digest(&self, digest: &[u8], digested: Digested) -> Box<[u32]> {
        let mut text = String::new();
        // A String takes every write.
        let _ = write_escaped(&mut text, digest);
        let whole = digested == Digested::Whole;
        let mut found: Vec<u32> = self.without.to_vec();
        for at in self.exact.get(&*text).into_iter().flatten() {
            let beginnings = self.what(*at).is_some_and(|what| what.beginnings);
            if whole || beginnings {
                found.push(*at);
            }
        }
        found.extend(self.denying.get(&*text.to_lowercase()).into_iter().flatten());
        for (rule, at) in self.rules.iter().zip(0..) {
            let Some(what) = &rule.what else { continue };
            let (denies, pattern) = (rule.action == Judgement::Deny, what.pattern.as_ref());
            let matches = pattern.is_some_and(|pattern| pattern.is_match(&text));
            let met = match (whole, denies) {
                (true, _) => matches,
                (false, true) => pattern.is_some() || what.may_begin(&text),
                (false, false) => matches && what.beginnings,
            };
            if met {
                found.push(at);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.into()
    }

    fn what(&self, at: u32) -> Option<&What> {
        self.rules.get(at as usize)?.what.as_ref()
    }

    /// What becomes of a request for whose digest there are these rules; `None`: it is let pass, and not counted.
    pub fn judge(
        &self,
        applying: &[u32],
        request: &dyn Frame,
        bearing: Bearing,
    ) -> Option<Verdicted> {
        let rules = applying.iter().map(|at| *at as usize);
        let named = |rule: &Rule| !rule.methods.is_empty();
        let found = match bearing {
            Bearing::Execution | Bearing::Preparation => {
                self.first(rules, |rule| rule.is_for(request))
            }
            Bearing::Upkeep => self.first(rules, |rule| named(rule) && rule.is_for(request)),
            Bearing::Blindness => {
                let all = 0..self.rules.len();
                self.first(all.clone(), |rule| {
                    rule.what.is_none() && named(rule) && rule.is_for(request)
                })
                .or_else(|| {
                    self.first(all, |rule| {
                        rule.action == Judgement::Deny
                            || rule.limit.is_some()
                            || rule.timeout.is_some()
                    })
                    .map(|found| Verdicted { action: Judgement::Deny, ..found })
                })
            }
        };
        match found {
            None if bearing == Bearing::Upkeep => None,
            None => Some(Verdicted { rule: None, action: self.default }),
            found => found,
        }
    }

    fn first(
        &self,
        mut rules: impl Iterator<Item = usize>,
        is: impl Fn(&Rule) -> bool,
    ) -> Option<Verdicted> {
        let at = rules.find(|at| self.rules.get(*at).is_some_and(&is))?;
        let action = self.rules.get(at)?.action;
        Some(Verdicted { rule: Some(at), action })
    }

    /// What those are told whose requests are denied by it.
    pub fn failure(&self, rule: Option<usize>, bearing: Bearing) -> Failure {
        let rule = rule.and_then(|at| self.rules.get(at));
        let mut text = rule.map_or(&*self.denied, |rule| &*rule.denied).to_owned();
        if bearing == Bearing::Blindness {
            text.push_str("; what follows it could not be judged");
        }
        Failure::new(Reason::Denied, text)
    }
}

impl Rule {
    fn compile(config: &config::FirewallRule) -> Result<Self, CompileError> {
        let name = &config.name;
        let pattern = config.digest_pattern.as_ref().map(|regex| {
            let built = RegexBuilder::new(regex).case_insensitive(true).build();
            built.map_err(|source| CompileError::Pattern {
                rule: name.clone(),
                regex: regex.clone(),
                source,
            })
        });
        let pattern = pattern.transpose()?;
        let what = (pattern.is_some() || !config.digests.is_empty()).then(|| What {
            words: config.digests.iter().map(|text| first_word(text)).collect(),
            pattern,
            beginnings: config.beginnings,
        });
        let mut denied = format!("firewall rule `{name}` denies this");
        if let Some(message) = &config.message {
            let _ = write!(denied, ": {message}");
        }
        let subject = format!("firewall rule `{name}`");
        Ok(Self {
            name: name.as_str().into(),
            limit: config.limit.as_ref().and_then(|limit| Limit::compile(&subject, limit)),
            timeout: config.timeout.map(Into::into),
            action: config.action,
            users: config.users.clone().into(),
            services: config.services.clone().into(),
            methods: config.methods.clone().into(),
            what,
            denied: denied.into(),
        })
    }

    /// Whether it is for this request, whatever that has executed.
    fn is_for(&self, request: &dyn Frame) -> bool {
        let one_of = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|known| known == name))
        };
        (self.users.is_empty() || one_of(&self.users, request.header("user").as_deref()))
            && (self.services.is_empty() || one_of(&self.services, request.service().as_deref()))
            && (self.methods.is_empty() || one_of(&self.methods, request.method().as_deref()))
    }
}

impl What {
    /// Whether one of the digests may be that of a request that has this beginning: its first word tells, where another
    /// follows.
    fn may_begin(&self, beginning: &str) -> bool {
        let word = first_word(beginning);
        let plain = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic());
        // Behind it is more than the mark of what was cut.
        let more = beginning.split(' ').nth(1).is_some_and(|next| next != "...");
        let differs = |known: &String| more && plain(&word) && plain(known) && *known != word;
        !self.words.iter().all(differs)
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_lowercase()
}

/// What a rule's text stands for: the digest that it is, and that which it has.
fn forms<'a>(
    text: &'a str,
    digest_of: &'a [DigestOf],
    beginnings: bool,
) -> impl Iterator<Item = String> + 'a {
    let made = digest_of.iter().filter_map(move |digest_of| {
        let (digest, digested) = digest_of(text)?;
        let mut text = String::new();
        let _ = write_escaped(&mut text, &digest);
        ((digested == Digested::Whole || beginnings) && !text.is_empty()).then_some(text)
    });
    std::iter::once(text.trim().to_owned()).chain(made)
}
