//! Every fuzz target for a while.

use anyhow::bail;

use crate::hermetic::tool;
use crate::process::{answer, command, run};
use crate::report::{Outcome, Report};
use crate::root;

/// Runs all targets. Without a nightly toolchain this says so, and fails only if it is `asked` for:
/// `cargo test` replays every corpus on stable.
///
/// Beside the other checks each target begins with the same seed, so that a change is not held up by what was there
/// before it; `asked` for alone they explore.
pub(crate) async fn run_all(report: &mut Report, seconds: u32, asked: bool) {
    if !root().join("fuzz/Cargo.toml").exists() {
        return;
    }
    if answer("rustup", &["run", "nightly", "rustc", "--version"]).await.is_none() {
        let missing = "no nightly toolchain: rustup toolchain install nightly";
        if asked {
            report.check("fuzz", async { bail!(missing) }).await;
        } else {
            println!("skip fuzz: {missing}");
        }
        return;
    }
    let targets = match targets().await {
        Ok(targets) => targets,
        Err(e) => return report.check("fuzz", async { Err(e) }).await,
    };
    for target in targets {
        report.check(&format!("fuzz {target}"), fuzz(&target, seconds, asked)).await;
    }
}

async fn targets() -> anyhow::Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml"))?;
    // The [[bin]] sections are the targets; each is named on a line of its own.
    let targets: Vec<_> = manifest
        .split("[[bin]]")
        .skip(1)
        .filter_map(|section| {
            let name = section.lines().find_map(|line| line.trim().strip_prefix("name"))?;
            Some(name.trim_matches(|c| " =\"".contains(c)).to_owned())
        })
        .collect();
    if targets.is_empty() {
        bail!("fuzz/Cargo.toml has no target");
    }
    Ok(targets)
}

async fn fuzz(target: &str, seconds: u32, explore: bool) -> anyhow::Result<Outcome> {
    let cargo_fuzz = tool("cargo-fuzz").await?;
    let mut fuzz = command("rustup");
    fuzz.args(["run", "nightly"]).arg(cargo_fuzz).args(["fuzz", "run", target, "--"]);
    fuzz.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1").current_dir(root());
    if !explore {
        fuzz.arg("-seed=1");
    }
    let text = run(&format!("fuzz-{target}"), &mut fuzz).await?;
    let runs = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map_or("?", str::trim);
    Ok(Outcome::pass(format!("{runs} inputs, no finding")))
}
