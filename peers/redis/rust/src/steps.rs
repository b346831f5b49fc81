//! Prints `ok NAME: ...` or `FAIL NAME: ...` for each step, and a last line.

use std::fmt::Debug;
use std::process::ExitCode;

pub type Outcome = Result<String, Box<dyn std::error::Error>>;

#[derive(Default)]
pub struct Steps {
    ok: usize,
    failed: usize,
}

impl Steps {
    pub fn step(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(detail) => {
                self.ok += 1;
                println!("ok {name}: {detail}");
            }
            Err(e) => {
                self.failed += 1;
                println!("FAIL {name}: {}", e.to_string().replace('\n', " "));
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

pub fn equal<T: PartialEq + Debug>(want: T, seen: T) -> Result<(), String> {
    if want == seen {
        return Ok(());
    }
    let brief = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
    Err(format!("wanted {}, saw {}", brief(&want), brief(&seen)))
}

/// The text of the error that has to come.
pub fn refused<T: Debug>(result: redis::RedisResult<T>) -> Result<String, String> {
    match result {
        Ok(value) => Err(format!("wanted an error, saw {value:?}")),
        Err(e) => Ok(e.to_string()),
    }
}
