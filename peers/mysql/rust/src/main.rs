//! `mysql-client mysql-async|sqlx HOST:PORT SERVER CA`: a library's steps, all answers checked.

mod asynchronous;
mod sqlx_steps;
mod steps;

use std::process::ExitCode;

use steps::Steps;

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
    let [library, address, server, ca] = args.as_slice() else {
        eprintln!("mysql-client mysql-async|sqlx HOST:PORT SERVER CA");
        return ExitCode::FAILURE;
    };
    let Some((host, Ok(port))) = address.rsplit_once(':').map(|(h, p)| (h, p.parse())) else {
        eprintln!("{address} is no address");
        return ExitCode::FAILURE;
    };
    let target = Target { host: host.into(), port, server: server.clone(), ca: ca.clone() };
    let mut steps = Steps::default();
    let done = match library.as_str() {
        "sqlx" => sqlx_steps::run(&mut steps, &target).await,
        _ => asynchronous::run(&mut steps, &target).await,
    };
    if let Err(e) = done {
        println!("FAIL start: {e}");
        return ExitCode::FAILURE;
    }
    steps.finish()
}
