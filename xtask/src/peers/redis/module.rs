//! The commands of a module that the proxy has never heard of: RediSearch, as Debian has it.

use std::path::Path;

use anyhow::{bail, ensure};

use super::proxy::Proxy;
use super::server::{Cluster, Server, ask};
use crate::peers::install::{install, may_install};
use crate::report::Outcome;

pub(super) const NAME: &str = "redis-module";

const MODULE: &str = "/usr/lib/redis/modules/redisearch.so";
const PACKAGE: &str = "redis-redisearch";
const LOAD: [&str; 2] = ["--loadmodule", MODULE];
const KEYS: usize = 60;

/// In a cluster its keys go to their shards; before two servers routes and users see them.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    if !Path::new(MODULE).exists() && may_install().await {
        install(&[PACKAGE]).await?;
    }
    ensure!(Path::new(MODULE).exists(), "{MODULE} is missing; Debian has it in {PACKAGE}");
    let shares = clustered().await?;
    alone().await?;
    let detail = format!("{KEYS} keys over the shards: {shares:?}; routes and users see them");
    Ok(Outcome { passed: 2, failed: 0, detail })
}

/// How many keys each primary got.
async fn clustered() -> anyhow::Result<Vec<u64>> {
    let cluster = Cluster::start_with(&LOAD).await?;
    let mut proxy = Proxy::start(&cluster.seeds()[..1], &["--cluster"]).await?;
    for node in &cluster.nodes {
        node.ask(&["CONFIG", "RESETSTAT"]).await?;
    }
    for n in 0..KEYS {
        let key = format!("k{n}");
        for (line, wanted) in [
            (&["FT.SUGADD", &key, "hello", "1"][..], "1"),
            (&["FT.SUGLEN", &key], "1"),
            (&["FT.SUGGET", &key, "hel"], "hello"),
        ] {
            let seen = ask(proxy.address, line).await?;
            ensure!(seen == wanted, "{line:?}: {seen}");
        }
    }
    let mut shares = Vec::new();
    for n in cluster.primaries().await? {
        let errors = cluster.nodes[n].ask(&["INFO", "errorstats"]).await?;
        if errors.contains("MOVED") {
            bail!("keys came to the wrong shard: {errors}");
        }
        let calls = cluster.nodes[n].ask(&["INFO", "commandstats"]).await?;
        let adds = calls.lines().find_map(|line| line.strip_prefix("cmdstat_FT.SUGADD:calls="));
        let adds = adds.and_then(|rest| rest.split(',').next()?.parse().ok());
        shares.push(adds.unwrap_or(0));
    }
    ensure!(shares.iter().sum::<u64>() == KEYS as u64, "{shares:?}");
    ensure!(shares.iter().all(|share| *share > 5), "{shares:?}");
    proxy.check()?;
    Ok(shares)
}

/// Two servers, a route by the key, a user with keys of its own.
async fn alone() -> anyhow::Result<()> {
    let (one, other) = (Server::start(&LOAD).await?, Server::start(&LOAD).await?);
    let mut proxy = Proxy::run(|address| {
        format!(
            "listeners:\n\
             - name: redis\n  \
               address: {address}\n  \
               protocols: [redis]\n  \
               options:\n    \
                 redis:\n      \
                   user default: on nopass ~k* ~cache:* +@all\n  \
               routes:\n  \
               - {{ name: cache, match: {{ headers: [{{ name: key, prefix: \"cache:\" }}] }}, cluster: other }}\n  \
               - {{ name: all, cluster: one }}\n\
             clusters:\n\
             - {{ name: one, endpoints: [\"{}\"] }}\n\
             - {{ name: other, endpoints: [\"{}\"] }}\n",
            one.address, other.address
        )
    })
    .await?;
    for (key, wanted) in [("k", "1"), ("cache:k", "1"), ("x", "NOPERM")] {
        let seen = ask(proxy.address, &["FT.SUGADD", key, "hello", "1"]).await?;
        ensure!(seen.starts_with(wanted), "{key}: {seen}");
    }
    for (server, key) in [(&one, "k"), (&other, "cache:k")] {
        let seen = server.ask(&["KEYS", "*"]).await?;
        ensure!(seen == key, "{}: {seen}", server.address);
    }
    proxy.check()
}
