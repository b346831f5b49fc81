//! ShardingSphere-Proxy, a proxy for MySQL in Java, from Maven's registry. It listens on all addresses and cannot be told
//! otherwise, so that everything that is measured with it runs in a network of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::mysql::ACCOUNT;
use crate::process::{command, pinned, run};
use crate::target;

pub(super) const VERSION: &str = "5.1.0";
/// The programs that it takes, and the Debian packages that have them.
pub(super) const PROGRAMS: [(&str, &str); 3] =
    [("java", "openjdk-17-jre-headless"), ("mvn", "maven"), ("ip", "iproute2")];
const DRIVER: &str = "com.mysql:mysql-connector-j:8.0.33";

fn folder() -> PathBuf {
    target().join("peers/shardingsphere").join(VERSION)
}

fn pom() -> String {
    let [group, artifact, version] =
        DRIVER.split(':').collect::<Vec<_>>().try_into().unwrap_or_default();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>wiremesh</groupId><artifactId>bench</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.shardingsphere</groupId>
      <artifactId>shardingsphere-proxy-bootstrap</artifactId>
      <version>{VERSION}</version>
      <exclusions><exclusion><groupId>mysql</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>
    <dependency>
      <groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
    </dependency>
  </dependencies>
</project>
"
    )
}

/// Has its libraries there.
pub(super) async fn install() -> anyhow::Result<()> {
    const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";
    let (folder, done) = (folder(), folder().join("done"));
    if done.exists() {
        return Ok(());
    }
    println!("installing ShardingSphere-Proxy {VERSION}");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("pom.xml"), pom())?;
    let mut maven = command("mvn");
    maven.args(["--batch-mode", "--quiet", GOAL, "-DoutputDirectory=lib"]).current_dir(&folder);
    run("shardingsphere", &mut maven).await?;
    fs::write(done, "")?;
    Ok(())
}

/// The command that runs it in the foreground. Its pool is as large as sysbench has threads, at most.
pub(super) fn command_of(
    cpus: &str,
    listen: SocketAddr,
    upstream: SocketAddr,
) -> anyhow::Result<Command> {
    let conf = folder().join("conf");
    fs::create_dir_all(&conf)?;
    let (user, password) = ACCOUNT;
    fs::write(
        conf.join("server.yaml"),
        format!(
            "rules:
  - !AUTHORITY
    users: [ \"{user}@%:{password}\" ]
    provider: {{ type: ALL_PRIVILEGES_PERMITTED }}
props:
  max-connections-size-per-query: 1
  sql-show: false
  check-table-metadata-enabled: false
"
        ),
    )?;
    let driver = "useSSL=false&allowPublicKeyRetrieval=true&useServerPrepStmts=true&cachePrepStmts=true\
                  &prepStmtCacheSize=8192&prepStmtCacheSqlLimit=1024&useLocalSessionState=true\
                  &cacheServerConfiguration=true&elideSetAutoCommits=true&maintainTimeStats=false";
    fs::write(
        conf.join("config-test.yaml"),
        format!(
            "schemaName: test
dataSources:
  ds0:
    url: jdbc:mysql://{upstream}/test?{driver}
    username: {user}
    password: {password}
    maxPoolSize: 150
    minPoolSize: 1
rules: []
"
        ),
    )?;
    fs::write(
        conf.join("logback.xml"),
        "<configuration><appender name=\"out\" class=\"ch.qos.logback.core.ConsoleAppender\">\
         <encoder><pattern>%d %p %m%n</pattern></encoder></appender>\
         <root level=\"INFO\"><appender-ref ref=\"out\"/></root></configuration>",
    )?;
    let mut java = pinned(cpus, "java");
    java.args(["-Xms1g", "-Xmx2g", "-cp", "conf:lib/*"]);
    java.arg("org.apache.shardingsphere.proxy.Bootstrap").arg(listen.port().to_string());
    java.arg(conf).current_dir(folder());
    Ok(java)
}

/// Runs this program once more, as it was called, in a network that has nothing but a loopback of its own.
pub(super) async fn isolated() -> anyhow::Result<bool> {
    let program = std::env::current_exe()?;
    let mut unshare = command("unshare");
    unshare.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]).arg(program);
    unshare.args(std::env::args_os().skip(1)).arg("--isolated");
    let status = unshare.status().await.context("cannot start unshare")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!(
            "{status}: a network of its own takes root; leave shardingsphere out with --peers"
        ),
    }
}
