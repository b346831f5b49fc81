//! `redis-client standalone|cluster HOST:PORT 2|3`: redis-rs, blocking and asynchronous.

mod asynchronous;
mod cluster;
mod standalone;
mod steps;

use std::process::ExitCode;

use redis::{Client, ProtocolVersion};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [topology, address, resp] = args.as_slice() else { return Err("three arguments".into()) };
    let mut steps = steps::Steps::default();
    if topology == "cluster" {
        let resp = if resp == "3" { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        cluster::run(address, resp, &mut steps).await?;
    } else {
        let client = Client::open(format!("redis://{address}/?protocol=resp{resp}"))?;
        standalone::run(&client, &mut steps)?;
        asynchronous::run(&client, &mut steps).await;
    }
    Ok(steps.finish())
}
