//! MySQL and MariaDB as processes on loopback, with the accounts that the clients log in to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::install::{mariadb_11, mariadb_plugins, mysql};
use crate::process::{command, log, pinned, run};
use crate::target;

const START: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Oracle's own build of 8.0.33.
    Mysql,
    /// Debian's 10.11.
    Maria10,
    /// 11.4.5, without files for its plugins.
    Maria11,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Mysql, Self::Maria10, Self::Maria11];

    /// As the clients are told what they talk to.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql8",
            Self::Maria10 => "mariadb10",
            Self::Maria11 => "mariadb11",
        }
    }

    fn program(self) -> Command {
        match self {
            Self::Mysql => command(mysql().join("bin/mysqld")),
            Self::Maria10 => command("mariadbd"),
            Self::Maria11 => command(mariadb_11().join("bin/mariadbd")),
        }
    }

    /// Makes a data directory.
    async fn initialize(self, folder: &Path, config: &Path) -> anyhow::Result<()> {
        let defaults = format!("--defaults-file={}", config.display());
        let mut program = match self {
            Self::Mysql => {
                let mut mysqld = self.program();
                mysqld.args([&defaults, "--initialize-insecure"]);
                mysqld
            }
            Self::Maria10 | Self::Maria11 => {
                let mut script = if self == Self::Maria10 {
                    command("mariadb-install-db")
                } else {
                    // Not all of what a jar holds may be executed.
                    let mut sh = command("sh");
                    sh.arg(mariadb_11().join("scripts/mariadb-install-db"));
                    sh
                };
                script.arg(&defaults);
                if self == Self::Maria11 {
                    script.arg(format!("--basedir={}", mariadb_11().display()));
                }
                script.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                script
            }
        };
        fs::create_dir_all(folder.join("data"))?;
        run(&format!("{}-initialize", self.name()), &mut program).await?;
        Ok(())
    }

    /// Settings of this kind alone.
    fn settings(self, folder: &Path) -> anyhow::Result<String> {
        let tls = folder.join("tls");
        let tls = tls.display();
        let maria = format!(
            "ssl-ca={tls}/ca.pem\nssl-cert={tls}/server.pem\nssl-key={tls}/server.key\n\
             character-set-server=utf8mb4\n"
        );
        Ok(match self {
            Self::Mysql => format!(
                "basedir={}\nmysqlx=OFF\nperformance_schema=OFF\nsecure-file-priv=\n\
                 innodb_redo_log_capacity=64M\nsync_binlog=0\ngtid_mode=ON\nenforce_gtid_consistency=ON\n\
                 innodb_buffer_pool_load_at_startup=OFF\ninnodb_buffer_pool_dump_at_shutdown=OFF\n",
                mysql().display()
            ),
            Self::Maria10 => {
                format!("{maria}plugin-dir={}\n", mariadb_plugins().display())
            }
            Self::Maria11 => {
                let base = mariadb_11();
                let base = base.display();
                format!("{maria}basedir={base}\nlc-messages-dir={base}/share\n")
            }
        })
    }

    /// What it is told when it starts for the first time, a statement a line.
    fn accounts(self) -> String {
        match self {
            Self::Mysql => "create database test;\n\
                 install component 'file://component_query_attributes';\n\
                 create user root@'127.0.0.1' identified with caching_sha2_password by '';\n\
                 grant all on *.* to root@'127.0.0.1' with grant option;\n\
                 create user sha2@'%' identified with caching_sha2_password by 'sha2pw';\n\
                 create user nat@'%' identified with mysql_native_password by 'natpw';\n\
                 create user s256@'%' identified with sha256_password by 's256pw';\n\
                 create user nopw@'%' identified with caching_sha2_password by '';\n\
                 create user tlsonly@'%' identified with caching_sha2_password by 'tlspw' require ssl;\n\
                 grant all on *.* to sha2@'%' with grant option;\n\
                 grant all on *.* to nat@'%' with grant option;\n\
                 grant all on test.* to s256@'%';\n\
                 grant all on test.* to nopw@'%';\n\
                 grant all on test.* to tlsonly@'%';\n"
                .into(),
            Self::Maria10 => format!("{MARIA}{ED25519}"),
            Self::Maria11 => MARIA.into(),
        }
    }
}

/// Of every MariaDB.
const MARIA: &str = "create database if not exists test;\n\
     delete from mysql.global_priv where User='';\n\
     flush privileges;\n\
     create user nat@'%' identified via mysql_native_password using password('natpw');\n\
     create user nopw@'%';\n\
     create user tlsonly@'%' identified via mysql_native_password using password('tlspw') require ssl;\n\
     grant all on *.* to nat@'%' with grant option;\n\
     grant all on test.* to nopw@'%';\n\
     grant all on test.* to tlsonly@'%';\n";

/// Where the plugin's file is.
const ED25519: &str = "install soname 'auth_ed25519';\n\
     create user ed@'%' identified via ed25519 using password('edpw');\n\
     grant all on *.* to ed@'%' with grant option;\n";

