//! Statements drawn at random.

use fastrand::Rng;

use super::Mode;

/// A command.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Query(String),
    InitDb(String),
    Ping,
    Statistics,
    FieldList(&'static str, &'static str),
    Reset,
    ChangeUser,
    SetOption(u16),
    /// One that servers refuse.
    Unknown,
    Prepare(usize, String),
    Execute {
        at: usize,
        values: Vec<Value>,
        types: bool,
        cursor: bool,
    },
    Fetch(usize, u32),
    /// The first parameter, in a piece, and then the execution.
    LongData {
        at: usize,
        text: String,
        value: i64,
    },
    Restart(usize),
    Close(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Number(i64),
    Text(String),
}

impl Op {
    /// Statements that are prepared at a time.
    pub(super) const SLOTS: usize = 4;
}

pub(super) fn script(random: &mut Rng, schema: &str, mode: Mode) -> Vec<Op> {
    let mut script = Vec::new();
    // Whether the types of a slot's parameters are known.
    let mut told = [false; Op::SLOTS];
    // What it was executed with, if it was: text, or something else.
    let mut used = [None; Op::SLOTS];
    let len = random.usize(8..40);
    while script.len() < len {
        match random.u8(..20) {
            0..=8 => script.push(Op::Query(statement(random, schema))),
            9 | 10 => script.extend(pair(random).map(|text| Op::Query(text.into()))),
            11..=15 => prepared(random, mode, &mut told, &mut used, &mut script),
            16 => script.push(Op::Query(several(random))),
            _ => {
                let op = command(random, schema);
                if matches!(op, Op::Reset | Op::ChangeUser) {
                    told = [false; Op::SLOTS];
                }
                script.push(op);
            }
        }
    }
    script
}

fn command(random: &mut Rng, schema: &str) -> Op {
    match random.u8(..14) {
        0 => Op::Ping,
        1 => Op::Statistics,
        2 => Op::InitDb(schema.into()),
        3 => Op::InitDb("differ_nobody".into()),
        4 => Op::FieldList("t", ""),
        5 => Op::FieldList("u", "%"),
        6 => Op::FieldList("nothing", ""),
        7 | 8 => Op::Reset,
        9 => Op::ChangeUser,
        10 => Op::SetOption(0),
        11 => Op::SetOption(1),
        12 => Op::Unknown,
        _ => Op::Query(String::new()),
    }
}

fn prepared(
    random: &mut Rng,
    mode: Mode,
    told: &mut [bool],
    used: &mut [Option<bool>],
    script: &mut Vec<Op>,
) {
    const TEXTS: [&str; 16] = [
        "select ?, ? + 1",
        "select * from t where id > ? order by id",
        "insert into t (name, n) values (concat(?, 'x'), ?)",
        "update t set n = n + ? where id <= ?",
        "delete from t where id = ?",
        "select id, name, twice(n) from t order by id",
        "call p(?, @y)",
        "set @a = ?",
        "select @a, database(), @@sql_mode",
        "set time_zone = ?",
        "select nothing from t",
        "selec",
        "show warnings",
        "select cast(? as signed), 1/0",
        "commit",
        "select mysql_query_attribute_string('who'), mysql_query_attribute_string('nobody'), ?",
    ];
    let at = random.usize(..Op::SLOTS);
    let number = random.i64(-3..9);
    match random.u8(..12) {
        0..=3 => {
            (told[at], used[at]) = (false, None);
            script.push(Op::Prepare(at, TEXTS[random.usize(..TEXTS.len())].into()));
        }
        4..=7 => {
            let types = !told[at] || random.bool();
            // The same types each time, since they may be left out.
            let mut values = vec![Value::Text(format!("{number}")), Value::Text("2".into())];
            if types && random.u8(..3) == 0 {
                values = vec![Value::Number(number), Value::Null];
            }
            let told_text = types && matches!(values[0], Value::Text(_));
            told[at] = if types { told_text } else { told[at] };
            let text = matches!(values[0], Value::Text(_));
            if mode == Mode::Pooled && used[at].is_some_and(|before| before != text) {
                // Servers make of a statement what it was first executed with; for others the proxy prepares it again.
                script.push(Op::Close(at));
                script.push(Op::Prepare(at, TEXTS[random.usize(..TEXTS.len())].into()));
            }
            used[at] = Some(text);
            script.push(Op::Execute { at, values, types, cursor: false });
        }
        8 => {
            told[at] = false;
            script.push(Op::Prepare(at, TEXTS[if random.bool() { 1 } else { 5 }].into()));
            let values = vec![Value::Number(random.i64(0..3))];
            script.push(Op::Execute { at, values, types: true, cursor: true });
            for _ in 0..random.usize(1..4) {
                script.push(Op::Fetch(at, random.u32(1..3)));
            }
            // Executed again without a cursor, MySQL 8.0.33 now and then sends an OK where rows were to come.
            script.push(Op::Close(at));
        }
        9 => {
            told[at] = false;
            if used[at].is_some() {
                // MariaDB reads whatever is there as a number, where one was given before.
                script.push(Op::Close(at));
                script.push(Op::Prepare(at, TEXTS[random.usize(..TEXTS.len())].into()));
            }
            used[at] = Some(false);
            script.push(Op::LongData {
                at,
                text: "long ".repeat(random.usize(1..5)),
                value: number,
            });
        }
        10 => script.push(Op::Restart(at)),
        _ => {
            told[at] = false;
            script.push(Op::Close(at));
        }
    }
}

