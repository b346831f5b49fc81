//! mysql_async.

use std::error::Error;

use bytes::Bytes;
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};
use mysql_async::prelude::*;
use mysql_async::{
    ChangeUserOpts, Compression, Conn, IsolationLevel, OptsBuilder, Pool, PoolConstraints,
    PoolOpts, Row, SslOpts, TxOpts,
};

use crate::Target;
use crate::steps::{Outcome, Steps, equal, until};
use crate::ways::{self, Way};

const ROWS: [usize; 7] =
    [0xffffff - 10, 0xffffff - 5, 0xffffff - 4, 0xffffff, 0x1000000, 20_000_000, 0x1fffffe];
const PARAMETERS: [usize; 4] = [0xffffff - 20, 0xffffff, 20_000_000, 40_000_000];

impl Target {
    pub fn options(&self, user: &str, password: &str) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(user))
            .pass(Some(password))
            .db_name(Some("test"))
            .prefer_socket(false)
            .max_allowed_packet(Some(1 << 27))
    }

    fn accounts(&self) -> Vec<(&'static str, &'static str)> {
        let mut accounts = vec![("nat", "natpw"), ("nopw", "")];
        match self.server.as_str() {
            "mysql8" => accounts.push(("sha2", "sha2pw")),
            "mariadb10" => accounts.push(("ed", "edpw")),
            _ => {}
        }
        accounts
    }

    async fn open(&self) -> mysql_async::Result<Conn> {
        Conn::new(self.options("nat", "natpw")).await
    }
}

fn said(e: &mysql_async::Error) -> String {
    match e {
        mysql_async::Error::Server(e) => format!("{}/{} {}", e.code, e.state, e.message),
        e => e.to_string(),
    }
}

pub fn refused<T>(code: u16, result: mysql_async::Result<T>) -> Outcome {
    match result {
        Err(mysql_async::Error::Server(e)) if e.code == code => {
            Ok(said(&mysql_async::Error::Server(e)))
        }
        Err(e) => Err(format!("wanted error {code}, saw {}", said(&e)).into()),
        Ok(_) => Err(format!("wanted error {code}, saw none").into()),
    }
}

/// The first column of the first row.
async fn one(c: &mut Conn, sql: impl Into<String>) -> mysql_async::Result<String> {
    let value: Option<Option<String>> = c.query_first(sql.into()).await?;
    Ok(value.flatten().unwrap_or_else(|| "NULL".into()))
}

async fn rows(c: &mut Conn, sql: &str) -> mysql_async::Result<String> {
    let rows: Vec<Row> = c.query(sql).await?;
    Ok(format!("{:?}", rows.into_iter().map(Row::unwrap).collect::<Vec<_>>()))
}

pub async fn run(steps: &mut Steps, target: &Target) -> Result<(), Box<dyn Error>> {
    let mut c = target.open().await?;
    logins(steps, target, &mut c).await;
    statements(steps, target, &mut c).await;
    sizes(steps, &mut c).await;
    endings(steps, target, &mut c).await;
    sessions(steps, target, &mut c).await;
    steps
        .step("end", async {
            c.query_drop("drop table if exists rs_m, rs_n, rs_t").await?;
            c.disconnect().await?;
            Ok("closed".into())
        })
        .await;
    Ok(())
}

/// By each of these ways.
pub async fn log_in(steps: &mut Steps, target: &Target, by: &[Way]) -> Result<(), Box<dyn Error>> {
    let forget = async || {
        let mut c = target.open().await?;
        c.query_drop("flush privileges").await?;
        Ok(c.disconnect().await?)
    };
    let enter = async |way: &Way, user: &str, password: &str| {
        let mut options = target.options(user, password).ip_or_hostname(way.host.clone());
        options = options.tcp_port(way.port);
        if way.is_secure() {
            // Whose certificate has its address.
            let ca = std::path::PathBuf::from(&target.ca);
            options = options.ssl_opts(SslOpts::default().with_root_certs(vec![ca.into()]));
        }
        let mut d = match Conn::new(options).await {
            Ok(d) => d,
            Err(mysql_async::Error::Server(e)) => return Ok(e.code.to_string()),
            Err(e) => return Err(e.into()),
        };
        let who = one(&mut d, "select current_user()").await?;
        let cipher: Option<(String, String)> =
            d.query_first("show status like 'Ssl_cipher'").await?;
        let (_, cipher) = cipher.ok_or("no status")?;
        // Several records of TLS.
        equal(100_000, one(&mut d, "select repeat('x', 100000)").await?.len())?;
        d.disconnect().await?;
        Ok(format!("{who} {}", if cipher.is_empty() { "clear" } else { "TLS" }))
    };
    ways::run(steps, &target.accounts(), by, forget, enter).await;
    Ok(())
}

