use std::io;

use super::{
    Stream,
    tls::{self, Connecting, Tls},
};
use crate::{cluster::Address, telemetry::EndpointSeries};

/// How to connect to an endpoint.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where it is.
    pub address: Address,
    /// How TLS is spoken with it; `None`: not at all.
    pub tls: Option<Connecting>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system's reason.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(String),
}

impl ConnectError {
    /// Counts it with the endpoint's, if it is about TLS.
    pub fn count(&self, series: &EndpointSeries) {
        if matches!(self, Self::Tls(_)) {
            series.tls_failures.inc();
        }
    }
}

impl Stream {
    /// Connects to an endpoint, the TLS handshake included.
    pub async fn connect(dial: Dial) -> Result<Self, ConnectError> {
        let stream = Self::open(&dial.address).await?;
        match dial.tls {
            None => Ok(stream),
            Some(tls) => stream.start_tls(tls).await,
        }
    }

    /// Begins TLS with the server on the other side.
    pub async fn start_tls(self, tls: Connecting) -> Result<Self, ConnectError> {
        match Tls::connect(self, tls).await {
            Ok(tls) => Ok(Self::Tls(Box::new(tls))),
            Err(error) => Err(ConnectError::Tls(tls::explain(&error))),
        }
    }
}

impl From<Address> for Dial {
    /// Without TLS.
    fn from(address: Address) -> Self {
        Self { address, tls: None }
    }
}
