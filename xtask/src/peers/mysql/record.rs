//! Conversations of real servers with clients, written down byte for byte: `cargo xtask mysql-captures`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::client::{Flavour, Library, cli, python};
use super::install;
use super::server::{Kind, Server};
use crate::root;

const LONGEST: Duration = Duration::from_secs(60);

/// Starts every server and writes `testdata/mysql` anew, or the conversations whose names contain `filter`.
pub(crate) async fn captures(filter: &str) -> anyhow::Result<()> {
    let all = Kind::ALL.map(|kind| {
        let mut wanted = conversations(kind);
        wanted.retain(|it| format!("{}-{}", kind.name(), it.name).contains(filter));
        (kind, wanted)
    });
    let wanted = all.iter().flat_map(|(_, wanted)| wanted);
    let mut languages: Vec<_> = wanted.filter_map(|it| it.client.language()).collect();
    languages.sort_unstable();
    languages.dedup();
    let mut steps = install::servers(true);
    steps.extend(languages.into_iter().filter_map(install::language));
    for (name, step) in steps {
        step.await.context(name)?;
    }
    let folder = root().join("testdata/mysql");
    std::fs::create_dir_all(&folder)?;
    for (kind, wanted) in all {
        if wanted.is_empty() {
            continue;
        }
        let server = Server::start(kind, "").await?;
        for conversation in wanted {
            let name = format!("{}-{}", kind.name(), conversation.name);
            conversation.prepare(&server).await?;
            let size =
                conversation.record(&server, &folder.join(&name)).await.context(name.clone())?;
            println!("{name}: {size} bytes");
        }
    }
    Ok(())
}

