//! TLS that the proxy speaks itself, in transparent mode: every library and both command lines log in by every account,
//! whichever of the legs have it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::timeout;

use super::client::{Bench, Flavour, Library, cli};
use super::server::{Kind, Server, certificates};
use crate::peers::proxy::{Proxy, free_address};
use crate::peers::said::Said;
use crate::report::Outcome;
use crate::target;

/// What its clients are written in, beside the command lines.
pub(super) const LANGUAGES: [&str; 5] = ["python", "go", "node", "java", "rust"];

const LONGEST: Duration = Duration::from_secs(180);

/// One server, and all clients.
pub(super) struct Cell(Kind);

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        Kind::ALL.map(Self).into()
    }

    /// For example `mysql-tls-mysql8`.
    pub(super) fn name(&self) -> String {
        format!("mysql-tls-{}", self.0.name())
    }

    pub(super) async fn run(&self, bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
        if direct {
            return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
        }
        let (server, _) = bench.at(self.0, direct).await?;
        let folder = target().join("xtask").join(self.name());
        // Signed by nobody that the server's own is signed by.
        certificates(&folder).await?;
        let (mut proxy, ways) = through(server, &folder).await?;
        let ca = folder.join("ca.pem");
        let (mut passed, mut complaints) = (0, Vec::new());
        for client in Client::all() {
            let seen = match client {
                Client::Library(library) => self.drive(library, server, &ca, &ways).await?,
                Client::Cli(flavour) => command_line(flavour, server, &ca, &ways).await?,
            };
            proxy.check()?;
            let wanted = wanted(client, self.0);
            passed += wanted.len();
            if seen != wanted {
                complaints.push(differences(client, &wanted, &seen));
            }
        }
        let detail = format!("{passed} logins by {} clients", Client::all().len());
        if complaints.is_empty() {
            return Ok(Outcome { passed, failed: 0, detail });
        }
        Ok(Outcome { passed: 0, failed: complaints.len(), detail: complaints.join("\n") })
    }

    /// What a library says of its logins.
    async fn drive(
        &self,
        library: Library,
        server: &Server,
        ca: &Path,
        ways: &[Way],
    ) -> anyhow::Result<Vec<String>> {
        let mut program = library.program();
        program.args([&server.address.to_string(), self.0.name()]).arg(ca);
        // Else sqlx reads all that the system trusts, between asking for TLS and beginning it: seconds on a busy machine.
        program.env("SSL_CERT_FILE", ca);
        program.args(ways.iter().map(|way| format!("{}={}", way.legs.name(), way.address)));
        let log = format!("{}-{}", self.name(), library.name());
        let said = Said::by(&log, program, LONGEST).await?;
        ensure!(said.failed == 0, "{log}\n{}", said.complaints.join("\n"));
        Ok(said.answers)
    }
}

/// Which legs have TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Legs {
    client: bool,
    server: bool,
}

impl Legs {
    /// The last is where a password can always be said.
    const ALL: [Self; 4] = [
        Self { client: false, server: false },
        Self { client: true, server: false },
        Self { client: false, server: true },
        Self { client: true, server: true },
    ];

    fn name(self) -> String {
        let name = |tls| if tls { "TLS" } else { "clear" };
        format!("{}-{}", name(self.client), name(self.server))
    }
}

struct Way {
    legs: Legs,
    address: SocketAddr,
}

/// One proxy that has a listener for each.
async fn through(server: &Server, folder: &Path) -> anyhow::Result<(Proxy, Vec<Way>)> {
    let mut ways = Vec::new();
    for legs in Legs::ALL {
        ways.push(Way { legs, address: free_address()? });
    }
    let proxy = Proxy::run(|address| {
        ways[0].address = address;
        config(server, folder, &ways)
    })
    .await?;
    Ok((proxy, ways))
}

