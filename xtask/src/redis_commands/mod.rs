//! What the Redis crate knows of the server's commands, asked of a server: the table, and how the server itself judged
//! command lines. With them, the page that tells what becomes of each command.

mod access;
mod client;
mod judged;
mod table;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::process::Child;

use crate::process::{command, run};
use crate::root;
use client::Client;

/// Starts a `redis-server` and writes everything anew.
pub(crate) async fn generate() -> anyhow::Result<()> {
    let folder = crate::target().join("xtask/redis-commands");
    fs::create_dir_all(&folder)?;
    let (_server, port) = server(&folder, &[]).await?;
    let mut client = Client::connect(port)?;
    write("codecs/redis/src/command/table.rs", &table::render(&mut client)?)?;
    write("testdata/redis/getkeys.txt", &judged::getkeys(&mut client)?)?;
    write("testdata/redis/acl.txt", &access::acl(&mut client, port)?)?;
    write("testdata/redis/globs.txt", &access::globs(&mut client)?)?;
    let (_server, port) = server(&folder, &["--cluster-enabled", "yes"]).await?;
    write("testdata/redis/slots.txt", &judged::slots(&mut Client::connect(port)?)?)?;
    let mut page = command("cargo");
    page.args(["test", "-p", "wiremesh-redis", "--test", "commands_page"]);
    page.env("UPDATE_DOCS", "1").current_dir(root());
    run("redis-commands-page", &mut page).await?;
    Ok(())
}

/// A server with nothing in it, on a free port of the loopback. It ends when the handle is dropped.
async fn server(folder: &Path, args: &[&str]) -> anyhow::Result<(Child, u16)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut start = command("redis-server");
    start.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]);
    let server = start.arg(folder).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server =
        server.context("cannot start redis-server (Debian: apt-get install redis-server)")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = Client::connect(port) {
        anyhow::ensure!(Instant::now() < deadline, "redis-server does not answer: {error:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((server, port))
}

fn write(file: &str, text: &str) -> anyhow::Result<()> {
    println!("{file}: {} lines", text.lines().count());
    let path = root().join(file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, text).with_context(|| file.to_owned())
}
