//! What a session is like when it begins, as the server itself has it.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use wiremesh_mysql::Command;

use super::variables::{CHARSETS, Variable, readable};
use crate::conn::{Conn, Login};

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Connect,
    Reset,
    ChangeUser,
}

impl Begin {
    pub(super) const ALL: [Self; 3] = [Self::Connect, Self::Reset, Self::ChangeUser];
}

/// Collations that clients log in with: of latin1, utf8mb3 and utf8mb4.
pub(super) const COLLATIONS: [u8; 3] = [8, 33, 45];

/// By collation and by beginning.
pub(super) struct Defaults(Vec<((u8, Begin), Fresh)>);

/// A session that nothing was said in.
pub(super) struct Fresh {
    /// By their place in the list of variables.
    pub(super) variables: Vec<String>,
    /// As `charsets` reads them.
    pub(super) charsets: String,
    /// After a last insert id of 7 in the session before.
    pub(super) last_insert_id: String,
}

impl Defaults {
    pub(super) fn of(address: SocketAddr, login: &Login, maria: bool) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for collation in COLLATIONS {
            let login = Login { collation, ..login.clone() };
            for begin in Begin::ALL {
                let mut conn = Conn::login(address, &login)?;
                if begin != Begin::Connect {
                    // What was said before may matter to what comes behind.
                    for text in ["select last_insert_id(7)", "set names latin1"] {
                        conn.query(text)?;
                    }
                }
                match begin {
                    Begin::Connect => {}
                    Begin::Reset => drop(conn.simple(Command::ResetConnection, &[])?),
                    Begin::ChangeUser => conn.change_user(&login)?,
                }
                all.push(((collation, begin), Fresh::of(&mut conn, maria)?));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn at(&self, collation: u8, begin: Begin) -> anyhow::Result<&Fresh> {
        let found = self.0.iter().find(|(key, _)| *key == (collation, begin));
        Ok(&found.context("every collation and beginning is there")?.1)
    }
}

impl Fresh {
    fn of(conn: &mut Conn, maria: bool) -> anyhow::Result<Self> {
        let mut read = |text: &str| {
            anyhow::Ok(conn.statement(text)?.value().context(text.to_owned())?.unwrap_or_default())
        };
        let last_insert_id = read("select last_insert_id()")?;
        let variables = Variable::all(maria)
            .iter()
            .map(|variable| read(&readable(variable)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { variables, charsets: read(CHARSETS)?, last_insert_id })
    }
}

/// Makes the schemas that sessions look for each other in.
pub(super) fn furnish(admin: &mut Conn, maria: bool) -> anyhow::Result<()> {
    const BOTH: [&str; 24] = [
        "drop database if exists leak_a",
        "drop database if exists leak_b",
        "create database leak_a character set utf8mb4",
        "create database leak_b character set latin1",
        "create table leak_a.here (name varchar(20))",
        "create table leak_b.here (name varchar(20))",
        "insert into leak_a.here values ('leak_a')",
        "insert into leak_b.here values ('leak_b')",
        "create table leak_a.five (n int primary key)",
        "create view leak_a.last_id as select last_insert_id() as id",
        "insert into leak_a.five values (1),(2),(3),(4),(5)",
        "create table leak_a.many (n int primary key)",
        "insert into leak_a.many select (a.n - 1) * 125 + (b.n - 1) * 25 + (c.n - 1) * 5 + d.n \
         from leak_a.five a, leak_a.five b, leak_a.five c, leak_a.five d",
        "create table leak_a.entries (id bigint auto_increment primary key, owner varchar(40), \
         done int, index (owner))",
        "create table leak_a.counted (id bigint auto_increment primary key, owner varchar(40))",
        "create function leak_a.remember(what varchar(60)) returns int no sql \
         begin set @v0 = what; return 1; end",
        "create function leak_a.take(what varchar(60)) returns int no sql \
         begin return get_lock(what, 0); end",
        "create procedure leak_a.zone(what varchar(60)) set time_zone = what",
        "create procedure leak_a.recall(what varchar(60)) set @v1 = what",
        "create procedure leak_a.keep(what varchar(60)) \
         begin create temporary table leak_a.t0 (v varchar(60)); insert into leak_a.t0 values (what); end",
        "create procedure leak_a.schemas() select name from here",
        "create procedure leak_a.nothing() begin end",
        "create procedure leak_a.told() select last_insert_id(), found_rows(), row_count()",
        "set @nothing = 1",
    ];
    for text in BOTH.into_iter().chain(maria.then_some("create sequence leak_a.numbers")) {
        for answer in admin.query(text)? {
            ensure!(answer.failure().is_none(), "{text}: {answer:?}");
        }
    }
    Ok(())
}
