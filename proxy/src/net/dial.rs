use std::io;

use tokio::io::AsyncWriteExt;

use super::{
    Addresses, Introduction, Stream,
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
    /// What is said before all else, TLS included.
    pub introduction: Option<Introduction>,
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
        Self::open(&dial.address).await?.begin(dial).await
    }

    /// Says what is said first, and has TLS begin.
    pub async fn begin(mut self, dial: Dial) -> Result<Self, ConnectError> {
        if let Some(introduction) = dial.introduction {
            self.write_all(&introduction.to_bytes()).await?;
        }
        match dial.tls {
            None => Ok(self),
            Some(tls) => self.start_tls(tls).await,
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

impl Dial {
    /// Says that the connection is this client's, where anything is said of that.
    pub fn with_client(mut self, client: Option<Addresses>) -> Self {
        self.introduction = self.introduction.map(|it| Introduction { client, ..it });
        self
    }
}

impl From<Address> for Dial {
    /// Without TLS.
    fn from(address: Address) -> Self {
        Self { address, tls: None, introduction: None }
    }
}
