use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS 1.2 or 1.3 with the clients of a listener. The files are read again with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// The file with the certificate that clients are shown, in PEM; those that lead from it to the root follow it.
    #[schemars(with = "String", length(min = 1))]
    pub certificate: PathBuf,
    /// The file with the certificate's private key, in PEM, without a password.
    #[schemars(with = "String", length(min = 1))]
    pub key: PathBuf,
    /// The file with the certificates, in PEM, of those who issue clients' certificates. Default: clients need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub client_ca: Option<PathBuf>,
    /// Whether clients must have a certificate of those, or may.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// Whether clients of protocols that begin in clear and may ask for TLS then, such as MySQL's, must ask for it. With
    /// all others TLS begins at once.
    #[serde(default = "yes")]
    pub required: bool,
}

impl ListenerTls {
    /// TLS without certificates of clients.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            client_certificate: ClientCertificate::default(),
            required: yes(),
        }
    }
}

fn yes() -> bool {
    true
}

/// Whether clients must have a certificate, where it is said who issues them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Who has none is refused.
    #[default]
    Required,
    /// Who has none is served; who has one that is not right is refused.
    Optional,
}

/// TLS 1.2 or 1.3 with the endpoints of a cluster. The files are read again with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterTls {
    /// The file with the certificates, in PEM, of those who issue the endpoints' certificates. Default: those that the
    /// system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub ca: Option<PathBuf>,
    /// The name or IP address that the endpoints' certificates must be for. Default: that of the endpoint, as it is
    /// configured or told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub server_name: Option<String>,
    /// The file with the certificate that endpoints are shown, in PEM. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub certificate: Option<PathBuf>,
    /// The file with that certificate's private key, in PEM, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub key: Option<PathBuf>,
    /// Whether the endpoints' certificates are verified. Without that, anybody in between can pose as the endpoint.
    pub verify: bool,
}

impl Default for ClusterTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, certificate: None, key: None, verify: true }
    }
}
