//! What the peers need: runtimes, and their libraries from the registries.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::process::{answer, command, run};
use crate::report::Outcome;
use crate::{root, target};

pub(super) type Step = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>>>>;

/// Where the Java peers are built.
pub(super) fn java() -> PathBuf {
    // As the pom has it, which knows no CARGO_TARGET_DIR.
    root().join("target/peers/bolt-java")
}

/// Where the Python peers' libraries are.
pub(super) fn python() -> PathBuf {
    target().join("peers/bolt-python")
}

/// Everything to be done before the first cell, in order.
pub(super) fn all(direct: bool) -> Vec<(&'static str, Step)> {
    let mut steps: Vec<(&'static str, Step)> = vec![
        ("peers: runtimes", Box::pin(runtimes())),
        ("peers: Java", Box::pin(build_java())),
        ("peers: Node", Box::pin(build_node())),
        ("peers: Python", Box::pin(build_python())),
    ];
    if !direct {
        steps.push(("peers: the proxy", Box::pin(build_proxy())));
    }
    steps
}

/// A program, how to see that it works, and the Debian package that has it.
pub(super) type Program = (&'static str, &'static [&'static str], &'static str);

const RUNTIMES: [Program; 6] = [
    ("java", &["-version"], "openjdk-17-jdk-headless"),
    ("javac", &["-version"], "openjdk-17-jdk-headless"),
    ("mvn", &["--version"], "maven"),
    ("node", &["--version"], "nodejs"),
    ("npm", &["--version"], "npm"),
    ("python3", &["-c", "import venv, ensurepip"], "python3-venv"),
];

async fn runtimes() -> anyhow::Result<Outcome> {
    let needs = "the real peers need a JDK (17 or later), Maven, Node with npm (18 or later) and Python 3 with venv";
    programs(&RUNTIMES, needs).await?;
    Ok(Outcome::pass("java, mvn, node, npm, python3"))
}

/// Sees to it that these are there; `needs` says what for.
pub(super) async fn programs(programs: &[Program], needs: &str) -> anyhow::Result<()> {
    let lacking = |packages: &[&str]| {
        format!(
            "{needs}\nmissing here, by Debian's names: {}\n(without them: cargo xtask test --only hermetic)",
            packages.join(" ")
        )
    };
    let mut missing = self::missing(programs).await;
    if !missing.is_empty() && may_install().await {
        println!("     installing {}", missing.join(" "));
        install(&missing).await.with_context(|| lacking(&missing))?;
        missing = self::missing(programs).await;
    }
    if missing.is_empty() { Ok(()) } else { bail!("{}", lacking(&missing)) }
}

pub(super) async fn install(packages: &[&str]) -> anyhow::Result<()> {
    let apt = |args: &[&str]| {
        let mut apt = command("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run("apt-update", &mut apt(&["update"])).await?;
    let mut install = apt(&["install", "-y", "--no-install-recommends"]);
    run("apt-install", install.args(packages)).await?;
    Ok(())
}

async fn missing(programs: &[Program]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for &(program, args, package) in programs {
        if !packages.contains(&package) && answer(program, args).await.is_none() {
            packages.push(package);
        }
    }
    packages
}

/// Only on Debian and its kin, and only where nobody has to be asked.
pub(super) async fn may_install() -> bool {
    Path::new("/etc/debian_version").exists()
        && answer("id", &["-u"]).await.is_some_and(|id| id.trim() == "0")
}

async fn build_java() -> anyhow::Result<Outcome> {
    let source = root().join("peers/bolt/java");
    build(&java(), &source, async {
        let mut maven = command("mvn");
        maven.args(["--batch-mode", "--quiet", "clean", "package"]).current_dir(&source);
        run("maven", &mut maven).await
    })
    .await
}

async fn build_node() -> anyhow::Result<Outcome> {
    node_libraries(&root().join("peers/bolt/node")).await
}

/// What the lock file in a folder asks for.
pub(super) async fn node_libraries(source: &Path) -> anyhow::Result<Outcome> {
    build(&source.join("node_modules"), &source.join("package-lock.json"), async {
        let mut npm = command("npm");
        run("npm", npm.args(["ci", "--ignore-scripts"]).current_dir(source)).await
    })
    .await
}

async fn build_python() -> anyhow::Result<Outcome> {
    python_libraries(&python(), &root().join("peers/bolt/python/requirements.txt")).await
}

/// An environment with what a file of requirements asks for.
pub(super) async fn python_libraries(
    folder: &Path,
    requirements: &Path,
) -> anyhow::Result<Outcome> {
    build(folder, requirements, async {
        run("venv", command("python3").args(["-m", "venv", "--clear"]).arg(folder)).await?;
        let mut pip = command(folder.join("bin/pip"));
        let pip = pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]);
        run("pip", pip.arg(requirements)).await
    })
    .await
}

pub(super) async fn build_proxy() -> anyhow::Result<Outcome> {
    let args = ["build", "--release", "--locked", "--package", "wiremesh-proxy"];
    run("build-proxy", command("cargo").args(args).current_dir(root())).await?;
    Ok(Outcome::pass("built for release"))
}

/// Builds unless a stamp in `built` is younger than all of `source`.
pub(super) async fn build(
    built: &Path,
    source: &Path,
    body: impl Future<Output = anyhow::Result<String>>,
) -> anyhow::Result<Outcome> {
    let stamp = built.join("stamp");
    let newest = newest(source)?;
    if fs::metadata(&stamp).and_then(|m| m.modified()).is_ok_and(|built| built > newest) {
        return Ok(Outcome::pass("as before"));
    }
    body.await?;
    fs::write(&stamp, "").with_context(|| stamp.display().to_string())?;
    Ok(Outcome::pass("installed"))
}

/// When a file, or anything in a folder, was last changed.
fn newest(path: &Path) -> anyhow::Result<SystemTime> {
    let metadata = fs::metadata(path).with_context(|| path.display().to_string())?;
    let mut newest = metadata.modified()?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(self::newest(&entry?.path())?);
        }
    }
    Ok(newest)
}
