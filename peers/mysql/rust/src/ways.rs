//! Logs in by several ways to the same server, and does no more than see how it came in.

use std::error::Error;

use crate::steps::{Outcome, Steps};

/// An address of the server, as `CLIENT-SERVER=HOST:PORT` has it: whether that leg has TLS (`TLS`) or not (`clear`).
pub struct Way {
    name: String,
    pub host: String,
    pub port: u16,
}

impl Way {
    pub fn parse(text: &str) -> Option<Self> {
        let (name, address) = text.split_once('=')?;
        let (host, port) = address.rsplit_once(':')?;
        Some(Self { name: name.into(), host: host.into(), port: port.parse().ok()? })
    }

    /// Whether the client's leg has TLS.
    pub fn is_secure(&self) -> bool {
        self.name.starts_with("TLS")
    }
}

/// Each account by each way, of which the last has TLS on both legs. `enter` says who it is, and whether the server sees
/// TLS; or the number of the error.
pub async fn run(
    steps: &mut Steps,
    accounts: &[(&str, &str)],
    ways: &[Way],
    forget: impl AsyncFn() -> Result<(), Box<dyn Error>>,
    enter: impl AsyncFn(&Way, &str, &str) -> Outcome,
) {
    for &(user, password) in accounts.iter().chain([&("tlsonly", "tlspw")]) {
        for way in ways {
            let body = async {
                // Of caching_sha2_password the first is full authentication, the second the fast one.
                forget().await?;
                let first = enter(way, user, password).await?;
                let mut seen = vec![first, enter(way, user, password).await?];
                if seen[1] == "1045" {
                    let elsewhere = ways.last().ok_or("no way")?;
                    enter(elsewhere, user, password).await?;
                    seen.push(enter(way, user, password).await?);
                }
                seen.push(enter(way, user, &format!("{password}x")).await?);
                Ok(seen.join(", "))
            };
            steps.step(&format!("{user} {}", way.name), body).await;
        }
    }
}
