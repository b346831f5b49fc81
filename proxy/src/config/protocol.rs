use std::{any::TypeId, collections::BTreeMap, fmt, sync::Arc};

use wiremesh::{
    Digested, HeaderSupport, OptionError, Protocol, User,
    correlation::{ById, InOrder, Session},
    topology::{TopologyError, TopologyOptions},
};

/// What configuration must know of a protocol.
#[derive(Clone)]
pub struct ProtocolInfo {
    /// The name used in configuration.
    pub name: &'static str,
    /// How a reply finds its request, in a word or two.
    pub correlation: &'static str,
    /// What its headers allow.
    pub headers: HeaderSupport,
    /// Whether it has a heartbeat.
    pub heartbeat: bool,
    /// Whether the accepting side speaks first.
    pub server_first: bool,
    /// Whether TLS begins within it.
    pub starts_tls: bool,
    /// Whether clients, with these options, are connected to a server before anything is known of their requests.
    pub end_to_end: EndToEnd,
    /// Of which requests there can be copies for another cluster.
    pub copies: Copies,
    /// Whether the protocol takes an option (name, value), and if not, why.
    pub check_option: OptionCheck,
    /// Whether the protocol, with these options, takes these users, and if not, why.
    pub check_users: UsersCheck,
    /// The digest of requests that say this.
    pub digest_of: DigestOf,
    /// Whether the endpoints of a cluster hold different data.
    pub stateful: bool,
    /// Whether the protocol can learn a topology (kind, options), and if not, why.
    pub check_topology: TopologyCheck,
}

/// Of which requests there can be copies for another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Of none.
    None,
    /// Of those that are known to change nothing.
    Reads,
    /// Of all.
    All,
}

/// Whether a protocol's clients, with these options, are connected to a server before anything is known of their requests.
pub type EndToEnd = Arc<dyn Fn(&BTreeMap<String, String>) -> bool + Send + Sync>;

/// Whether a protocol takes an option (name, value), and if not, why.
pub type OptionCheck = Arc<dyn Fn(&str, &str) -> Result<(), OptionError> + Send + Sync>;

/// Whether a protocol, with these options, takes these users, and if not, why.
pub type UsersCheck =
    Arc<dyn Fn(&BTreeMap<String, String>, &[User]) -> Result<(), OptionError> + Send + Sync>;

/// [`Protocol::digest_of`].
pub type DigestOf = fn(&str) -> Option<(Vec<u8>, Digested)>;

/// Whether a protocol can learn a topology (kind, options), and if not, why.
pub type TopologyCheck =
    Arc<dyn Fn(&str, &TopologyOptions) -> Result<(), TopologyError> + Send + Sync>;

impl ProtocolInfo {
    /// What the protocol says of itself; that it has no topology.
    pub fn of<P: Protocol + Send + Sync>(protocol: P) -> Self {
        Self {
            name: P::NAME,
            correlation: correlation(TypeId::of::<P::Correlation>()),
            headers: P::HEADERS,
            heartbeat: protocol.heartbeat(0).is_some(),
            server_first: P::SERVER_FIRST,
            starts_tls: P::STARTS_TLS,
            end_to_end: Arc::new(|_| false),
            copies: match TypeId::of::<P::Correlation>() == TypeId::of::<Session>() {
                true => Copies::None,
                false => Copies::All,
            },
            check_option: {
                let protocol = protocol.clone();
                Arc::new(move |name, value| protocol.clone().set_option(name, value))
            },
            check_users: Arc::new(move |options, users| {
                let mut protocol = protocol.clone();
                for (name, value) in options {
                    protocol.set_option(name, value)?;
                }
                protocol.set_users(users)
            }),
            digest_of: P::digest_of,
            stateful: false,
            check_topology: Arc::new(|_, _| Err(TopologyError::Kind(&[]))),
        }
    }
}

impl fmt::Debug for ProtocolInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtocolInfo").field(&self.name).finish()
    }
}

fn correlation(marker: TypeId) -> &'static str {
    if marker == TypeId::of::<ById>() {
        "by id"
    } else if marker == TypeId::of::<InOrder>() {
        "in order"
    } else if marker == TypeId::of::<Session>() {
        "session"
    } else {
        "other"
    }
}