/// What the second tells is about the first.
fn pair(random: &mut Rng) -> [&'static str; 2] {
    const FIRST: [&str; 8] = [
        "select cast('abc' as signed), 1/0",
        "insert ignore into t (name) values ('one'), ('new')",
        "update t set n = 5 where id < 3",
        "select sql_calc_found_rows id from t order by id limit 1",
        "select * from nothing",
        "drop table if exists nothing",
        "delete from t where id = 2",
        "insert into t (name, n) values ('some', 9)",
    ];
    const SECOND: [&str; 10] = [
        "show warnings",
        "show errors",
        "show count(*) warnings",
        "select @@warning_count, @@error_count",
        "select row_count()",
        "select last_insert_id()",
        "select @@identity",
        "get diagnostics @n = number",
        "get diagnostics condition 1 @m = message_text, @e = mysql_errno",
        "show warnings limit 1",
    ];
    let first = FIRST[random.usize(..FIRST.len())];
    let second = match first.contains("calc_found") && random.bool() {
        true => "select found_rows()",
        false => SECOND[random.usize(..SECOND.len())],
    };
    [first, second]
}

fn several(random: &mut Rng) -> String {
    const TEXTS: [&str; 8] = [
        "select 1; select 2 from t; select 3",
        "insert into t (name) values ('m'); select last_insert_id(); delete from t where name = 'm'",
        "select 1; select nothing; select 3",
        "set @a = 3; select @a; set @a = 4",
        "begin; insert into u values (2, 'x'); rollback; select count(*) from u",
        "call p(2, @y); select @y",
        "select 1;",
        "set names latin1; select 'ä'; set names utf8mb4",
    ];
    TEXTS[random.usize(..TEXTS.len())].into()
}

fn statement(random: &mut Rng, schema: &str) -> String {
    const TEXTS: [&str; 98] = [
        "select * from t order by id",
        "select mysql_query_attribute_string('who')",
        "select mysql_query_attribute_string('who'), 2",
        "select id, name from t where id = 2",
        "select * from t where 0",
        "select count(*), sum(n), avg(price), group_concat(name order by id) from t",
        "select t.id, w.name as other from t join w using (id) order by id",
        "select 1 union select 2 order by 1",
        "select twice(n) from t order by id",
        "select name, b, e, f, at from t order by id limit 2",
        "select null, 1, 1.5, 1e3, 'text', x'00ff', date'2020-01-01', true",
        "select repeat('x', 300)",
        "table_that_is_none",
        "select nothing from t",
        "select * from nothing",
        "select 1 +",
        "insert into t (name) values ('one')",
        "insert into t (name, n) values ('four', 4), ('five', 5)",
        "insert into t (name, n) values ('six', 6) on duplicate key update n = n + 1",
        "replace into t (id, name) values (1, 'uno')",
        "insert into t (name, n) values ('bad', 'number')",
        "insert into t (name) values (repeat('y', 50))",
        "insert into t (n) values (null)",
        "insert into u select id, name from t",
        "update t set n = n + 1",
        "update t set n = 7 where id = 1",
        "update t set n = n where id > 0",
        "delete from t where id > 3",
        "delete from u",
        "truncate table u",
        "load data local infile 'any' into table u",
        "select v from u order by a, v",
        "begin",
        "begin",
        "start transaction read only",
        "start transaction with consistent snapshot",
        "commit",
        "commit",
        "rollback",
        "rollback",
        "commit and chain",
        "savepoint s",
        "rollback to savepoint s",
        "release savepoint s",
        "set autocommit = 0",
        "set autocommit = 1",
        "set transaction read only",
        "set transaction isolation level serializable",
        "set session transaction isolation level read committed",
        "set @a = 1",
        "set @a = 'text', @b = 2.5",
        "select @a, @b, @c",
        "select @a := 5",
        "select name into @c from t where id = 1",
        "set time_zone = '+05:00'",
        "set time_zone = 'nowhere'",
        "set sql_mode = 'ANSI_QUOTES'",
        "set sql_mode = ''",
        "set sql_mode = default",
        "set sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "select @@sql_mode, @@time_zone, @@autocommit, @@sql_select_limit",
        "set sql_select_limit = 2",
        "set sql_select_limit = default",
        "set group_concat_max_len = 5",
        "set nothing_at_all = 1",
        "set foreign_key_checks = 0, unique_checks = 0",
        "set names latin1",
        "set names utf8mb4",
        "set names utf8mb4 collate utf8mb4_bin",
        "set character_set_results = null",
        "set names nothing",
        "select @@character_set_client, @@character_set_results, @@collation_connection",
        "select 'ä', hex('ä'), \"double\"",
        "create temporary table s (a int)",
        "insert into s values (1), (2)",
        "select * from s order by a",
        "drop temporary table if exists s",
        "create table d (a int primary key)",
        "create table if not exists d (a int)",
        "alter table d add column b int",
        "drop table d",
        "drop table if exists d",
        "analyze table u",
        "describe t",
        "show tables",
        "show create table u",
        "show variables like 'time_zone'",
        "prepare x from 'select ?, 1'",
        "execute x using @a",
        "deallocate prepare x",
        "handler t open as h",
        "handler h read next",
        "handler h close",
        "lock tables t read",
        "unlock tables",
        "call p(2, @y)",
        "call q()",
        "call nothing()",
    ];
    match random.u8(..12) {
        0 => format!("use {schema}"),
        1 => match random.u8(..8) {
            0 => "use differ_nobody".into(),
            1 => format!("select get_lock('{schema}', 0), is_free_lock('{schema}')"),
            2 => format!("select release_lock('{schema}')"),
            3 => "select database(), schema()".into(),
            4 => "set session_track_schema = off".into(),
            5 => "set session_track_system_variables = 'sql_mode,time_zone'".into(),
            6 => "set session_track_state_change = on".into(),
            _ => "set session_track_transaction_info = 'CHARACTERISTICS'".into(),
        },
        _ => TEXTS[random.usize(..TEXTS.len())].into(),
    }
}
