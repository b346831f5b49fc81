//! Counts what passed and failed, and says so as it happens.

use std::time::{Duration, Instant};

/// What one check or cell came to: how many tests it stands for, or what went wrong.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Shown behind the name when it passed, below it when it failed.
    pub(crate) detail: String,
}

impl Outcome {
    /// A check that is a test by itself.
    pub(crate) fn pass(detail: impl Into<String>) -> Self {
        Self { passed: 1, failed: 0, detail: detail.into() }
    }
}

/// The running totals.
pub(crate) struct Report {
    filter: String,
    passed: usize,
    failed: usize,
    failures: Vec<String>,
    start: Instant,
}

impl Report {
    /// Only names that contain `filter` will be wanted.
    pub(crate) fn new(filter: &str) -> Self {
        let filter = filter.to_owned();
        Self { filter, passed: 0, failed: 0, failures: Vec::new(), start: Instant::now() }
    }

    /// Is this check or cell asked for?
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    /// Runs one check, if it is asked for, and reports it.
    pub(crate) async fn check(
        &mut self,
        name: &str,
        body: impl Future<Output = anyhow::Result<Outcome>>,
    ) {
        if self.wants(name) {
            self.run(name, body).await;
        }
    }

    /// A check that the others depend on, whatever the filter says; true if it passed.
    pub(crate) async fn must(
        &mut self,
        name: &str,
        body: impl Future<Output = anyhow::Result<Outcome>>,
    ) -> bool {
        let failed = self.failed;
        self.run(name, body).await;
        self.failed == failed
    }

    async fn run(&mut self, name: &str, body: impl Future<Output = anyhow::Result<Outcome>>) {
        println!("...  {name}");
        let start = Instant::now();
        let outcome = body.await;
        let took = seconds(start.elapsed());
        match outcome {
            Ok(Outcome { passed, failed: 0, detail }) => {
                self.passed += passed;
                println!("ok   {name}: {detail} ({took})");
            }
            Ok(Outcome { passed, failed, detail }) => {
                self.passed += passed;
                self.fail(name, failed, &detail, &took);
            }
            Err(e) => self.fail(name, 1, &format!("{e:#}"), &took),
        }
    }

    fn fail(&mut self, name: &str, failed: usize, detail: &str, took: &str) {
        self.failed += failed;
        self.failures.push(name.to_owned());
        println!("FAIL {name} ({took})\n     {}", detail.trim_end().replace('\n', "\n     "));
    }

    /// Prints the totals; true if something was tested and nothing failed.
    pub(crate) fn finish(self) -> bool {
        println!("\nafter {}", seconds(self.start.elapsed()));
        for name in &self.failures {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn totals_and_the_filter() {
        let mut report = Report::new("a");
        report.check("a1", async { Ok(Outcome::pass("fine")) }).await;
        report.check("b1", async { anyhow::bail!("is not wanted") }).await;
        assert_eq!((report.passed, report.failed), (1, 0));
        report
            .check("a2", async { Ok(Outcome { passed: 3, failed: 2, detail: String::new() }) })
            .await;
        report.check("a3", async { anyhow::bail!("broken") }).await;
        assert_eq!((report.passed, report.failed), (4, 3));
        assert_eq!(report.failures, ["a2", "a3"]);
        assert!(!report.finish());
    }

    #[test]
    fn testing_nothing_is_not_a_success() {
        assert!(!Report::new("").finish());
    }
}