/// Who talks.
enum Client {
    /// A scenario of `record.py`.
    Python,
    /// The command line, with these options, and what it is told.
    Cli(&'static [&'static str], &'static str),
    /// Somebody's library, logged in by this account.
    Library(Library, [&'static str; 2]),
}

impl Client {
    /// What it is written in, where that has to be installed.
    fn language(&self) -> Option<&'static str> {
        match self {
            Self::Python => Some("python"),
            Self::Cli(..) => None,
            Self::Library(library, _) => Some(library.language()),
        }
    }
}

struct Conversation {
    name: String,
    client: Client,
    /// Whether it ends with an error.
    refused: bool,
}

const NAT: [&str; 2] = ["-unat", "-pnatpw"];
const SHA2: [&str; 2] = ["-usha2", "-psha2pw"];

/// Of the command line, against any server.
pub(super) const STATEMENTS: &str = "\
drop table if exists wm_cli;
create table wm_cli(a int primary key auto_increment, b varchar(40)) engine=innodb;
insert into wm_cli(b) values ('one'), (null), ('three');
select * from wm_cli;
select * from wm_cli where a > 5;
select nothing;
delimiter //
select 1; insert into wm_cli(b) values ('four'); select b from wm_cli where a = 4//
select 1; select * from wm_missing; select 3//
drop procedure if exists wm_cli//
create procedure wm_cli(n int) begin select n; select n + 1; end//
call wm_cli(4)//
delimiter ;
begin;
update wm_cli set b = 'changed' where a = 1;
rollback;
use mysql
use test
\\s
drop table wm_cli;
";

const ATTRIBUTES: &str = "\
query_attributes who wm
select mysql_query_attribute_string('who');
\\x
select connection_id() > 0;
";

const COMPRESSED: &str = "\
select repeat('abc', 3000);
select 1;
select 2; select 3;
select * from wm_missing;
select length('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
";

fn conversations(kind: Kind) -> Vec<Conversation> {
    let scenario =
        |name: &str| Conversation { name: name.into(), client: Client::Python, refused: false };
    let mut all: Vec<_> = [
        "text-eof",
        "text-modern",
        "prepared-eof",
        "prepared-modern",
        "track-eof",
        "track-modern",
        "users",
        "infile",
        "binlog",
        "denied",
    ]
    .map(scenario)
    .into();
    let mut cli = |name: &str, options, said| {
        let client = Client::Cli(options, said);
        all.push(Conversation { name: name.into(), client, refused: false });
    };
    cli("cli", const { &NAT }, STATEMENTS);
    if kind == Kind::Mysql {
        const PUBLIC: [&str; 3] = ["-usha2", "-psha2pw", "--get-server-public-key"];
        const S256: [&str; 3] = ["-us256", "-ps256pw", "--get-server-public-key"];
        const ZLIB: [&str; 3] = ["-unat", "-pnatpw", "--compression-algorithms=zlib"];
        const ZSTD: [&str; 3] = ["-unat", "-pnatpw", "--compression-algorithms=zstd"];
        const TLS: [&str; 3] = ["-unat", "-pnatpw", "--ssl-mode=REQUIRED"];
        cli("sha2-full", &PUBLIC, "select 1;\n");
        cli("sha2-fast", const { &SHA2 }, "select 1;\n");
        cli("nopw", &["-unopw"], "select 1;\n");
        cli("s256", &S256, "select 1;\n");
        cli("cli-attributes", const { &NAT }, ATTRIBUTES);
        cli("zlib", &ZLIB, COMPRESSED);
        cli("zstd", &ZSTD, COMPRESSED);
        cli("tls", &TLS, "select 1;\n");
        all.push(scenario("attributes"));
    } else {
        cli("nopw", &["-unopw"], "select 1;\n");
        cli("zlib", &["-unat", "-pnatpw", "--compress"], COMPRESSED);
        cli("tls", &["-unat", "-pnatpw", "--ssl"], "select 1;\n");
        if kind == Kind::Maria10 {
            cli("ed25519", &["-ued", "-pedpw"], "select 1;\n");
        }
        all.extend(["bulk-eof", "bulk-modern", "progress"].map(scenario));
    }
    const WRONG: [&str; 2] = ["-unat", "-pwrong"];
    let client = Client::Cli(&WRONG, "select 1;\n");
    all.push(Conversation { name: "cli-denied".into(), client, refused: true });
    all.extend(libraries(kind).into_iter().map(|(library, account)| Conversation {
        name: format!("lib-{}", library.name()),
        client: Client::Library(library, account),
        refused: false,
    }));
    all
}

/// Who talks to this server, by an account of its own plugin: all to MySQL, and to MariaDB those that ask it for more, or log in
/// otherwise.
fn libraries(kind: Kind) -> Vec<(Library, [&'static str; 2])> {
    let (libraries, account): (&[_], _) = match kind {
        Kind::Mysql => (&Library::ALL, ["sha2", "sha2pw"]),
        Kind::Maria10 => (&[Library::PyMysql, Library::MysqlAsync], ["ed", "edpw"]),
        Kind::Maria11 => {
            (&[Library::Mysqlclient, Library::MariadbJ, Library::MysqlAsync], ["nat", "natpw"])
        }
    };
    let theirs = libraries.iter().filter(|library| **library != Library::Wire);
    theirs.map(|library| (*library, account)).collect()
}

impl Conversation {
    /// Makes the server forget whom it knows.
    async fn prepare(&self, server: &Server) -> anyhow::Result<()> {
        let is_full = self.name == "sha2-full" || matches!(self.client, Client::Library(..));
        if is_full && server.kind == Kind::Mysql {
            let mut flush = cli(Flavour::of(server.kind), server.address);
            let done = flush.args(NAT).args(["-e", "flush privileges"]).output().await?;
            ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    fn program(&self, server: &Server, address: SocketAddr) -> Command {
        let kind = server.kind;
        match self.client {
            Client::Python => {
                let mut program = python("record.py");
                program.args([&self.name, &address.to_string(), kind.name()]);
                program
            }
            Client::Cli(options, _) => {
                let mut program = cli(Flavour::of(kind), address);
                program.args(options).args(["--force", "test"]);
                program
            }
            Client::Library(library, account) => {
                let mut program = library.program();
                program.args([&address.to_string(), kind.name()]).arg(server.ca());
                program.arg("converse").args(account);
                program
            }
        }
    }

    /// The size of what was written.
    async fn record(&self, server: &Server, path: &Path) -> anyhow::Result<usize> {
        let recorder = Recorder::start(server.address).await?;
        let mut program = self.program(server, recorder.address);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().with_context(|| format!("{program:?}"))?;
        let mut stdin = child.stdin.take().context("its input is piped")?;
        if let Client::Cli(_, said) = self.client {
            // One that is refused reads nothing of it.
            let _ = stdin.write_all(said.as_bytes()).await;
        }
        drop(stdin);
        let output = timeout(LONGEST, child.wait_with_output()).await.context("no end")??;
        let connections = recorder.finish().await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(!connections.is_empty(), "it did not connect: {said}");
        let complains = !matches!(self.client, Client::Cli(..)) || self.refused;
        ensure!(!complains || output.status.success() != self.refused, "{}: {said}", output.status);
        let mut size = 0;
        for (n, connection) in connections.iter().enumerate() {
            let name =
                if n == 0 { path.to_owned() } else { path.with_added_extension(n.to_string()) };
            size += connection.write(&name)?;
        }
        Ok(size)
    }
}

/// What was said on one connection, and in which pieces it came.
#[derive(Default)]
struct Connection {
    c2s: Vec<u8>,
    s2c: Vec<u8>,
    index: String,
}

impl Connection {
    fn write(&self, path: &Path) -> anyhow::Result<usize> {
        std::fs::write(path.with_added_extension("c2s.bin"), &self.c2s)?;
        std::fs::write(path.with_added_extension("s2c.bin"), &self.s2c)?;
        std::fs::write(path.with_added_extension("idx"), &self.index)?;
        Ok(self.c2s.len() + self.s2c.len())
    }
}

type Shared = Arc<Mutex<Vec<Connection>>>;

/// A relay that keeps what passes.
struct Recorder {
    address: SocketAddr,
    connections: Shared,
    listener: JoinHandle<anyhow::Result<()>>,
    relays: Arc<Mutex<Vec<JoinHandle<anyhow::Result<()>>>>>,
}

impl Recorder {
    async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (connections, relays) = (Shared::default(), Arc::<Mutex<Vec<_>>>::default());
        let (all, tasks) = (Arc::clone(&connections), Arc::clone(&relays));
        let listener = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await?;
                let upstream = TcpStream::connect(server).await?;
                let number = {
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Connection::default());
                    all.len() - 1
                };
                let relay = tokio::spawn(relay(client, upstream, Arc::clone(&all), number));
                tasks.lock().unwrap_or_else(PoisonError::into_inner).push(relay);
            }
        });
        Ok(Self { address, connections, listener, relays })
    }

