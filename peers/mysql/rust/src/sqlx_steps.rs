//! sqlx.

use std::error::Error;

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlSslMode};
use sqlx::{Acquire, Connection, Executor, Row};

use crate::Target;
use crate::steps::{Outcome, Steps, equal};
use crate::ways::{self, Way};

impl Target {
    pub fn as_user(&self, user: &str, password: &str) -> MySqlConnectOptions {
        let options = MySqlConnectOptions::new().host(&self.host).port(self.port).database("test");
        let options = options.ssl_mode(MySqlSslMode::Disabled).username(user);
        if password.is_empty() { options } else { options.password(password) }
    }

    async fn connect(&self) -> sqlx::Result<MySqlConnection> {
        MySqlConnection::connect_with(&self.as_user("nat", "natpw")).await
    }
}

pub fn refused<T>(code: u16, result: sqlx::Result<T>) -> Outcome {
    let Err(e) = result else { return Err(format!("wanted error {code}, saw none").into()) };
    let seen =
        e.as_database_error().and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
    match seen {
        Some(seen) if seen.number() == code => {
            Ok(format!("{code}/{:?} {}", seen.code(), seen.message()))
        }
        _ => Err(format!("wanted error {code}, saw {e}").into()),
    }
}

async fn one(c: &mut MySqlConnection, sql: &str) -> sqlx::Result<String> {
    c.fetch_one(sqlx::raw_sql(sql)).await?.try_get::<String, _>(0)
}

fn accounts(target: &Target) -> Vec<(&'static str, &'static str)> {
    let mut accounts = vec![("nat", "natpw"), ("nopw", "")];
    if target.server == "mysql8" {
        accounts.push(("sha2", "sha2pw"));
    }
    accounts
}

/// By each of these ways.
pub async fn log_in(steps: &mut Steps, target: &Target, by: &[Way]) -> Result<(), Box<dyn Error>> {
    let forget = async || {
        let mut c = target.connect().await?;
        c.execute("flush privileges").await?;
        Ok(c.close().await?)
    };
    let enter = async |way: &Way, user: &str, password: &str| {
        let mut options = target.as_user(user, password).host(&way.host).port(way.port);
        if way.is_secure() {
            options = options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(&target.ca);
        }
        let mut d = match MySqlConnection::connect_with(&options).await {
            Ok(d) => d,
            Err(e) => return number(e),
        };
        let who = one(&mut d, "select current_user()").await?;
        let row = d.fetch_one(sqlx::raw_sql("show status like 'Ssl_cipher'")).await?;
        let cipher: String = row.try_get(1)?;
        // Several records of TLS.
        equal(100_000, one(&mut d, "select repeat('x', 100000)").await?.len())?;
        d.close().await?;
        Ok(format!("{who} {}", if cipher.is_empty() { "clear" } else { "TLS" }))
    };
    ways::run(steps, &accounts(target), by, forget, enter).await;
    Ok(())
}

/// That of the server's error, if it is one.
fn number(e: sqlx::Error) -> Outcome {
    let seen =
        e.as_database_error().and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
    match seen {
        Some(seen) => Ok(seen.number().to_string()),
        None => Err(e.into()),
    }
}

