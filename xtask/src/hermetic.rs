//! What needs Rust alone: format, lints, tests, documentation, the sizes of files, licences.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::process::{answer, command, finish, run};
use crate::report::{Outcome, Report};
use crate::{root, target};

/// No file of code or documentation may be longer.
const MAX_LINES: usize = 1000;
const COUNTED: [&str; 5] = [".rs", ".java", ".js", ".py", ".md"];

/// All of them.
pub(crate) async fn run_all(report: &mut Report) {
    report.check("format", format()).await;
    report.check("file sizes", async { sizes().await }).await;
    report.check("lints", lints()).await;
    report.check("tests", tests()).await;
    report.check("documentation", documentation()).await;
    report.check("licences", licences()).await;
}

async fn format() -> anyhow::Result<Outcome> {
    run("format", cargo("fmt").args(["--all", "--check"])).await?;
    if root().join("fuzz").is_dir() {
        run("format-fuzz", cargo("fmt").args(["--manifest-path", "fuzz/Cargo.toml", "--check"]))
            .await?;
    }
    Ok(Outcome::pass("as rustfmt wants it"))
}

async fn lints() -> anyhow::Result<Outcome> {
    let args = ["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run("lints", cargo("clippy").args(args)).await?;
    Ok(Outcome::pass("no warnings"))
}

async fn tests() -> anyhow::Result<Outcome> {
    let args = ["--workspace", "--locked", "--no-fail-fast"];
    let mut test = cargo("test");
    // Properties are tried with the same values each time; plain `cargo test` draws others.
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        test.env("PROPTEST_RNG_SEED", "1");
    }
    let done = finish("tests", test.args(args)).await?;
    let (passed, failed) = (count(&done.text, "passed"), count(&done.text, "failed"));
    if done.status.success() && passed > 0 {
        return Ok(Outcome { passed, failed, detail: format!("{passed} tests") });
    }
    let complaints = done.text.lines().filter(|line| complains(line));
    let complaints: Vec<_> = complaints.map(|line| line.get(..300).unwrap_or(line)).collect();
    let detail = format!("{:#}", done.error(&complaints.join("\n")));
    Ok(Outcome { passed, failed: failed.max(1), detail })
}

async fn documentation() -> anyhow::Result<Outcome> {
    let mut doc = cargo("doc");
    doc.args(["--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
    run("documentation", &mut doc).await?;
    Ok(Outcome::pass("no warnings"))
}

async fn sizes() -> anyhow::Result<Outcome> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = command("git").args(args).current_dir(root()).output().await?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut counted = 0;
    let mut long = Vec::new();
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        if !COUNTED.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        // A file that is staged for removal is listed and not there.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        counted += 1;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            long.push(format!("{name}: {lines} lines, at most {MAX_LINES}"));
        }
    }
    if !long.is_empty() {
        bail!("{}", long.join("\n"));
    }
    Ok(Outcome::pass(format!("{counted} files, none over {MAX_LINES} lines")))
}

async fn licences() -> anyhow::Result<Outcome> {
    let deny = tool("cargo-deny").await?;
    // Advisories need a database from outside: `cargo deny check` alone looks at them too.
    let args = ["--all-features", "check", "licenses", "bans", "sources"];
    run("licences", command(deny).args(args).current_dir(root())).await?;
    Ok(Outcome::pass("as deny.toml allows"))
}

/// A cargo tool's executable: the installed one, or one that is installed under target/.
pub(crate) async fn tool(name: &str) -> anyhow::Result<PathBuf> {
    if answer(name, &["--version"]).await.is_some() {
        return Ok(name.into());
    }
    let folder = target().join("tools");
    let executable = folder.join("bin").join(name);
    if !executable.exists() {
        println!("     installing {name} (once, a few minutes)");
        let mut install = cargo("install");
        install.args([name, "--locked", "--root"]).arg(&folder);
        // The profile and flags of whoever called are not the tool's.
        install.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
        run(&format!("install-{name}"), &mut install)
            .await
            .with_context(|| format!("cannot install it: cargo install {name} --locked"))?;
    }
    Ok(executable)
}

fn cargo(subcommand: &str) -> Command {
    let mut cargo = command("cargo");
    cargo.arg(subcommand).current_dir(root());
    cargo
}

/// How many tests the closing lines of `cargo test` say have passed, or failed.
fn count(text: &str, what: &str) -> usize {
    let results = text.lines().filter_map(|line| line.strip_prefix("test result: "));
    let counts = results.flat_map(|result| result.split([';', '.']));
    counts.filter_map(|count| count.trim().strip_suffix(what)?.trim().parse::<usize>().ok()).sum()
}

/// Does this line of `cargo test` say what is wrong, be it a test or the compiler's opinion?
fn complains(line: &str) -> bool {
    line.starts_with("error")
        || (line.starts_with("test ") && line.ends_with("FAILED"))
        || (line.starts_with("thread ") && line.contains("panicked at"))
        || line.starts_with("  left: ")
        || line.starts_with(" right: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_cargo_says() {
        let text = "running 2 tests\n\
                    test result: ok. 2 passed; 0 failed; 0 ignored; finished in 0.05s\n\
                    test result: FAILED. 40 passed; 3 failed; 1 ignored; finished in 1.20s\n";
        assert_eq!(count(text, "passed"), 42);
        assert_eq!(count(text, "failed"), 3);
        assert_eq!(count("nothing", "passed"), 0);
    }

    #[test]
    fn finds_the_complaints() {
        assert!(complains("test a::b ... FAILED"));
        assert!(complains("thread 'a::b' (1) panicked at a.rs:1:2:"));
        assert!(complains("error[E0308]: mismatched types"));
        assert!(!complains("test a::b ... ok"));
    }
}
