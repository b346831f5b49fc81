//! One short connection of either library with something of everything, to be recorded.

use std::error::Error;

use mysql_async::prelude::*;
use mysql_async::{Conn, IsolationLevel, TxOpts};
use sqlx::{Connection, Executor, MySqlConnection, Row};

use crate::Target;
use crate::asynchronous::refused;
use crate::sqlx_steps;
use crate::steps::{Steps, equal};

const CREATE: &str = "create table wm_said(a int primary key, b varchar(20)) engine=innodb";
const INSERT: &str = "insert into wm_said values (?, ?)";
const TEXT: &str = "select a, b from wm_said order by a";
const PREPARED: &str = "select a, b from wm_said where a < ? order by a";
const SEVERAL: &str =
    "select 1; update wm_said set b = 'two' where a = 2; select b from wm_said where a = 2";

type Line = (i32, Option<String>);

fn table() -> Vec<Line> {
    vec![(1, Some("one".into())), (2, None), (3, Some("three".into()))]
}

pub async fn by_mysql_async(
    steps: &mut Steps,
    target: &Target,
    user: &str,
    password: &str,
) -> Result<(), Box<dyn Error>> {
    let mut c = Conn::new(target.options(user, password)).await?;
    steps
        .step("table", async {
            c.query_drop("drop table if exists wm_said").await?;
            c.query_drop(CREATE).await?;
            let insert = c.prep(INSERT).await?;
            for row in table() {
                c.exec_drop(&insert, row).await?;
            }
            let said = refused(1062, c.exec_drop(&insert, (1, "again")).await)?;
            c.close(insert).await?;
            Ok(said)
        })
        .await;
    steps
        .step("rows", async {
            equal(table(), c.query::<Line, _>(TEXT).await?)?;
            equal(table(), c.exec::<Line, _, _>(PREPARED, (10,)).await?)?;
            Ok(format!("{:?}", c.exec::<Line, _, _>(PREPARED, (0,)).await?))
        })
        .await;
    steps
        .step("several", async {
            let mut results = c.query_iter(SEVERAL).await?;
            let first: Vec<i32> = results.collect().await?;
            results.for_each(drop).await?;
            let last: Vec<String> = results.collect().await?;
            results.drop_result().await?;
            equal((vec![1], vec!["two".to_owned()]), (first, last))?;
            Ok("two".into())
        })
        .await;
    steps
        .step("transactions", async {
            for n in [4, 5] {
                let mut options = TxOpts::default();
                options.with_isolation_level(IsolationLevel::ReadCommitted);
                let mut tx = c.start_transaction(options).await?;
                tx.exec_drop(INSERT, (n, "new")).await?;
                if n == 4 { tx.rollback().await? } else { tx.commit().await? }
            }
            equal(vec![5], c.query::<i32, _>("select a from wm_said where a > 3").await?)?;
            Ok("5".into())
        })
        .await;
    steps
        .step("errors", async {
            let text = refused(1146, c.query_drop("select * from wm_missing").await)?;
            Ok(text + &refused(1146, c.prep("select * from wm_missing where a = ?").await)?)
        })
        .await;
    steps
        .step("ping", async {
            c.ping().await?;
            Ok("answered".into())
        })
        .await;
    steps
        .step("reset", async {
            c.query_drop("set @r = 5").await?;
            equal(true, c.reset().await?)?;
            let seen: Option<Option<i32>> = c.query_first("select @r").await?;
            equal(Some(None), seen)?;
            Ok("forgotten".into())
        })
        .await;
    steps
        .step("end", async {
            c.query_drop("drop table wm_said").await?;
            c.disconnect().await?;
            Ok("closed".into())
        })
        .await;
    Ok(())
}

pub async fn by_sqlx(
    steps: &mut Steps,
    target: &Target,
    user: &str,
    password: &str,
) -> Result<(), Box<dyn Error>> {
    let mut c = MySqlConnection::connect_with(&target.as_user(user, password)).await?;
    steps
        .step("table", async {
            c.execute(sqlx::raw_sql("drop table if exists wm_said")).await?;
            c.execute(sqlx::raw_sql(CREATE)).await?;
            for (a, b) in table() {
                sqlx::query(INSERT).bind(a).bind(b).execute(&mut c).await?;
            }
            // Closed when it was executed.
            let again = sqlx::query(INSERT).bind(1).bind("again").persistent(false);
            sqlx_steps::refused(1062, again.execute(&mut c).await)
        })
        .await;
    steps
        .step("rows", async {
            let line = |row: &sqlx::mysql::MySqlRow| Ok((row.try_get(0)?, row.try_get(1)?));
            let text = c.fetch_all(sqlx::raw_sql(TEXT)).await?;
            equal(table(), text.iter().map(line).collect::<sqlx::Result<_>>()?)?;
            let rows = sqlx::query(PREPARED).bind(10).persistent(false).fetch_all(&mut c).await?;
            equal(table(), rows.iter().map(line).collect::<sqlx::Result<_>>()?)?;
            let none = sqlx::query(PREPARED).bind(0).fetch_all(&mut c).await?;
            Ok(none.len().to_string())
        })
        .await;
    steps
        .step("several", async {
            let rows = c.fetch_all(sqlx::raw_sql(SEVERAL)).await?;
            equal(2, rows.len())?;
            Ok(rows[1].try_get::<String, _>(0)?)
        })
        .await;
    steps
        .step("transactions", async {
            for n in [4, 5] {
                let mut tx = Connection::begin(&mut c).await?;
                sqlx::query(INSERT).bind(n).bind("new").execute(&mut *tx).await?;
                if n == 4 { tx.rollback().await? } else { tx.commit().await? }
            }
            let sql = "select a from wm_said where a > 3";
            let seen: Vec<i32> = sqlx::query_scalar(sql).fetch_all(&mut c).await?;
            equal(vec![5], seen)?;
            Ok("5".into())
        })
        .await;
    steps
        .step("errors", async {
            let text = c.execute(sqlx::raw_sql("select * from wm_missing")).await;
            let text = sqlx_steps::refused(1146, text)?;
            let prepared = sqlx::query("select * from wm_missing where a = ?").bind(1);
            Ok(text + &sqlx_steps::refused(1146, prepared.execute(&mut c).await)?)
        })
        .await;
    steps
        .step("ping", async {
            c.ping().await?;
            Ok("answered".into())
        })
        .await;
    steps
        .step("end", async {
            c.execute(sqlx::raw_sql("drop table wm_said")).await?;
            c.close().await?;
            Ok("closed".into())
        })
        .await;
    Ok(())
}
