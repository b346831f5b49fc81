//! The blocking client.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use redis::{Client, Commands, Connection, ConnectionLike, Script, Value, cmd, pipe};

use crate::steps::{Outcome, Steps, equal, refused};

pub fn run(client: &Client, steps: &mut Steps) -> redis::RedisResult<()> {
    let mut con = client.get_connection()?;
    let _: () = cmd("FLUSHALL").query(&mut con)?;
    steps.step("types", types(&mut con));
    steps.step("binary", binary(&mut con));
    steps.step("pipeline", pipeline(&mut con));
    steps.step("errors", errors(&mut con));
    steps.step("transaction", transaction(client));
    steps.step("scripts", scripts(&mut con));
    steps.step("scan", scan(&mut con));
    steps.step("blocking", blocking(client));
    steps.step("pubsub", pubsub(client));
    steps.step("databases", databases(client));
    steps.step("raw bytes", raw(&mut con));
    Ok(())
}

fn types(con: &mut Connection) -> Outcome {
    let _: () = con.set("s", 42)?;
    equal(42, con.get("s")?)?;
    equal(None::<String>, con.get("nobody")?)?;
    let _: () = con.hset_multiple("h", &[("a", 1), ("b", 2)])?;
    let map: BTreeMap<String, i32> = con.hgetall("h")?;
    let _: () = con.zadd_multiple("z", &[(1.5, "a"), (f64::INFINITY, "b")])?;
    let scores: Vec<(String, f64)> = con.zrange_withscores("z", 0, -1)?;
    equal(Some(1.5), con.zscore("z", "a")?)?;
    let _: () = con.sadd("e", &["x", "y", "z"])?;
    let set: BTreeSet<String> = con.smembers("e")?;
    let _: () = con.rpush("l", &[1, 2, 3])?;
    let list: Vec<i32> = con.lrange("l", 0, -1)?;
    let id: String = con.xadd("x", "1-1", &[("a", "b")])?;
    let stream: Value = con.xrange_all("x")?;
    Ok(format!("{map:?} {scores:?} {set:?} {list:?} {id} {stream:?}"))
}

fn binary(con: &mut Connection) -> Outcome {
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let _: () = con.set(&value[..300], &value)?;
    equal(value.clone(), con.get(&value[..300])?)?;
    let removed: i32 = con.del(&value[..300])?;
    Ok(removed.to_string())
}

fn pipeline(con: &mut Connection) -> Outcome {
    let mut p = pipe();
    for n in 0..2000 {
        p.set(format!("p{}", n % 50), n).ignore().get(format!("p{}", n % 50));
    }
    let answers: Vec<i32> = p.query(con)?;
    equal((0..2000).collect(), answers)?;
    Ok("2000".into())
}

fn errors(con: &mut Connection) -> Outcome {
    let _: () = con.set("str", "x")?;
    let seen = [
        refused(con.lpush::<_, _, i32>("str", 1))?,
        refused(con.incr::<_, _, i32>("str", 1))?,
        refused(cmd("NONSENSE").arg("a").query::<Value>(con))?,
        refused(cmd("GET").query::<Value>(con))?,
    ];
    Ok(format!("{seen:?}"))
}

/// Everybody adds; nothing may get lost.
fn transaction(client: &Client) -> Outcome {
    let mut con = client.get_connection()?;
    let _: () = con.set("sum", 0)?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut con = client.get_connection()?;
                    for _ in 0..25 {
                        redis::transaction(&mut con, &["sum"], |con, pipe| {
                            let sum: i32 = con.get("sum")?;
                            pipe.set("sum", sum + 1).query::<Option<()>>(con)
                        })?;
                    }
                    redis::RedisResult::Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| "panicked")?.map_err(|e| e.to_string()))
    })?;
    equal(150, con.get("sum")?)?;
    let (a, b): (String, i32) = pipe().atomic().set("tx", 1).incr("tx", 1).query(&mut con)?;
    Ok(format!("{a} {b}"))
}

fn scripts(con: &mut Connection) -> Outcome {
    let script = Script::new("return {KEYS[1], ARGV[1], 1, false, {2}}");
    let first: Value = script.key("k").arg("a").invoke(con)?;
    let second: Value = script.key("k").arg("b").invoke(con)?;
    let failure = refused(Script::new("return redis.call('nope')").invoke::<Value>(con))?;
    Ok(format!("{first:?} {second:?} {failure}"))
}

fn scan(con: &mut Connection) -> Outcome {
    for n in 0..500 {
        let _: () = con.set(format!("scan:{n}"), n)?;
    }
    let found: BTreeSet<String> = con.scan_match("scan:*")?.collect::<Result<_, _>>()?;
    Ok(found.len().to_string())
}

fn blocking(client: &Client) -> Outcome {
    let waiting: Vec<_> = (0..5)
        .map(|n| {
            let client = client.clone();
            thread::spawn(move || {
                let mut con = client.get_connection()?;
                con.blpop::<_, (String, i32)>(format!("bl{n}"), 10.0)
            })
        })
        .collect();
    let mut con = client.get_connection()?;
    for n in (0..5).rev() {
        equal(1, con.rpush(format!("bl{n}"), n)?)?;
    }
    for (n, waiting) in waiting.into_iter().enumerate() {
        let found = waiting.join().map_err(|_| "panicked")??;
        equal((format!("bl{n}"), n as i32), found)?;
    }
    let none: Option<(String, i32)> = con.blpop("nobody", 0.05)?;
    Ok(format!("{none:?}"))
}

fn pubsub(client: &Client) -> Outcome {
    let (mut con, mut publisher) = (client.get_connection()?, client.get_connection()?);
    let mut pubsub = con.as_pubsub();
    pubsub.set_read_timeout(Some(Duration::from_secs(5)))?;
    pubsub.subscribe("ch1")?;
    pubsub.psubscribe("pat*")?;
    for n in 0..100 {
        equal(1, publisher.publish("ch1", n)?)?;
    }
    let _: i32 = publisher.publish("pat1", "x")?;
    for n in 0..100 {
        equal(n, pubsub.get_message()?.get_payload()?)?;
    }
    let last = pubsub.get_message()?;
    pubsub.unsubscribe("ch1")?;
    let nobody: i32 = publisher.publish("ch1", "x")?;
    drop(pubsub);
    // The connection is an ordinary one again.
    let _: () = con.set("after", "pubsub")?;
    let after: String = con.get("after")?;
    Ok(format!("{} {:?} {nobody} {after}", last.get_channel_name(), last.get_payload_bytes()))
}

fn databases(client: &Client) -> Outcome {
    let (mut zero, mut three) = (client.get_connection()?, client.get_connection()?);
    let _: () = cmd("SELECT").arg(3).query(&mut three)?;
    let _: () = zero.set("where", "zero")?;
    let _: () = three.set("where", "three")?;
    let seen: (String, String) = (zero.get("where")?, three.get("where")?);
    let _: () = cmd("FLUSHDB").query(&mut three)?;
    Ok(format!("{seen:?}"))
}

/// Commands one after another in one write, in the library's own bytes.
fn raw(con: &mut Connection) -> Outcome {
    let mut bytes = Vec::new();
    for n in 0..100 {
        bytes.extend(cmd("ECHO").arg(n).get_packed_command());
    }
    let answers = con.req_packed_commands(&bytes, 0, 100)?;
    let seen: Vec<i32> =
        answers.into_iter().map(redis::from_redis_value).collect::<Result<_, _>>()?;
    equal((0..100).collect(), seen)?;
    Ok("100".into())
}
