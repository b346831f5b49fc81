//! What the configuration says of TLS, made ready for handshakes.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, LazyLock},
};

use anyhow::{Context, anyhow};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::WebPkiClientVerifier,
};

use super::files;
use crate::{
    cluster::Address,
    config::{ClientCertificate, ClusterTls, Config, ListenerTls},
};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Bytes that nobody can guess.
///
/// # Panics
/// Where the system has no randomness to give: nothing that needs it may go on.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    PROVIDER.secure_random.fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// Reads all files that a configuration names for TLS, and says what is wrong with any.
pub fn check(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter().filter_map(|listener| {
        let error = ServerTls::load(listener.tls.as_ref()?).err()?;
        Some(format!("listener {}: {error:#}", listener.name))
    });
    let clusters = config.clusters.iter().filter_map(|cluster| {
        let error = ClientTls::load(cluster.tls.as_ref()?).err()?;
        Some(format!("cluster {}: {error:#}", cluster.name))
    });
    listeners.chain(clusters).collect()
}

/// How a listener speaks TLS with its clients.
#[derive(Clone, Debug)]
pub struct ServerTls(pub(super) Arc<ServerConfig>);

impl ServerTls {
    /// Reads the files.
    pub fn load(config: &ListenerTls) -> anyhow::Result<Self> {
        let chain = files::chain("tls.certificate", &config.certificate)?;
        let key = files::key("tls.key", &config.key)?;
        let builder = ServerConfig::builder_with_provider(PROVIDER.clone())
            .with_safe_default_protocol_versions()?;
        let builder = match &config.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let issuers = Arc::new(files::issuers("tls.client_ca", file)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(issuers, PROVIDER.clone());
                let verifier = match config.client_certificate {
                    ClientCertificate::Required => verifier,
                    ClientCertificate::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().context("tls.client_ca")?)
            }
        };
        let made = builder.with_single_cert(chain, key);
        Ok(Self(Arc::new(made.map_err(|e| mismatch(e, &config.certificate, &config.key))?)))
    }
}

/// How a cluster speaks TLS with its endpoints.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

/// How to speak TLS with one endpoint.
#[derive(Clone, Debug)]
pub struct Connecting {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the files.
    pub fn load(config: &ClusterTls) -> anyhow::Result<Self> {
        let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_safe_default_protocol_versions()?;
        let builder = if config.verify {
            let issuers = match &config.ca {
                Some(file) => files::issuers("tls.ca", file)?,
                None => files::system()?,
            };
            builder.with_root_certificates(issuers)
        } else {
            let anybody = Anybody(PROVIDER.signature_verification_algorithms);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(anybody))
        };
        let made = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                let chain = files::chain("tls.certificate", certificate)?;
                builder
                    .with_client_auth_cert(chain, files::key("tls.key", key)?)
                    .map_err(|error| mismatch(error, certificate, key))?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = config.server_name.as_deref().map(server_name).transpose()?;
        Ok(Self { config: Arc::new(made), name })
    }

    /// For the endpoint at an address that is known by this name, if by any. `tls.server_name` counts more.
    pub fn to(&self, host: Option<&str>, address: &Address) -> Connecting {
        let told = || host.and_then(|host| server_name(host).ok());
        let ip = || match address {
            Address::Tcp(address) => address.ip(),
            // The check of the configuration asks for `server_name`; no certificate is for this one.
            Address::Unix(_) => Ipv4Addr::UNSPECIFIED.into(),
        };
        let name = self.name.clone().or_else(told).unwrap_or_else(|| ip().into());
        Connecting { config: self.config.clone(), name }
    }
}

/// A name or an IP address.
pub fn server_name(text: &str) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| anyhow!("tls.server_name: {text:?} is neither a host name nor an IP address"))
}

fn mismatch(error: Error, certificate: &Path, key: &Path) -> anyhow::Error {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        Error::InconsistentKeys(_) => {
            anyhow!("tls.key: {key} does not belong to the certificate of {certificate}")
        }
        error => anyhow!("tls.certificate: {certificate} with the key of {key}: {error}"),
    }
}

/// Takes any certificate, of which the other side has the key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
