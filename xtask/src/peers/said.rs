//! What a client program says of its steps: `ok NAME: ...` or `FAIL NAME: ...`, then `PASS n ok, 0 failed`.

use std::time::Duration;

use anyhow::bail;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::finish;
use crate::report::Outcome;

/// The steps of one run.
pub(super) struct Said {
    pub(super) answers: Vec<String>,
    pub(super) complaints: Vec<String>,
    pub(super) failed: usize,
}

impl Said {
    /// Runs a client to its end; its output is kept as the log `name`.
    pub(super) async fn by(
        name: &str,
        mut program: Command,
        longest: Duration,
    ) -> anyhow::Result<Self> {
        let Ok(done) = timeout(longest, finish(name, &mut program)).await else {
            bail!("no end after {} s; see {name}.log", longest.as_secs());
        };
        let done = done?;
        let lines = |start: &str| {
            let lines = done.text.lines().filter(|line| line.starts_with(start));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (answers, mut complaints) = (lines("ok "), lines("FAIL "));
        let mut failed = complaints.len();
        // The client's own count guards against a line that got lost on the way here.
        let counted = format!("PASS {} ok, 0 failed", answers.len());
        if failed == 0 && (!done.status.success() || lines("PASS ") != [counted.clone()]) {
            failed += 1;
            complaints.push(format!("{}, not seen: {counted:?}", done.status));
        }
        if failed > 0 {
            complaints.push(format!("{:#}", done.error("")));
        }
        Ok(Self { answers, complaints, failed })
    }

    /// Complains of the first answer that is not as it was the other way, or is, where it must not be.
    pub(super) fn compare(&mut self, direct: &Self, must_differ: impl Fn(&str) -> bool) {
        if self.failed > 0 {
            return;
        }
        let mut pairs = direct.answers.iter().zip(&self.answers);
        if let Some((a, b)) = pairs.find(|(a, b)| (a == b) == must_differ(a)) {
            self.failed += 1;
            self.complaints.push(format!("direct:  {a}\nproxied: {b}"));
        } else if direct.answers.len() != self.answers.len() {
            self.failed += 1;
            let (a, b) = (direct.answers.len(), self.answers.len());
            self.complaints.push(format!("{a} steps direct, {b} proxied"));
        }
    }

    /// The same by the steps' names, of which some must differ and may fail; what has no meaning for the comparison is
    /// taken out of both.
    pub(super) fn compare_steps(
        &mut self,
        direct: &Self,
        plain: impl Fn(&str) -> String,
        must_differ: impl Fn(&str) -> bool,
    ) {
        fn name(line: &str) -> &str {
            let step = line.split_once(' ').map_or(line, |(_, step)| step);
            step.split_once(": ").map_or(step, |(name, _)| name)
        }
        let failures = self.complaints.iter().filter(|line| line.starts_with("FAIL "));
        let seen: Vec<_> = self.answers.iter().chain(failures).collect();
        let mut wrong = Vec::new();
        for bare in &direct.answers {
            let seen = seen.iter().find(|line| name(line) == name(bare));
            let same = seen.is_some_and(|seen| plain(seen) == plain(bare));
            if seen.is_none() || same == must_differ(name(bare)) {
                let seen = seen.map_or("nothing", |seen| seen.as_str());
                wrong.push(format!("direct:  {bare}\nproxied: {seen}"));
            }
        }
        let unknown = |line: &&&String| !direct.answers.iter().any(|bare| name(bare) == name(line));
        wrong.extend(seen.iter().filter(unknown).map(|line| format!("proxied: {line}")));
        if wrong.is_empty() {
            self.complaints.clear();
        }
        self.failed = wrong.len();
        self.complaints.splice(..0, wrong);
    }

    pub(super) fn outcome(self, how: &str) -> Outcome {
        let passed = self.answers.len();
        let detail = if self.failed == 0 {
            format!("{passed} steps, {how}")
        } else {
            format!("{how}\n{}", self.complaints.join("\n"))
        };
        Outcome { passed, failed: self.failed, detail }
    }
}