async fn logins(steps: &mut Steps, target: &Target, c: &mut Conn) {
    for (user, password) in target.accounts() {
        // Of caching_sha2_password the first is full authentication, the second the fast one.
        let body = async {
            c.query_drop("flush privileges").await?;
            let mut seen = Vec::new();
            for _ in 0..2 {
                let mut d = Conn::new(target.options(user, password)).await?;
                seen.push(one(&mut d, "select current_user()").await?);
                d.disconnect().await?;
            }
            Ok(format!("{seen:?}"))
        };
        steps.step(&format!("auth {user}"), body).await;
    }
    let wrong = Conn::new(target.options("nat", "wrong")).await;
    steps.step("wrong password", async { refused(1045, wrong) }).await;
    let missing = Conn::new(target.options("nat", "natpw").db_name(Some("wm_missing"))).await;
    steps.step("unknown schema", async { refused(1049, missing) }).await;
    let plain = Conn::new(target.options("tlsonly", "tlspw")).await;
    steps.step("TLS needed", async { refused(1045, plain) }).await;
    let tls = async {
        let mut seen = Vec::new();
        for (user, password) in [("nat", "natpw"), ("tlsonly", "tlspw")] {
            let path = std::path::PathBuf::from(&target.ca);
            let tls = SslOpts::default()
                .with_root_certs(vec![path.into()])
                // The names in the certificate are none of the machine's.
                .with_danger_skip_domain_validation(true)
                .with_danger_accept_invalid_certs(true);
            let mut d = Conn::new(target.options(user, password).ssl_opts(tls)).await?;
            let cipher: Option<(String, String)> =
                d.query_first("show status like 'Ssl_cipher'").await?;
            let cipher = cipher.map(|(_, cipher)| cipher).filter(|cipher| !cipher.is_empty());
            seen.push((
                cipher.ok_or("no cipher")?,
                one(&mut d, "select repeat('x', 1000000)").await?.len(),
            ));
            d.disconnect().await?;
        }
        Ok(format!("{seen:?}"))
    };
    steps.step("TLS", tls).await;
    let compressed = async {
        let options = target.options("nat", "natpw").compression(Compression::default());
        let mut d = Conn::new(options).await?;
        let text = "ab".repeat(3_000_000);
        let seen: Option<String> = d.exec_first("select ?", (&text,)).await?;
        equal(Some(text), seen)?;
        Ok(rows(&mut d, "show status like 'Compression'").await?)
    };
    steps.step("compressed", compressed).await;
}

