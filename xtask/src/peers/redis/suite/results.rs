//! What the suite says, and what of it differs.

use std::collections::BTreeMap;
use std::fmt;

use super::exceptions::{self, Fate};
use crate::report::Outcome;

/// How often each test passed, and what was wrong where it did not. Some names are of several tests.
#[derive(Default)]
pub(super) struct Results {
    passed: BTreeMap<String, usize>,
    failed: BTreeMap<String, String>,
}

impl Results {
    /// From the suite's own words.
    pub(super) fn read(text: &str) -> Self {
        let mut results = Self::default();
        let mut failing = None::<String>;
        for line in text.lines() {
            let said = |word: &str| line.strip_prefix(word);
            if let Some(test) = said("[ok]: ") {
                let name = test.rsplit_once(" (").map_or(test, |(name, _)| name);
                *results.passed.entry(name.to_owned()).or_default() += 1;
                failing = None;
            } else if let Some(test) = said("[err]: ").or_else(|| said("[exception]: ")) {
                let name = test.rsplit_once(" in tests/").map_or(test, |(name, _)| name);
                results.failed.insert(name.to_owned(), String::new());
                failing = Some(name.to_owned());
            } else if line.starts_with('[') || line.trim() == "The End" {
                failing = None;
            } else if let Some(why) = failing.as_ref().and_then(|it| results.failed.get_mut(it)) {
                let rest = LONGEST.saturating_sub(why.len());
                why.extend(line.chars().take(rest));
                why.push(' ');
            }
        }
        results
    }

    /// Whether nothing was tested.
    pub(super) fn is_empty(&self) -> bool {
        self.passed.is_empty() && self.failed.is_empty()
    }

    /// How many passed.
    pub(super) fn passed(&self) -> usize {
        self.passed.values().sum()
    }

    /// What passed in another run counts as well.
    pub(super) fn merge(&mut self, other: Self) {
        for (name, times) in other.passed {
            let most = self.passed.entry(name).or_default();
            *most = times.max(*most);
        }
        self.failed.extend(other.failed);
    }
}

/// Of what is said to a failed test so much is shown.
const LONGEST: usize = 300;

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests passed", self.passed())?;
        for (name, why) in &self.failed {
            write!(f, "\nnot: {name}: {why}")?;
        }
        Ok(())
    }
}

/// What came of comparing.
pub(super) struct Compared {
    /// Passed both ways.
    same: usize,
    /// Passed without the proxy only, as the list says.
    known: usize,
    pub(super) complaints: Vec<String>,
}

/// What passes without the proxy must pass with it, unless it is on the list; what the list says fails must not pass.
pub(super) fn compare(unit: &str, bare: &Results, proxied: &Results) -> Compared {
    let mut compared = Compared { same: 0, known: 0, complaints: Vec::new() };
    for (name, times) in &bare.passed {
        let same = proxied.passed.get(name).copied().unwrap_or(0).min(*times);
        compared.same += same;
        let fate = exceptions::fate(unit, name);
        if same < *times && fate.is_some() {
            compared.known += times - same;
        } else if same < *times {
            let why = proxied.failed.get(name).map_or("it did not run", String::as_str);
            compared.complaints.push(format!("{name}: {why}"));
        } else if fate == Some(Fate::Fails) {
            compared.complaints.push(format!("{name}: passes, and need not be on the list"));
        }
    }
    compared
}

impl Compared {
    pub(super) fn outcome(self) -> Outcome {
        let Self { same, known, complaints } = self;
        let mut detail = format!("{same} tests pass as without the proxy");
        if known > 0 {
            detail += &format!(", {known} do not, as listed");
        }
        for complaint in &complaints {
            detail += &format!("\n{complaint}");
        }
        Outcome { passed: same, failed: complaints.len(), detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "[ready]: 7\n[ok]: one (3 ms)\n[ok]: two (a) (0 ms)\n[ok]: one (1 ms)\n\
        [err]: three in tests/unit/x.tcl\nExpected '1' to be equal to '2'\n[ignore]: four: no\n\
        noise\n                   The End\n*** [err]: three in tests/unit/x.tcl\n";

    #[test]
    fn what_the_suite_says_is_understood() {
        let results = Results::read(SAID);
        assert_eq!(results.passed(), 3);
        assert_eq!(results.passed.get("one"), Some(&2));
        assert_eq!(results.passed.get("two (a)"), Some(&1));
        let why = results.failed.get("three").map(String::as_str);
        assert_eq!(why, Some("Expected '1' to be equal to '2' "));
    }

    #[test]
    fn what_passes_only_without_the_proxy_is_complained_of() {
        let bare = Results::read(SAID);
        let less = Results::read("[ok]: one (3 ms)\n[err]: two (a) in tests/unit/x.tcl\nno\n");
        let compared = compare("unit/x", &bare, &less);
        assert_eq!(compared.same, 1);
        assert_eq!(compared.complaints, ["one: it did not run", "two (a): no "]);
        assert!(compare("unit/x", &bare, &bare).complaints.is_empty());
    }
}
