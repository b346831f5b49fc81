//! The command lines and the servers' own tools, direct and through the proxy in both modes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::client::{Bench, Flavour, cli};
use super::install::{mariadb_11, mysql};
use super::pooled;
use super::record::STATEMENTS;
use super::server::Kind;
use crate::process::command;
use crate::report::Outcome;
use crate::target;

const LONGEST: Duration = Duration::from_secs(60);

/// One command line, or the other tools of the server's project, with one server.
pub(super) struct Cell {
    program: Program,
    server: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Cli(Flavour),
    Tools,
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for server in Kind::ALL {
            let program = |flavour| Self { program: Program::Cli(flavour), server };
            cells.push(program(Flavour::Mariadb));
            cells.push(program(Flavour::Mysql));
            cells.push(Self { program: Program::Tools, server });
        }
        cells
    }

    /// As exceptions name it.
    fn client(&self) -> &'static str {
        match self.program {
            Program::Cli(Flavour::Mysql) => "cli-mysql",
            Program::Cli(Flavour::Mariadb) => "cli-mariadb",
            Program::Tools => "tools",
        }
    }

    /// For example `mysql-cli-mariadb-mysql8`.
    pub(super) fn name(&self) -> String {
        format!("mysql-{}-{}", self.client(), self.server.name())
    }

    /// All that comes out has to be the same each way, and the programs' exit codes, but for what is said in [`pooled`].
    pub(super) async fn run(&self, bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
        let (server, proxy) = bench.at(self.server, direct).await?;
        let ca = server.ca();
        let bare = self.said(server.address, &ca).await?;
        for Answer { name, text, right } in &bare {
            ensure!(right, "{name}: {text}");
        }
        let (mut passed, mut complaints) = (bare.len(), Vec::new());
        if let Some(proxy) = proxy {
            let proxied = self.said(proxy.address, &ca).await?;
            proxy.check()?;
            let mut proxy = pooled::through(server).await?;
            let pooled = self.said(proxy.address, &ca).await?;
            proxy.check()?;
            passed += bare.len();
            for ((bare, proxied), pooled) in bare.iter().zip(&proxied).zip(&pooled) {
                let (name, direct) = (&bare.name, &bare.text);
                if proxied.text != *direct {
                    complaints
                        .push(format!("{name}\ndirect:  {direct}\nproxied: {}", proxied.text));
                }
                if pooled::left_out(self.client(), self.server, name) {
                    continue;
                }
                let same = self.plain(&pooled.text) == self.plain(direct);
                if same == pooled::differs(self.client(), self.server, name) {
                    complaints.push(format!("{name}\ndirect:  {direct}\npooled:  {}", pooled.text));
                }
            }
        }
        passed -= complaints.len();
        let detail =
            if complaints.is_empty() { format!("{passed} uses") } else { complaints.join("\n") };
        Ok(Outcome { passed, failed: complaints.len(), detail })
    }

    /// Without what is another in pooled mode: MariaDB's packages have more in their version than the proxy is told.
    fn plain(&self, text: &str) -> String {
        let version = |line: &str| {
            self.server != Kind::Mysql && line.trim_start().starts_with("Server version:")
        };
        pooled::plain(text).lines().filter(|line| !version(line)).collect::<Vec<_>>().join("\n")
    }

    /// What each use brings.
    async fn said(&self, address: SocketAddr, ca: &Path) -> anyhow::Result<Vec<Answer>> {
        let uses = match self.program {
            Program::Cli(flavour) => self.cli_uses(flavour, address, ca)?,
            Program::Tools if self.server == Kind::Mysql => mysql_tools(address),
            Program::Tools => mariadb_tools(address),
        };
        let mut said = Vec::new();
        for Use { name, program, input, succeeds } in uses {
            let text = once(program, input).await.with_context(|| name.clone())?;
            let text = if name == "status" { steady(&text) } else { text };
            let right = text.starts_with("exit status: 0") == succeeds;
            said.push(Answer { name, text, right });
        }
        Ok(said)
    }

    fn cli_uses(
        &self,
        flavour: Flavour,
        address: SocketAddr,
        ca: &Path,
    ) -> anyhow::Result<Vec<Use>> {
        let mut uses = Vec::new();
        let mut add = |name: &str, args: &[&str], input: &'static str, succeeds| {
            let mut program = cli(flavour, address);
            program.args(args);
            uses.push(Use { name: name.to_owned(), program, input, succeeds });
        };
        let mut accounts = vec![("nat", "natpw"), ("nopw", "")];
        let (password, tls) = match flavour {
            Flavour::Mysql => ("--get-server-public-key", "--ssl-mode=VERIFY_CA"),
            Flavour::Mariadb => ("--skip-comments", "--ssl"),
        };
        match self.server {
            Kind::Mysql => accounts.push(("sha2", "sha2pw")),
            Kind::Maria10 if flavour == Flavour::Mariadb => accounts.push(("ed", "edpw")),
            Kind::Maria10 | Kind::Maria11 => {}
        }
        let who = "select current_user(), database();\n";
        for (user, word) in accounts {
            let (user, word) = (format!("-u{user}"), format!("--password={word}"));
            add("forget", &["-unat", "-pnatpw", "-e", "flush privileges"], "", true);
            for way in ["first", "again"] {
                add(&format!("{user}, {way}"), &[&user, &word, password, "test"], who, true);
            }
        }
        add("wrong password", &["-unat", "-pwrong"], who, false);
        // The proxy asks as it asks one of its users, perhaps one whose password it has as a hash.
        add("unknown user", &["-unobody", "-pwrong", password], who, false);
        add("unknown schema", &["-unat", "-pnatpw", "wm_missing"], who, false);
        let nat = ["-unat", "-pnatpw", "test"];
        for (name, args) in [
            ("table", &["--table"] as &[&str]),
            ("batch", &["--batch"]),
            ("XML", &["--xml"]),
            ("HTML", &["--html"]),
            ("vertical", &["--vertical"]),
            ("with types", &["--column-type-info"]),
            ("row by row", &["--quick"]),
        ] {
            // Its status has numbers that differ.
            add(name, &[args, &["--force"], &nat].concat(), without_status(), true);
        }
        add("stops at an error", &nat, "select 1; select nothing; select 2;\n", false);
        let file = target().join("xtask/mysql-script.sql");
        std::fs::write(&file, right_ones())?;
        let source = format!("source {}", file.display());
        add("script", &[&nat[..], &["-e", &source]].concat(), "", true);
        add("status", &nat, "\\s\n", true);
        add("warnings", &[&["--show-warnings"], &nat[..]].concat(), WARNINGS, true);
        add("past", &nat, PAST, true);
        let ansi = "--init-command=set sql_mode = 'ansi'";
        add(
            "begins with",
            &[&[ansi], &nat[..]].concat(),
            "select \"Host\" from mysql.user;\n",
            true,
        );
        let compress = [&["--compress"], &nat[..]].concat();
        add("compressed", &compress, "show status like 'Compression';\n", true);
        add("compressed rows", &compress, COMPRESSED, true);
        let cipher = "show status like 'Ssl_cipher'; select repeat('x', 100000);\n";
        let ca = format!("--ssl-ca={}", ca.display());
        add("TLS", &[&[tls, &ca], &nat[..]].concat(), cipher, true);
        let only = ["-utlsonly", "-ptlspw", "test"];
        add("TLS, no other", &[&[tls, &ca], &only[..]].concat(), cipher, true);
        add("TLS needed", &only, cipher, false);
        add("large", &[&["--max-allowed-packet=64M"], &nat[..]].concat(), LARGE, true);
        let file = target().join("xtask/mysql-infile.csv");
        let rows: String = (0..20_000).map(|n| format!("{n},row {n}\n")).collect();
        std::fs::write(&file, rows)?;
        let load = format!(
            "drop table if exists wm_load; create table wm_load(a int, b varchar(20)); load data local infile '{}' into \
             table wm_load fields terminated by ','; select count(*), sum(a) from wm_load; drop table wm_load",
            file.display()
        );
        add("LOCAL INFILE", &[&nat[..], &["-e", &load]].concat(), "", true);
        let missing = "load data local infile '/missing' into table wm_load";
        add("a file that is missing", &[&nat[..], &["-e", missing]].concat(), "", false);
        if flavour == Flavour::Mysql && self.server == Kind::Mysql {
            add("query attributes", &nat, ATTRIBUTES, true);
            let zstd = "--compression-algorithms=zstd";
            add("zstd rows", &[&[zstd], &nat[..]].concat(), COMPRESSED, true);
        }
        Ok(uses)
    }
}