fn config(server: &Server, folder: &Path, ways: &[Way]) -> String {
    let folder = folder.display();
    let listeners: String = ways
        .iter()
        .map(|Way { legs, address }| {
            let name = legs.name();
            let tls = format!(
                "tls: {{ certificate: {folder}/server.pem, key: {folder}/server.key }}\n    "
            );
            let tls = if legs.client { &tls } else { "" };
            let cluster = if legs.server { "encrypted" } else { "clear" };
            format!(
                "  - name: {name}
    address: {address}
    protocols: [mysql]
    {tls}routes: [{{ name: all, cluster: {cluster} }}]
"
            )
        })
        .collect();
    let verified = match server.kind {
        // Its certificate names no host.
        Kind::Mysql => "verify: false".to_owned(),
        Kind::Maria10 | Kind::Maria11 => format!("ca: {}", server.ca().display()),
    };
    let upstream = server.address;
    format!(
        "workers: 1
listeners:
{listeners}clusters:
  - {{ name: clear, endpoints: [\"{upstream}\"], connect_timeout: 20s }}
  - {{ name: encrypted, endpoints: [\"{upstream}\"], connect_timeout: 20s, tls: {{ {verified} }} }}
"
    )
}

/// Whose login it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Client {
    Library(Library),
    Cli(Flavour),
}

impl Client {
    fn all() -> Vec<Self> {
        let libraries = Library::ALL.into_iter().filter(|library| *library != Library::Wire);
        let libraries = libraries.map(Self::Library);
        libraries.chain([Self::Cli(Flavour::Mysql), Self::Cli(Flavour::Mariadb)]).collect()
    }

    /// sqlx 0.8 makes another hash than servers do, so that each of its logins by `caching_sha2_password` is a full one.
    fn is_ever_fast(self) -> bool {
        self != Self::Library(Library::Sqlx)
    }

    /// Those accounts of the server whose plugins it has.
    fn accounts(self, kind: Kind) -> Vec<Account> {
        use Library::{ConnectorJ, Go, Mysqlclient, PyMysql};
        let sha256 = match self {
            Self::Library(library) => [PyMysql, Mysqlclient, Go, ConnectorJ].contains(&library),
            Self::Cli(_) => true,
        };
        let ed25519 = match self {
            Self::Library(library) => {
                ![Mysqlclient, ConnectorJ, Library::Mysql2, Library::Sqlx].contains(&library)
            }
            Self::Cli(flavour) => flavour == Flavour::Mariadb,
        };
        let mut accounts = vec![Account::NATIVE, Account::EMPTY];
        match kind {
            Kind::Mysql => {
                accounts.push(Account::SHA2);
                accounts.extend(sha256.then_some(Account::SHA256));
                accounts.push(Account {
                    needs_tls: true,
                    password: "tlspw",
                    user: "tlsonly",
                    ..Account::SHA2
                });
            }
            Kind::Maria10 | Kind::Maria11 => {
                let there = kind == Kind::Maria10 && ed25519;
                accounts.extend(there.then_some(Account::ED25519));
                accounts.push(Account {
                    needs_tls: true,
                    password: "tlspw",
                    user: "tlsonly",
                    ..Account::NATIVE
                });
            }
        }
        accounts
    }
}

/// How the server lets somebody in.
#[derive(Clone, Copy)]
struct Account {
    user: &'static str,
    password: &'static str,
    plugin: Plugin,
    /// `REQUIRE SSL`, which is about the server's leg.
    needs_tls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plugin {
    /// Passwords are proven, never said.
    Proof,
    CachingSha2,
    Sha256,
}

impl Account {
    const NATIVE: Self =
        Self { user: "nat", password: "natpw", plugin: Plugin::Proof, needs_tls: false };
    const EMPTY: Self = Self { user: "nopw", password: "", ..Self::NATIVE };
    const ED25519: Self = Self { user: "ed", password: "edpw", ..Self::NATIVE };
    const SHA2: Self =
        Self { user: "sha2", password: "sha2pw", plugin: Plugin::CachingSha2, needs_tls: false };
    const SHA256: Self =
        Self { user: "s256", password: "s256pw", plugin: Plugin::Sha256, needs_tls: false };

    /// Whether it gets in, by a password that the server remembers or does not.
    fn is_let_in(self, legs: Legs, remembered: bool) -> bool {
        let said = match self.plugin {
            Plugin::Proof => true,
            // Where only the server's leg has TLS it would be said in clear.
            Plugin::CachingSha2 => remembered || legs.client || !legs.server,
            Plugin::Sha256 => legs.client == legs.server,
        };
        said && (legs.server || !self.needs_tls)
    }

    /// What comes of a first and a second login; of another, if they are refused, after one by another way; and of a wrong
    /// password. `fast`: where the server remembers the password, the client need not say it.
    fn outcomes(self, legs: Legs, fast: bool) -> String {
        let way = if legs.server { "TLS" } else { "clear" };
        let inside = format!("{}@% {way}", self.user);
        let outcome = |let_in| if let_in { &*inside } else { REFUSED };
        let first = self.is_let_in(legs, false);
        // Who was refused is not remembered.
        let mut outcomes = vec![outcome(first), outcome(self.is_let_in(legs, first && fast))];
        if !first {
            outcomes.push(outcome(self.is_let_in(legs, fast)));
        }
        outcomes.push(REFUSED);
        outcomes.join(", ")
    }
}

/// The number of the error that is said to who is not let in.
const REFUSED: &str = "1045";

/// What a client that does everything right has to say.
fn wanted(client: Client, kind: Kind) -> Vec<String> {
    let mut wanted = Vec::new();
    for account in client.accounts(kind) {
        for legs in Legs::ALL {
            wanted.push(format!(
                "ok {} {}: {}",
                account.user,
                legs.name(),
                account.outcomes(legs, client.is_ever_fast())
            ));
        }
    }
    wanted
}

fn differences(client: Client, wanted: &[String], seen: &[String]) -> String {
    let lacking = wanted.iter().filter(|line| !seen.contains(line)).map(|line| format!("- {line}"));
    let more = seen.iter().filter(|line| !wanted.contains(line)).map(|line| format!("+ {line}"));
    let lines: Vec<_> = lacking.chain(more).collect();
    format!("{client:?}\n{}", lines.join("\n"))
}

/// The same of a command line as libraries say.
async fn command_line(
    flavour: Flavour,
    server: &Server,
    ca: &Path,
    ways: &[Way],
) -> anyhow::Result<Vec<String>> {
    let elsewhere = ways.last().context("no way")?;
    let bare = Way { legs: Legs::ALL[0], address: server.address };
    let mut seen = Vec::new();
    for Account { user, password, .. } in Client::Cli(flavour).accounts(server.kind) {
        for way in ways {
            let forgotten = told(flavour, &bare, ca, ("nat", "natpw"), "flush privileges").await?;
            ensure!(forgotten.is_ok(), "flush privileges: {forgotten:?}");
            let enter = async |way, password: &str| {
                let told = told(flavour, way, ca, (user, password), WHO).await?;
                told.map_or_else(Ok, |told| came_in(&told).with_context(|| told.clone()))
            };
            let mut outcomes = vec![enter(way, password).await?, enter(way, password).await?];
            if outcomes[1] == REFUSED {
                enter(elsewhere, password).await?;
                outcomes.push(enter(way, password).await?);
            }
            outcomes.push(enter(way, &format!("{password}x")).await?);
            seen.push(format!("ok {user} {}: {}", way.legs.name(), outcomes.join(", ")));
        }
    }
    Ok(seen)
}

/// Who one is, what the server sees of TLS, and a row that takes several of its records.
const WHO: &str =
    "select current_user(); show status like 'Ssl_cipher'; select repeat('x', 100000)";

/// What is told then, in short.
fn came_in(told: &str) -> Option<String> {
    let mut lines = told.lines();
    let who = lines.next()?;
    let cipher = lines.next()?.strip_prefix("Ssl_cipher\t")?;
    let whole = lines.next()?.len() == 100_000;
    whole.then(|| format!("{who} {}", if cipher.is_empty() { "clear" } else { "TLS" }))
}

/// What these statements bring; or the number of the error.
async fn told(
    flavour: Flavour,
    way: &Way,
    ca: &Path,
    (user, password): (&str, &str),
    statements: &str,
) -> anyhow::Result<Result<String, String>> {
    let mut program = cli(flavour, way.address);
    let ca = format!("--ssl-ca={}", ca.display());
    match (flavour, way.legs.client) {
        (Flavour::Mysql, true) => program.args(["--ssl-mode=VERIFY_CA", &ca]),
        (Flavour::Mysql, false) => program.arg("--get-server-public-key"),
        (Flavour::Mariadb, true) => program.args(["--ssl", "--ssl-verify-server-cert", &ca]),
        (Flavour::Mariadb, false) => &mut program,
    };
    program.args([&format!("-u{user}"), &format!("--password={password}"), "test"]);
    program.args(["--batch", "--skip-column-names", "--execute", statements]);
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output =
        timeout(LONGEST, program.spawn()?.wait_with_output()).await.context("no end")??;
    if output.status.success() {
        return Ok(Ok(String::from_utf8(output.stdout)?));
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let number = error.split_once("ERROR ").and_then(|(_, rest)| rest.split_once(' '));
    let Some((number, _)) = number else { bail!("{user} {}: {error}", way.legs.name()) };
    Ok(Err(number.to_owned()))
}
