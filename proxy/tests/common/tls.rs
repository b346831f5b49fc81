//! Certificates made for a test, and tunnels that speak TLS for toys that do not.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use wiremesh_proxy::config::{ClusterTls, ListenerTls};

use super::thread::ServerThread;

/// Who issues certificates.
pub struct Issuer {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate with its key, as files.
#[derive(Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Issuer {
    /// One of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let this = Self { issuer, folder: tempfile::tempdir().expect("a folder") };
        std::fs::write(this.file(), this.issuer.pem()).expect("written");
        this
    }

    /// The file with its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for these names, in files that are named by the first.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    /// One whose time is over.
    pub fn issue_expired(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn issue_with(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = |end| self.folder.path().join(format!("{}.{end}", names[0]));
        let identity = Identity { certificate: file("pem"), key: file("key") };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        edit(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(&identity.certificate, certificate.pem()).expect("written");
        std::fs::write(&identity.key, key.serialize_pem()).expect("written");
        identity
    }

    /// A client that trusts only this one, and shows this certificate.
    pub fn client(&self, shown: Option<&Identity>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots());
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                builder.with_client_auth_cert(shown.chain(), shown.key()).expect("they match")
            }
        })
    }

    /// The cluster's settings that trust only this one.
    pub fn trusted(&self) -> ClusterTls {
        ClusterTls { ca: Some(self.file()), ..ClusterTls::default() }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an issuer");
        roots
    }
}

impl Identity {
    /// The listener's settings that show this one.
    pub fn listener(&self) -> ListenerTls {
        ListenerTls::new(&self.certificate, &self.key)
    }

    /// A server that shows this one.
    pub fn server(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth();
        Arc::new(builder.with_single_cert(self.chain(), self.key()).expect("they match"))
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let found = CertificateDer::pem_file_iter(&self.certificate).expect("a file");
        found.collect::<Result<_, _>>().expect("PEM")
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).expect("a key")
    }
}

/// Connects, and speaks TLS with whom it expects to be `name`.
pub async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name).expect("a name");
    TlsConnector::from(config).connect(name, stream).await
}

/// Passes bytes on, with TLS on one side.
pub struct Tunnel {
    pub address: SocketAddr,
    _thread: ServerThread,
}

impl Tunnel {
    /// Takes off the TLS of whoever connects, before a server that speaks none.
    pub fn before(server: SocketAddr, tls: Arc<ServerConfig>) -> Self {
        Self::start(move |stream| {
            let tls = tls.clone();
            async move {
                let stream = TlsAcceptor::from(tls).accept(stream).await?;
                pass(stream, TcpStream::connect(server).await?).await
            }
        })
    }

    /// Speaks TLS with a server for clients that speak none.
    pub fn to(server: SocketAddr, tls: Arc<ClientConfig>, name: &'static str) -> Self {
        Self::start(move |stream| {
            let tls = tls.clone();
            async move { pass(connect(server, tls, name).await?, stream).await }
        })
    }

    fn start<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + 'static,
    {
        let any = "127.0.0.1:0".parse().expect("an address");
        let thread = ServerThread::start(any, move |listener: TcpListener| async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                tokio::task::spawn_local(each(stream));
            }
        });
        Self { address: thread.address, _thread: thread }
    }
}

async fn pass<A, B>(mut one: A, mut other: B) -> std::io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional(&mut one, &mut other).await.map(drop)
}
