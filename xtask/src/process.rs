//! Programs that this one starts. Whatever happens to this one, they end with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::target;

/// A command that is killed when its handle is dropped, and that cannot ask anybody anything.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A new log file, and its path.
pub(crate) fn log(name: &str) -> anyhow::Result<(File, PathBuf)> {
    let folder = target().join("xtask");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.log"));
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    Ok((file, path))
}

/// Runs to the end with all output in a log, and returns the log's text; an error shows its end.
pub(crate) async fn run(name: &str, command: &mut Command) -> anyhow::Result<String> {
    let (file, path) = log(name)?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .await
        .with_context(|| format!("cannot start {program}"))?;
    let text = read(&path)?;
    if status.success() { Ok(text) } else { bail!("{status}\n{}", tail(&text, &path)) }
}

/// Does the program answer, and with what?
pub(crate) async fn answer(program: &str, args: &[&str]) -> Option<String> {
    let output = command(program).args(args).output().await.ok()?;
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// The last lines of a log, and where the rest is.
fn tail(text: &str, path: &Path) -> String {
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(60);
    format!("{}\n(all of it: {})", lines[from..].join("\n"), path.display())
}
