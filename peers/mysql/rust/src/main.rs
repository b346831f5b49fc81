//! `mysql-client mysql-async|sqlx HOST:PORT SERVER CA`: a library's steps, all answers checked. With
//! `CLIENT-SERVER=HOST:PORT...` behind it: its logins by these ways, and no more. With `converse USER PASSWORD` behind it: one
//! short connection, to be recorded.

mod asynchronous;
mod conversation;
mod sqlx_steps;
mod steps;
mod ways;

use std::error::Error;
use std::process::ExitCode;

use steps::Steps;
use ways::Way;

/// What a client is told.
struct Target {
    host: String,
    port: u16,
    server: String,
    ca: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [library, address, server, ca, ways @ ..] = args.as_slice() else {
        eprintln!("mysql-client mysql-async|sqlx HOST:PORT SERVER CA [CLIENT-SERVER=HOST:PORT...]");
        return ExitCode::FAILURE;
    };
    let Some((host, Ok(port))) = address.rsplit_once(':').map(|(h, p)| (h, p.parse())) else {
        eprintln!("{address} is no address");
        return ExitCode::FAILURE;
    };
    let target = Target { host: host.into(), port, server: server.clone(), ca: ca.clone() };
    let mut steps = Steps::default();
    if let [word, user, password] = ways
        && word == "converse"
    {
        let done = match library.as_str() {
            "sqlx" => conversation::by_sqlx(&mut steps, &target, user, password).await,
            _ => conversation::by_mysql_async(&mut steps, &target, user, password).await,
        };
        return end(steps, done);
    }
    let Some(ways) = ways.iter().map(|way| Way::parse(way)).collect::<Option<Vec<_>>>() else {
        eprintln!("{ways:?} are no ways");
        return ExitCode::FAILURE;
    };
    let done = match (library.as_str(), ways.as_slice()) {
        ("sqlx", []) => sqlx_steps::run(&mut steps, &target).await,
        ("sqlx", ways) => sqlx_steps::log_in(&mut steps, &target, ways).await,
        (_, []) => asynchronous::run(&mut steps, &target).await,
        (_, ways) => asynchronous::log_in(&mut steps, &target, ways).await,
    };
    end(steps, done)
}

fn end(steps: Steps, done: Result<(), Box<dyn Error>>) -> ExitCode {
    if let Err(e) = done {
        println!("FAIL start: {e}");
        return ExitCode::FAILURE;
    }
    steps.finish()
}
