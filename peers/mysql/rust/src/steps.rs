//! Prints `ok NAME: ...` or `FAIL NAME: ...` for each step but those of `SKIP_STEPS` (`NAME;NAME`), and a last line.

use std::error::Error;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub type Outcome = Result<String, Box<dyn Error>>;

#[derive(Default)]
pub struct Steps {
    ok: usize,
    failed: usize,
}

impl Steps {
    pub async fn step(&mut self, name: &str, body: impl Future<Output = Outcome>) {
        let skipped = std::env::var("SKIP_STEPS").unwrap_or_default();
        if skipped.split(';').any(|skipped| skipped == name) {
            return;
        }
        match body.await {
            Ok(detail) => {
                self.ok += 1;
                println!("ok {name}: {}", brief(&detail));
            }
            Err(e) => {
                self.failed += 1;
                println!("FAIL {name}: {}", brief(&e.to_string()));
            }
        }
    }

    pub fn finish(self) -> ExitCode {
        let pass = self.failed == 0 && self.ok > 0;
        let verdict = if pass { "PASS" } else { "FAILED" };
        println!("{verdict} {} ok, {} failed", self.ok, self.failed);
        if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

pub fn brief(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start: String = text.chars().take(300).collect();
    if start.len() == text.len() { text } else { format!("{start}... ({})", text.len()) }
}

pub fn equal<T: PartialEq + Debug>(want: T, seen: T) -> Result<(), String> {
    if want == seen {
        return Ok(());
    }
    Err(format!("wanted {}, saw {}", brief(&format!("{want:?}")), brief(&format!("{seen:?}"))))
}

/// Asks until it is so.
pub async fn until<F: Future<Output = Result<bool, Box<dyn Error>>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition().await? {
        if Instant::now() > end {
            return Err(format!("still not: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
