use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Cidr;

/// Headers of the PROXY protocol, version 1 or 2, before what clients send, TLS included: who passes connections on, a
/// load balancer say, tells in them whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerProxyProtocol {
    /// The address blocks of those who pass connections on. Who can connect from there can claim any address. Of no
    /// meaning for Unix sockets, where the file's permissions decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<Cidr>,
    /// Whether there must be a header, and connections from elsewhere are closed. Else those from elsewhere are served
    /// without, and the trusted ones may have one.
    #[serde(default = "yes")]
    pub required: bool,
}

impl ListenerProxyProtocol {
    /// Required of these.
    pub fn new(trusted: Vec<Cidr>) -> Self {
        Self { trusted, required: yes() }
    }
}

fn yes() -> bool {
    true
}

/// How endpoints are told for whom a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}