pub async fn run(steps: &mut Steps, target: &Target) -> Result<(), Box<dyn Error>> {
    let mut c = target.connect().await?;
    for (user, password) in accounts(target) {
        let body = async {
            c.execute("flush privileges").await?;
            let mut seen = Vec::new();
            for _ in 0..2 {
                let mut d = MySqlConnection::connect_with(&target.as_user(user, password)).await?;
                seen.push(one(&mut d, "select current_user()").await?);
                d.close().await?;
            }
            Ok(format!("{seen:?}"))
        };
        steps.step(&format!("auth {user}"), body).await;
    }
    let wrong = MySqlConnection::connect_with(&target.as_user("nat", "wrong")).await;
    steps.step("wrong password", async { refused(1045, wrong) }).await;
    let tls = async {
        // The names in MySQL's certificate are none of the machine's, and sqlx looks at them with rustls whatever it is told.
        let options = target.as_user("tlsonly", "tlspw").ssl_mode(MySqlSslMode::Required);
        let mut d = MySqlConnection::connect_with(&options).await?;
        let row = d.fetch_one(sqlx::raw_sql("show status like 'Ssl_cipher'")).await?;
        let cipher: String = row.try_get(1)?;
        equal(false, cipher.is_empty())?;
        d.close().await?;
        Ok(cipher)
    };
    steps.step("TLS", tls).await;
    steps
        .step("parameters", async {
            let sql = "select ?, ?, ?, ?, ?";
            let asked = sqlx::query(sql).bind(i64::MIN).bind(1.5f64).bind("aé漢😀");
            let row = asked.bind(None::<String>).bind(vec![0u8, 1, 255]).fetch_one(&mut c).await?;
            let seen: (i64, f64, String, Option<String>, Vec<u8>) = (
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
                row.try_get(4)?,
            );
            Ok(format!("{seen:?}"))
        })
        .await;
    steps
        .step("many rows", async {
            c.execute("drop table if exists sx_n").await?;
            c.execute("create table sx_n(a int primary key, b varchar(40))").await?;
            for block in 0..20 {
                let values =
                    (block * 1000..block * 1000 + 1000).map(|n| format!("({n}, 'row {n}')"));
                let values = values.collect::<Vec<_>>().join(",");
                c.execute(format!("insert into sx_n values {values}").as_str()).await?;
            }
            let mut count = 0;
            let mut rows =
                sqlx::query("select a, b from sx_n where a >= ? order by a").bind(0).fetch(&mut c);
            while let Some(row) = rows.try_next().await? {
                equal((count, format!("row {count}")), (row.try_get(0)?, row.try_get(1)?))?;
                count += 1;
            }
            Ok(count.to_string())
        })
        .await;
    steps
        .step("several, and an error", async {
            let sql = "select 1; select 2; select * from wm_missing; select 4";
            let ended = refused(1146, c.fetch_all(sqlx::raw_sql(sql)).await)?;
            Ok(format!("{ended} {}", one(&mut c, "select '6'").await?))
        })
        .await;
    let none = c.execute("this is no statement").await;
    steps.step("no statement", async { refused(1064, none) }).await;
    for size in [0xffffffusize - 4, 0xffffff, 0x1fffffe] {
        let body = async {
            let sql = "select repeat('x', ?)";
            let row = sqlx::query(sql).bind(size as i64).fetch_one(&mut c).await?;
            equal(size, row.try_get::<String, _>(0)?.len())?;
            Ok(one(&mut c, "select '1'").await?)
        };
        steps.step(&format!("row of {size}"), body).await;
    }
    steps
        .step("transactions", async {
            c.execute("drop table if exists sx_t").await?;
            c.execute("create table sx_t(a int primary key) engine=innodb").await?;
            for n in 0..3 {
                let mut tx = Connection::begin(&mut c).await?;
                sqlx::query("insert into sx_t values (?)").bind(n).execute(&mut *tx).await?;
                let mut inner = tx.begin().await?;
                sqlx::query("insert into sx_t values (?)")
                    .bind(10 + n)
                    .execute(&mut *inner)
                    .await?;
                if n == 2 {
                    inner.commit().await?
                } else {
                    inner.rollback().await?
                }
                if n == 0 { tx.rollback().await? } else { tx.commit().await? }
            }
            let rows = c.fetch_all(sqlx::raw_sql("select a from sx_t order by a")).await?;
            let seen: Vec<i32> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            Ok(format!("{seen:?}"))
        })
        .await;
    steps
        .step("a pool of 8", async {
            let pool = MySqlPoolOptions::new().max_connections(8);
            let pool = pool.connect_with(target.as_user("nat", "natpw")).await?;
            let tasks = (0..16i64).map(|task| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for n in 0..50i64 {
                        let asked = sqlx::query_scalar("select ? * 1000 + ?").bind(task).bind(n);
                        let seen: i64 = asked.fetch_one(&pool).await?;
                        if seen != task * 1000 + n {
                            return Err(sqlx::Error::Protocol(format!("saw {seen}")));
                        }
                    }
                    Ok(())
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await??;
            }
            pool.close().await;
            Ok("800 answers".into())
        })
        .await;
    steps
        .step("end", async {
            c.execute("drop table if exists sx_n, sx_t").await?;
            c.ping().await?;
            c.close().await?;
            Ok("closed".into())
        })
        .await;
    Ok(())
}