/// A running server. What it stores goes with it.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    pub(super) kind: Kind,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one on these cores; empty: on any.
    pub(crate) async fn start(kind: Kind, cpus: &str) -> anyhow::Result<Self> {
        Self::start_with(kind, cpus, "").await
    }

    /// The same with these settings besides.
    pub(super) async fn start_with(kind: Kind, cpus: &str, more: &str) -> anyhow::Result<Self> {
        let address = free_address()?;
        let folder = target().join("xtask").join(format!("mysql-{}", address.port()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(folder.join("tmp"))?;
        if kind != Kind::Mysql {
            certificates(&folder.join("tls")).await?;
        }
        let config = folder.join("my.cnf");
        fs::write(&config, settings(kind, &folder, address)? + more)?;
        kind.initialize(&folder, &config).await?;
        let accounts = folder.join("accounts.sql");
        fs::write(&accounts, kind.accounts())?;
        let (output, path) = log(&format!("{}-{}", kind.name(), address.port()))?;
        let mut program = pinned(cpus, kind.program().as_std().get_program());
        program.arg(format!("--defaults-file={}", config.display()));
        program.arg(format!("--init-file={}", accounts.display()));
        let child = program.stdout(output.try_clone()?).stderr(output).spawn()?;
        let mut server = Self { child, folder, kind, address };
        server.ready(&path).await?;
        Ok(server)
    }

    /// Its process.
    pub(super) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("it has ended")
    }

    /// The certificate that its own is signed with.
    pub(super) fn ca(&self) -> PathBuf {
        let folder = if self.kind == Kind::Mysql { "data" } else { "tls" };
        self.folder.join(folder).join("ca.pem")
    }

    /// Its certificate and key.
    pub(super) fn certificate(&self) -> (PathBuf, PathBuf) {
        let (folder, certificate, key) = match self.kind {
            Kind::Mysql => ("data", "server-cert.pem", "server-key.pem"),
            Kind::Maria10 | Kind::Maria11 => ("tls", "server.pem", "server.key"),
        };
        let folder = self.folder.join(folder);
        (folder.join(certificate), folder.join(key))
    }

    /// It greets when all accounts are there.
    async fn ready(&mut self, log: &Path) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let text = fs::read(log)?;
                let text = String::from_utf8_lossy(&text);
                bail!("{} ended: {status}\n{text}", self.kind.name());
            }
            if greets(self.address).await {
                return Ok(());
            }
            ensure!(Instant::now() < end, "it does not greet; see {}", log.display());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It would write into the folder that is being removed, were it only told to end.
        let _ = self.child.start_kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn greets(address: SocketAddr) -> bool {
    let greeting = async {
        let mut first = [0; 5];
        TcpStream::connect(address).await?.read_exact(&mut first).await?;
        anyhow::Ok(first[4] == 10)
    };
    timeout(Duration::from_secs(2), greeting).await.is_ok_and(|seen| seen.unwrap_or(false))
}

fn settings(kind: Kind, folder: &Path, address: SocketAddr) -> anyhow::Result<String> {
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let (port, own) = (address.port(), kind.settings(folder)?);
    // A socket's path has to be short.
    let socket = std::env::temp_dir().join(format!("wiremesh-{port}.sock"));
    let (socket, folder) = (socket.display(), folder.display());
    // Where several have one folder for temporary tables, each that starts takes away those of the others.
    Ok(format!(
        "[mysqld]\n\
         user={user}\n\
         datadir={folder}/data\n\
         tmpdir={folder}/tmp\n\
         socket={socket}\n\
         pid-file={folder}/pid\n\
         port={port}\n\
         bind-address=127.0.0.1\n\
         server_id={port}\n\
         log-bin={folder}/binlog\n\
         log_bin_trust_function_creators=1\n\
         local_infile=1\n\
         max_allowed_packet=128M\n\
         max_connections=1000\n\
         innodb_buffer_pool_size=128M\n\
         innodb_flush_log_at_trx_commit=2\n\
         {own}"
    ))
}

/// A CA and a certificate for 127.0.0.1 that it has signed.
pub(super) async fn certificates(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let openssl = |args: &[&str]| {
        let mut openssl = command("openssl");
        openssl.args(args).current_dir(folder);
        openssl
    };
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
    let key = ["-newkey", "rsa:2048", "-nodes"];
    let ca =
        ["req", "-x509", "-days", "30", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"];
    run("openssl-ca", openssl(&ca).args(key)).await?;
    let ask = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    run("openssl-request", openssl(&ask).args(key)).await?;
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let rest = ["-CAcreateserial", "-days", "30", "-extfile", "names", "-out", "server.pem"];
    run("openssl-sign", openssl(&sign).args(rest)).await?;
    Ok(())
}

/// A loopback address that nothing listens on, and that no connection gets for its own end meanwhile: a server takes
/// seconds from here to its listener.
fn free_address() -> anyhow::Result<SocketAddr> {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in RANGE {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id().wrapping_mul(97)) as u16;
        let port = RANGE.start + start.wrapping_add(step) % (RANGE.end - RANGE.start);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no free port")
}