async fn statements(steps: &mut Steps, target: &Target, c: &mut Conn) {
    steps
        .step("types", async {
            let sql = "select 1, -9223372036854775808, 18446744073709551615, 1.5e0, 'text', null, x'00ff', \
                       cast('2026-11-21 20:15:00.000001' as datetime(6)), cast('-12:30:00' as time)";
            let text = rows(c, sql).await?;
            let prepared: Vec<Row> = c.exec(sql, ()).await?;
            let prepared: Vec<_> = prepared.into_iter().map(Row::unwrap).collect();
            Ok(format!("{text} {prepared:?}"))
        })
        .await;
    steps
        .step("parameters", async {
            let values = (i64::MIN, 1.5, "aé漢😀", None::<String>, vec![0u8, 1, 255]);
            type Values = (i64, f64, String, Option<String>, Vec<u8>);
            let seen: Option<Values> = c.exec_first("select ?, ?, ?, ?, ?", values).await?;
            Ok(format!("{seen:?}"))
        })
        .await;
    steps
        .step("several statements", async {
            c.query_drop("drop table if exists rs_m").await?;
            let sql = "select 1; create table rs_m(a int primary key auto_increment, b varchar(20)); \
                       insert into rs_m(b) values ('x'), ('y'); select b from rs_m order by a; select 7";
            let mut results = c.query_iter(sql).await?;
            let mut seen = Vec::new();
            while !results.is_empty() {
                let rows: Vec<String> = results.collect().await?;
                seen.push((rows, results.affected_rows()));
            }
            Ok(format!("{seen:?}"))
        })
        .await;
    steps
        .step("several, and an error", async {
            let sql = "select 1; select 2; select * from wm_missing; select 4";
            let mut seen = Vec::new();
            let mut results = c.query_iter(sql).await?;
            let ended = loop {
                match results.collect::<i32>().await {
                    Ok(rows) => seen.push(rows),
                    Err(e) => break Some(e),
                }
                if results.is_empty() {
                    break None;
                }
            };
            drop(results);
            // It tells of the error here, or with what is asked next.
            let ended = match ended {
                Some(e) => said(&e),
                None => one(c, "select 5").await.map_or_else(|e| said(&e), |_| "none".into()),
            };
            Ok(format!("{seen:?} {ended} {}", one(c, "select 6").await?))
        })
        .await;
    let none = c.query_drop("this is no statement").await;
    steps.step("no statement", async { refused(1064, none) }).await;
    steps
        .step("many rows", async {
            c.query_drop("drop table if exists rs_n").await?;
            c.query_drop("create table rs_n(a int primary key, b varchar(40))").await?;
            for block in 0..20 {
                let values =
                    (block * 1000..block * 1000 + 1000).map(|n| format!("({n}, 'row {n}')"));
                let values = values.collect::<Vec<_>>().join(",");
                c.query_drop(format!("insert into rs_n values {values}")).await?;
            }
            let want: Vec<(u32, String)> = (0..20_000).map(|n| (n, format!("row {n}"))).collect();
            equal(&want, &c.query("select a, b from rs_n order by a").await?)?;
            equal(&want, &c.exec("select a, b from rs_n where a >= ? order by a", (0,)).await?)?;
            Ok("20000, twice".into())
        })
        .await;
    let sql = "select a, if(a < 15000, a, (select 1 union select 2)) from rs_n order by a";
    let among = c.query::<Row, _>(sql).await;
    steps.step("an error among rows", async { refused(1242, among) }).await;
    steps
        .step("200 statements", async {
            // It would keep and close some of its own accord.
            let mut d = Conn::new(target.options("nat", "natpw").stmt_cache_size(Some(0))).await?;
            let mut prepared = Vec::new();
            for n in 0..200 {
                prepared.push(d.prep(format!("select ? + {n}")).await?);
            }
            for (n, statement) in prepared.into_iter().enumerate().rev() {
                equal(Some(1000 + n), d.exec_first(&statement, (1000,)).await?)?;
                d.close(statement).await?;
            }
            d.disconnect().await?;
            Ok("in the opposite order".into())
        })
        .await;
    steps
        .step("LOCAL INFILE", async {
            c.query_drop("drop table if exists rs_l").await?;
            c.query_drop("create table rs_l(a int, b varchar(20))").await?;
            for table in ["rs_l", "wm_missing"] {
                let block =
                    |k| (k * 100..k * 100 + 100).map(|n| format!("{n},v\n")).collect::<String>();
                let pieces = (0..500).map(move |k| Ok(Bytes::from(block(k))));
                c.set_infile_handler(async move { Ok(stream::iter(pieces).boxed()) });
                let sql = format!(
                    "load data local infile 'x' into table {table} fields terminated by ','"
                );
                let done = c.query_drop(sql).await;
                if table == "rs_l" {
                    done?;
                    equal(50_000, c.affected_rows())?;
                } else {
                    refused(1146, done)?;
                }
            }
            let sum = one(c, "select sum(a) from rs_l").await?;
            c.query_drop("drop table rs_l").await?;
            Ok(sum)
        })
        .await;
    steps
        .step("a file that is not given", async {
            let mut d = target.open().await?;
            let sql = "load data local infile 'none' into table rs_m";
            let said = d.query_drop(sql).await.map_or_else(|e| said(&e), |()| "no error".into());
            Ok(format!("{said} {}", one(c, "select 9").await?))
        })
        .await;
    steps
        .step("CALL", async {
            c.query_drop("drop procedure if exists rs_p").await?;
            let body = "select n, n + 1; select 'second' union all select 'row'; set o = n * 2;";
            c.query_drop(format!("create procedure rs_p(n int, out o int) begin {body} end"))
                .await?;
            let mut seen = Vec::new();
            let mut results = c.exec_iter("call rs_p(?, ?)", (21, 0)).await?;
            while !results.is_empty() {
                seen.push(results.collect::<Row>().await?.len());
            }
            drop(results);
            c.query_drop("call rs_p(4, @o)").await?;
            let o = one(c, "select @o").await?;
            c.query_drop("drop procedure rs_p").await?;
            Ok(format!("{seen:?} {o}"))
        })
        .await;
}

async fn sizes(steps: &mut Steps, c: &mut Conn) {
    for size in ROWS {
        let body = async {
            equal(size, one(c, format!("select repeat('x', {size})")).await?.len())?;
            Ok(one(c, "select 1").await?)
        };
        steps.step(&format!("row of {size}"), body).await;
    }
    for size in PARAMETERS {
        let body = async {
            let mut value = vec![b'z'; size];
            value[size - 1] = b'q';
            let end = value[size - 1000..].to_vec();
            let seen: Option<(usize, Vec<u8>)> =
                c.exec_first("select length(?), right(?, 3)", (value, end)).await?;
            equal(Some((size, b"zzq".to_vec())), seen)?;
            Ok(one(c, "select 1").await?)
        };
        steps.step(&format!("parameter of {size}"), body).await;
    }
}

