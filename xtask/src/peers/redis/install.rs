//! What the Redis peers need.

use std::path::PathBuf;

use anyhow::bail;

use crate::peers::install::{
    Program, Step, build, build_proxy, node_libraries, programs, python_libraries,
};
use crate::process::{answer, command, run};
use crate::report::Outcome;
use crate::{root, target};

/// The programs of this folder, by language.
pub(super) fn source(language: &str) -> PathBuf {
    root().join("peers/redis").join(language)
}

/// Where Python's libraries are.
pub(super) fn python() -> PathBuf {
    target().join("peers/redis-python")
}

/// Where the Rust client is built.
pub(super) fn rust() -> PathBuf {
    target().join("peers/redis-rust")
}

/// Everything to be done before the first cell, in order.
pub(super) fn all(direct: bool) -> Vec<(&'static str, Step)> {
    let mut steps: Vec<(&'static str, Step)> = vec![
        ("redis: server", Box::pin(server())),
        ("redis: Python", Box::pin(build_python())),
        ("redis: Node", Box::pin(build_node())),
        ("redis: Rust", Box::pin(build_rust())),
        ("redis: check", Box::pin(build_check())),
    ];
    if !direct {
        steps.push(("redis: the proxy", Box::pin(build_proxy())));
    }
    steps
}

const PROGRAMS: [Program; 6] = [
    ("redis-server", &["--version"], "redis-server"),
    ("redis-cli", &["--version"], "redis-tools"),
    ("redis-benchmark", &["--version"], "redis-tools"),
    ("node", &["--version"], "nodejs"),
    ("npm", &["--version"], "npm"),
    ("python3", &["-c", "import venv, ensurepip"], "python3-venv"),
];

async fn server() -> anyhow::Result<Outcome> {
    let needs = "the Redis peers need redis-server 7 with its tools, Node and Python 3 with venv";
    programs(&PROGRAMS, needs).await?;
    let version = answer("redis-server", &["--version"]).await.unwrap_or_default();
    if !version.contains(" v=7.") {
        bail!("redis-server 7 is compared with, this is {version}");
    }
    Ok(Outcome::pass(version.split(' ').nth(2).unwrap_or_default()))
}

async fn build_python() -> anyhow::Result<Outcome> {
    python_libraries(&python(), &source("python").join("requirements.txt")).await
}

async fn build_node() -> anyhow::Result<Outcome> {
    node_libraries(&source("node")).await
}

async fn build_rust() -> anyhow::Result<Outcome> {
    let source = source("rust");
    build(&rust(), &source, async {
        let mut cargo = command("cargo");
        cargo.args(["build", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
        run("redis-rust", cargo.arg("--target-dir").arg(rust())).await
    })
    .await
}

async fn build_check() -> anyhow::Result<Outcome> {
    let args = ["build", "--locked", "--package", "redis-check"];
    run("redis-check", command("cargo").args(args).current_dir(root())).await?;
    Ok(Outcome::pass("built"))
}
