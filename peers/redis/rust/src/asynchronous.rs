//! The multiplexing asynchronous client.

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use redis::{AsyncCommands, Client, RedisResult, Value, pipe};

use crate::steps::{Outcome, Steps, equal};

pub async fn run(client: &Client, steps: &mut Steps) {
    steps.step("async many at once", many(client).await);
    steps.step("async pipeline", pipeline(client).await);
    steps.step("async pubsub", pubsub(client).await);
    steps.step("async connections", connections(client).await);
}

/// On one connection.
async fn many(client: &Client) -> Outcome {
    let con = client.get_multiplexed_async_connection().await?;
    let all = (0..1000).map(|n| {
        let mut con = con.clone();
        async move {
            let _: () = con.set(format!("am{n}"), n).await?;
            con.get::<_, i32>(format!("am{n}")).await
        }
    });
    equal((0..1000).collect(), try_join_all(all).await?)?;
    Ok("1000".into())
}

async fn pipeline(client: &Client) -> Outcome {
    let mut con = client.get_multiplexed_async_connection().await?;
    let value: Value = pipe()
        .atomic()
        .set("{ap}a", 1)
        .incr("{ap}a", 5)
        .hset("{ap}h", "f", "v")
        .hgetall("{ap}h")
        .query_async(&mut con)
        .await?;
    Ok(format!("{value:?}"))
}

async fn pubsub(client: &Client) -> Outcome {
    let mut con = client.get_multiplexed_async_connection().await?;
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe("ach").await?;
    for n in 0..50 {
        equal(1, con.publish("ach", n).await?)?;
    }
    let mut messages = pubsub.on_message();
    for n in 0..50 {
        let message = messages.next().await.ok_or("no message")?;
        equal(n, message.get_payload()?)?;
    }
    Ok("50".into())
}

async fn connections(client: &Client) -> Outcome {
    let all = (0..50).map(|n| async move {
        let mut con = client.get_multiplexed_async_connection().await?;
        let _: () = con.set(format!("ac{n}"), n).await?;
        RedisResult::Ok(con.get::<_, i32>(format!("ac{n}")).await?)
    });
    equal((0..50).collect(), try_join_all(all).await?)?;
    Ok("50".into())
}