    /// When all connections have ended.
    async fn finish(self) -> anyhow::Result<Vec<Connection>> {
        self.listener.abort();
        let relays =
            std::mem::take(&mut *self.relays.lock().unwrap_or_else(PoisonError::into_inner));
        for relay in relays {
            timeout(LONGEST, relay).await.context("a connection stays open")???;
        }
        Ok(std::mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    all: Shared,
    number: usize,
) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let start = Instant::now();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        one_way(from_client, to_server, &all, number, "c2s", start),
        one_way(from_server, to_client, &all, number, "s2c", start),
    )?;
    Ok(())
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    all: &Shared,
    number: usize,
    direction: &str,
    start: Instant,
) -> anyhow::Result<()> {
    let mut piece = vec![0; 1 << 16];
    loop {
        // Whoever ends it roughly has ended it too.
        let length = from.read(&mut piece).await.unwrap_or(0);
        if length == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(connection) = all.get_mut(number) else { bail!("no such connection") };
            let bytes = match direction {
                "c2s" => &mut connection.c2s,
                _ => &mut connection.s2c,
            };
            let (offset, seconds) = (bytes.len(), start.elapsed().as_secs_f64());
            bytes.extend_from_slice(&piece[..length]);
            writeln!(connection.index, "{direction} {offset} {length} {seconds:.6}")?;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return Ok(());
        }
    }
}
