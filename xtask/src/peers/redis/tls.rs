//! TLS on both legs: redis-cli and redis-benchmark on one, redis-server, which wants to know who comes, on the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::server::Server;
use super::tools;
use crate::peers::proxy::{Proxy, free_address};
use crate::report::Outcome;
use crate::target;

pub(super) const NAME: &str = "redis-tls";

/// What redis-cli says in clear to the server itself it says again under TLS through the proxy.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    let Files { ca, certificate, key } = &Files::make()?;
    let port = free_address()?.port().to_string();
    let server = Server::start(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        ca,
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-auth-clients",
        "yes",
    ])
    .await?;
    let mut flags = vec!["--tls", "--cacert", ca];
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
    let mut proxy = None;
    if direct {
        flags.extend(["--cert", certificate, "--key", key]);
    } else {
        let started = Proxy::run(|address| {
            format!(
                "listeners:\n\
                 - name: redis\n  \
                   address: {address}\n  \
                   protocols: [redis]\n  \
                   tls: {{ certificate: {certificate}, key: {key} }}\n  \
                   routes: [{{ name: all, cluster: server }}]\n\
                 clusters:\n\
                 - name: server\n  \
                   endpoints: [\"127.0.0.1:{port}\"]\n  \
                   tls: {{ ca: {ca}, certificate: {certificate}, key: {key} }}\n  \
                   health: {{}}\n"
            )
        })
        .await?;
        address = started.address;
        proxy = Some(started);
    }
    let cli = tools::cli_with(server.address, Some(address), &flags).await?;
    let benchmark = tools::benchmark_with(address, &flags).await?;
    if let Some(proxy) = &mut proxy {
        proxy.check()?;
    }
    Ok(Outcome {
        passed: cli.passed + benchmark.passed,
        failed: cli.failed + benchmark.failed,
        detail: format!("{}\n{}", cli.detail, benchmark.detail),
    })
}

/// One certificate for both sides, with its key, and that of who issued it.
struct Files {
    ca: String,
    certificate: String,
    key: String,
}

impl Files {
    fn make() -> anyhow::Result<Self> {
        let folder = target().join("xtask").join(NAME);
        std::fs::create_dir_all(&folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // To OpenSSL a certificate whose issuer has the same name is its own.
        params.distinguished_name.push(DnType::CommonName, "issuer of test certificates");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        Ok(Self {
            ca: write(folder.join("ca.pem"), &issuer.pem())?,
            certificate: write(folder.join("server.pem"), &certificate.pem())?,
            key: write(folder.join("server.key"), &key.serialize_pem())?,
        })
    }
}

fn write(file: PathBuf, text: &str) -> anyhow::Result<String> {
    std::fs::write(&file, text)?;
    Ok(Path::display(&file).to_string())
}