async fn gone(c: &mut Conn, id: u32) -> Result<(), Box<dyn Error>> {
    let sql = format!("select count(*) from information_schema.processlist where id = {id}");
    let c = tokio::sync::Mutex::new(c);
    until("the connection has ended", || async {
        Ok(one(&mut *c.lock().await, sql.clone()).await? == "0")
    })
    .await
}

async fn endings(steps: &mut Steps, target: &Target, c: &mut Conn) {
    steps
        .step("transactions", async {
            c.query_drop("drop table if exists rs_t").await?;
            c.query_drop("create table rs_t(a int primary key) engine=innodb").await?;
            for n in 0..3 {
                let mut options = TxOpts::default();
                options.with_isolation_level(IsolationLevel::Serializable);
                let mut tx = c.start_transaction(options).await?;
                tx.exec_drop("insert into rs_t values (?)", (n,)).await?;
                match n {
                    0 => tx.rollback().await?,
                    1 => tx.commit().await?,
                    // It is rolled back when its connection is used again.
                    _ => drop(tx),
                }
            }
            Ok(rows(c, "select a from rs_t").await?)
        })
        .await;
    steps
        .step("KILL", async {
            let mut d = target.open().await?;
            d.query_drop("begin").await?;
            d.query_drop("insert into rs_t values (50)").await?;
            c.query_drop(format!("kill {}", d.id())).await?;
            gone(c, d.id()).await?;
            if one(&mut d, "select 1").await.is_ok() {
                return Err("an answer after KILL".into());
            }
            c.query_drop("insert into rs_t values (50)").await?;
            Ok("rolled back".into())
        })
        .await;
    steps
        .step("KILL QUERY", async {
            let mut d = target.open().await?;
            let id = d.id();
            let kill = async {
                let sql = format!(
                    "select count(*) from information_schema.processlist where info like 'select sum%, {id} from%'"
                );
                let locked = tokio::sync::Mutex::new(&mut *c);
                until("it runs", || async { Ok(one(*locked.lock().await, sql.clone()).await? == "1") }).await?;
                Ok::<_, Box<dyn Error>>(c.query_drop(format!("kill query {id}")).await?)
            };
            let sql =
                format!("select sum(a.a + b.a * c.a), {id} from rs_n a, rs_n b, rs_n c");
            let (ended, killed) = tokio::join!(d.query_drop(sql).map(|done| refused(1317, done)), kill);
            killed?;
            Ok(format!("{} {}", ended?, one(&mut d, "select 8").await?))
        })
        .await;
}

async fn sessions(steps: &mut Steps, target: &Target, c: &mut Conn) {
    steps
        .step("COM_RESET_CONNECTION", async {
            let mut d = target.open().await?;
            d.query_drop("set @r = 5").await?;
            d.query_drop("create temporary table rs_r(a int)").await?;
            let statement = d.prep("select 1").await?;
            equal(true, d.reset().await?)?;
            let old = d
                .exec_drop(&statement, ())
                .await
                .map_or_else(|e| said(&e), |()| "prepared anew".into());
            // MariaDB tells the statement's number, and goes on counting where the connection before on that thread ended.
            let old = old.replace(&format!("({})", statement.id()), "(its number)");
            let table = refused(1146, d.query_drop("select * from rs_r").await)?;
            Ok(format!("{} {old} {table}", rows(&mut d, "select @r, database()").await?))
        })
        .await;
    steps
        .step("COM_CHANGE_USER", async {
            let mut d = target.open().await?;
            d.query_drop("set @r = 5").await?;
            let options = ChangeUserOpts::new().with_db_name(Some("mysql".into()));
            d.change_user(options).await?;
            Ok(rows(&mut d, "select @r, current_user(), database()").await?)
        })
        .await;
    steps
        .step("a pool of 8", async {
            let limits = PoolConstraints::new(2, 8).ok_or("no pool")?;
            let options = PoolOpts::default().with_constraints(limits).with_reset_connection(true);
            let pool = Pool::new(target.options("nat", "natpw").pool_opts(options));
            let tasks = (0..16i64).map(|task| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for n in 0..50i64 {
                        let mut d = pool.get_conn().await?;
                        let sql = "select @g, ? * 1000 + ?";
                        let seen: Option<(Option<i64>, i64)> = d.exec_first(sql, (task, n)).await?;
                        if seen != Some((None, task * 1000 + n)) {
                            return Err(mysql_async::Error::Other(format!("{seen:?}").into()));
                        }
                        d.query_drop(format!("set @g = {task}")).await?;
                    }
                    Ok(())
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await??;
            }
            pool.disconnect().await?;
            Ok(format!("800 answers, {}", one(c, "select 1").await?))
        })
        .await;
}
