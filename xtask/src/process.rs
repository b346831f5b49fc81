//! Programs that this one starts, and what they use. Whatever happens to this one, they end with it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, anyhow};
use tokio::process::Command;

use crate::target;

/// A command that is killed when its handle is dropped, and that cannot ask anybody anything.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A command that runs on these cores only.
pub(crate) fn pinned(cpus: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    if cpus.is_empty() {
        return command(program);
    }
    let mut taskset = command("taskset");
    taskset.args(["-c", cpus]).arg(program);
    taskset
}

/// A new log file, and its path.
pub(crate) fn log(name: &str) -> anyhow::Result<(File, PathBuf)> {
    let folder = target().join("xtask");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.log"));
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    Ok((file, path))
}

/// What a program wrote, and how it ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) text: String,
    path: PathBuf,
}

impl Finished {
    /// An error that shows these lines and where the rest is.
    pub(crate) fn error(&self, lines: &str) -> anyhow::Error {
        anyhow!("{}\n{lines}\n(all of it: {})", self.status, self.path.display())
    }

    fn tail(&self) -> String {
        let lines: Vec<_> = self.text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Runs to the end, well or not, with all output in a log.
pub(crate) async fn finish(name: &str, command: &mut Command) -> anyhow::Result<Finished> {
    let (file, path) = log(name)?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .await
        .with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    Ok(Finished { status, text, path })
}

/// Runs to the end and returns what it wrote; if it does not end well, an error shows the last of it.
pub(crate) async fn run(name: &str, command: &mut Command) -> anyhow::Result<String> {
    let done = finish(name, command).await?;
    if done.status.success() { Ok(done.text) } else { Err(done.error(&done.tail())) }
}

/// Does the program answer, and with what?
pub(crate) async fn answer(program: &str, args: &[&str]) -> Option<String> {
    let output = command(program).args(args).output().await.ok()?;
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The processor time of all threads of a process. Threads that have ended are not in it.
pub(crate) fn cpu_nanos(pid: u32) -> anyhow::Result<u64> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let on_cpu = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
        nanos += on_cpu.context("schedstat without a time")?;
    }
    Ok(nanos)
}

/// The resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).context("no memory")
}