fn without_status() -> &'static str {
    STATEMENTS.split_once("\\s\n").map_or(STATEMENTS, |(before, _)| before)
}

/// A script ends with the first that fails.
fn right_ones() -> String {
    let wrong = |line: &&str| line.contains("select nothing") || line.contains("wm_missing");
    without_status().lines().filter(|line| !wrong(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Without the numbers of connections, ports and seconds.
fn steady(text: &str) -> String {
    let numbers = ["Connection id:", "TCP port:", "Uptime:", "Threads:"];
    let steady = |line: &&str| !numbers.iter().any(|name| line.trim_start().starts_with(name));
    text.lines().filter(steady).collect::<Vec<_>>().join("\n")
}

const COMPRESSED: &str = "select repeat('abc', 300000); select 1; select 2;\n";

const WARNINGS: &str = "\
\\w
drop table if exists wm_warnings;
\\W
create table wm_warnings(a tinyint);
insert ignore into wm_warnings values (300), ('x');
show warnings;
select cast('x' as signed), a from wm_warnings;
\\w
drop table if exists wm_missing;
show count(*) warnings;
\\W
drop table if exists wm_missing;
drop table wm_warnings;
";

/// What only the session knows.
const PAST: &str = "\
drop table if exists wm_past;
create table wm_past(a int primary key auto_increment) engine=innodb;
insert into wm_past values (null), (null);
select row_count();
insert into wm_past values (null);
select last_insert_id();
select sql_calc_found_rows * from wm_past limit 1;
select found_rows();
set @mine = 5;
select @mine + 1;
create temporary table wm_temporary select 7 as a;
select * from wm_temporary;
prepare s from 'select ? + 1';
execute s using @mine;
select get_lock('wm_past', 1), is_used_lock('wm_past') = connection_id();
select release_lock('wm_past');
drop table wm_past;
";

const LARGE: &str = "select length(repeat('x', 30000000)); select sha1(x), length(x) from (select repeat('y', 17000000) x) t; \
                     select repeat('z', 17000000);\n";

const ATTRIBUTES: &str = "\
query_attributes who wm
select mysql_query_attribute_string('who');
select mysql_query_attribute_string('who');
\\x
select @@autocommit;
";

/// One run of a program.
struct Use {
    name: String,
    program: Command,
    /// What is typed.
    input: &'static str,
    /// Whether it is to end well.
    succeeds: bool,
}

/// What a use brought.
struct Answer {
    name: String,
    text: String,
    /// Whether it ended as it was to.
    right: bool,
}

/// What is dumped.
const FILL: &str = "\
drop database if exists wm_dump; create database wm_dump; use wm_dump;
create table t(a int primary key auto_increment, b varchar(2000), c blob, d json);
insert into t(b, c, d) values ('it''s', x'00ff', '{\"a\": 1}'), (null, null, null);
insert into t(b) select repeat('x', 2000) from t;
insert into t(b) select repeat('y', 2000) from t;
insert into t(b) select repeat('z', 2000) from t;
create view v as select a from t;
create procedure p() select 1;
create trigger g before insert on t for each row set new.b = 'g';
";

const END: &str = "drop database wm_dump; show databases";

/// mariadb-dump of 11.4.
fn mariadb_tools(address: SocketAddr) -> Vec<Use> {
    let dump = |args: &[&str]| {
        let mut program = command(mariadb_11().join("bin/mariadb-dump"));
        program.args(["--no-defaults", "--skip-ssl", "--protocol=tcp", "-h127.0.0.1"]);
        program.args(["-unat", "-pnatpw", "-P", &address.port().to_string()]);
        // They have the server's version.
        program.args(["--skip-comments", "--routines", "--hex-blob"]).args(args);
        program
    };
    let cli = |args: &[&str]| {
        let mut program = cli(Flavour::Mariadb, address);
        program.args(["-unat", "-pnatpw"]).args(args);
        program
    };
    let uses = [
        ("fill", cli(&[]), FILL),
        ("mariadb-dump", dump(&["--databases", "wm_dump"]), ""),
        ("mariadb-dump in a transaction", dump(&["--single-transaction", "wm_dump"]), ""),
        ("mariadb-dump of some rows", dump(&["--where=a > 3", "wm_dump", "t"]), ""),
        ("end", cli(&["-e", END]), ""),
    ];
    let of = |(name, program, input): (&str, _, _)| Use {
        name: name.to_owned(),
        program,
        input,
        succeeds: true,
    };
    uses.map(of).into()
}

/// mysqldump, mysqlbinlog and mysqlslap.
fn mysql_tools(address: SocketAddr) -> Vec<Use> {
    let tool = |name: &str, args: &[&str]| {
        let mut program = command(mysql().join("bin").join(name));
        program.args(["--no-defaults", "--ssl-mode=DISABLED", "--protocol=tcp", "-h127.0.0.1"]);
        program.args(["-unat", "-pnatpw", "-P", &address.port().to_string()]).args(args);
        program
    };
    let mut uses = Vec::new();
    let mut add = |name: &str, program, input| {
        uses.push(Use { name: name.to_owned(), program, input, succeeds: true });
    };
    add("fill", tool("mysql", &[]), FILL);
    let dump = [
        "--skip-dump-date",
        "--set-gtid-purged=OFF",
        "--routines",
        "--hex-blob",
        "--databases",
        "wm_dump",
    ];
    add("mysqldump", tool("mysqldump", &dump), "");
    let consistent = ["--single-transaction", "--set-gtid-purged=OFF", "--compact", "wm_dump"];
    add("mysqldump in a transaction", tool("mysqldump", &consistent), "");
    let first = ["--read-from-remote-server", "--verbose", "binlog.000001"];
    add("mysqlbinlog", tool("mysqlbinlog", &first), "");
    let slap = [
        "--concurrency=8",
        "--iterations=1",
        "--number-of-queries=400",
        "--auto-generate-sql",
        "--silent",
    ];
    add("mysqlslap", tool("mysqlslap", &slap), "");
    add("end", tool("mysql", &["-e", END]), "");
    uses
}

/// How it ended and what it wrote.
async fn once(mut program: Command, input: &str) -> anyhow::Result<String> {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that is refused does not read it.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = timeout(LONGEST, child.wait_with_output()).await.context("no end")??;
    let text = [output.stdout, output.stderr].concat();
    Ok(format!("{}\n{}", output.status, shortened(&String::from_utf8_lossy(&text))))
}

/// The same text, or its length and a number that tells it from others.
fn shortened(text: &str) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if text.len() <= 4000 {
        return text.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let start: String = text.chars().take(400).collect();
    format!("{start}... {} bytes, {:x}", text.len(), hasher.finish())
}
