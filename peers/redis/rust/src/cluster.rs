//! The client of Redis Cluster, blocking and asynchronous.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use redis::cluster::{ClusterClient, ClusterClientBuilder, ClusterConnection, cluster_pipe};
use redis::{AsyncCommands, Commands, ProtocolVersion, RedisResult, Value, cmd};

use crate::steps::{Outcome, Steps, equal, refused};

pub async fn run(address: &str, resp: ProtocolVersion, steps: &mut Steps) -> RedisResult<()> {
    let seeds = vec![format!("redis://{address}")];
    let client = ClusterClientBuilder::new(seeds).use_protocol(resp).build()?;
    let mut con = client.get_connection()?;
    let _: Value = cmd("FLUSHALL").query(&mut con)?;
    steps.step("keys everywhere", everywhere(&mut con));
    steps.step("types", types(&mut con));
    steps.step("split", split(&mut con));
    steps.step("pipeline", pipeline(&mut con));
    steps.step("errors", errors(&mut con));
    steps.step("async", asynchronous(&client).await);
    Ok(())
}

fn everywhere(con: &mut ClusterConnection) -> Outcome {
    for n in 0..1000 {
        let _: () = con.set(format!("key{n}"), n)?;
    }
    for n in 0..1000 {
        equal(n, con.get(format!("key{n}"))?)?;
    }
    Ok("1000".into())
}

fn types(con: &mut ClusterConnection) -> Outcome {
    let _: () = con.hset_multiple("h", &[("a", 1), ("b", 2)])?;
    let map: BTreeMap<String, i32> = con.hgetall("h")?;
    let _: () = con.zadd("z", "a", 1.5)?;
    let scores: Vec<(String, f64)> = con.zrange_withscores("z", 0, -1)?;
    Ok(format!("{map:?} {scores:?}"))
}

fn split(con: &mut ClusterConnection) -> Outcome {
    let _: () = con.mset(&[("m1", 1), ("m2", 2), ("m3", 3)])?;
    let got: Vec<Option<i32>> = con.mget(&["m3", "m1", "nobody", "m2"])?;
    let removed: i32 = con.del(&["m1", "m2", "m3", "nobody"])?;
    Ok(format!("{got:?} {removed}"))
}

fn pipeline(con: &mut ClusterConnection) -> Outcome {
    let mut p = cluster_pipe();
    for n in 0..500 {
        p.set(format!("cp{n}"), n).ignore().get(format!("cp{n}"));
    }
    let answers: Vec<i32> = p.query(con)?;
    equal((0..500).collect(), answers)?;
    Ok("500".into())
}

fn errors(con: &mut ClusterConnection) -> Outcome {
    let _: () = con.set("str", "x")?;
    let seen = [
        refused(con.lpush::<_, _, i32>("str", 1))?,
        refused(cmd("SUNION").arg("a").arg("b").query::<Value>(con))?,
    ];
    Ok(format!("{seen:?}"))
}

async fn asynchronous(client: &ClusterClient) -> Outcome {
    let con = client.get_async_connection().await?;
    let all = (0..500).map(|n| {
        let mut con = con.clone();
        async move {
            let _: () = con.set(format!("ca{n}"), n).await?;
            con.get::<_, i32>(format!("ca{n}")).await
        }
    });
    equal((0..500).collect(), try_join_all(all).await?)?;
    Ok("500".into())
}
