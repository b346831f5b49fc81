//! What clients are shown: one server, or, with the transparent face, a Redis Cluster of one node that serves all slots.
//! That node is the proxy, so that clients which follow a cluster's topology stay where they are. The shapes of its
//! answers are those of Redis 7.0.

mod node;

use std::{net::IpAddr, sync::Arc};

use wiremesh::correlation::View;

pub(crate) use self::node::{NOT_LEARNT, NOWHERE, Node};

/// What clients are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Face {
    transparent: bool,
    announce: Option<Arc<Place>>,
}

/// Where clients find the node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

/// Nothing of a cluster is shown, or a node is.
const MODES: [&str; 2] = ["standalone", "cluster"];

impl Face {
    /// Sets the option `face`.
    pub(crate) fn set(&mut self, name: &str) -> Result<(), &'static str> {
        self.transparent = match name {
            "hidden" => false,
            "transparent" => true,
            _ => return Err("a face is hidden or transparent"),
        };
        Ok(())
    }

    /// Sets the option `announce`.
    pub(crate) fn announce(&mut self, place: &str) -> Result<(), &'static str> {
        let place = Place::parse(place).ok_or("write it as HOST:PORT or [IPV6]:PORT")?;
        self.announce = Some(Arc::new(place));
        Ok(())
    }

    /// Whether clients are shown a node of a cluster.
    pub(crate) fn is_transparent(&self) -> bool {
        self.transparent
    }

    /// The node that this client is shown; `None` where it could not find it again.
    pub(crate) fn node(&self, view: &View<'_>) -> Option<Node> {
        match &self.announce {
            Some(place) => Some(Node::at(Place::clone(place))),
            None => Some(Node::at(Place::parse(view.local)?)),
        }
    }

    /// What the server's own word for its mode is to be replaced by; `None`: it is right.
    pub(crate) fn mode(&self, view: &View<'_>) -> Option<&'static str> {
        let [standalone, cluster] = MODES;
        match self.transparent {
            true => Some(cluster),
            false => (view.shards > 0).then_some(standalone),
        }
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match inner.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) if inner.is_some() == ip.is_ipv6() => ip.to_canonical().to_string(),
            Err(_) if inner.is_none() && is_name(host) => host.to_owned(),
            _ => return None,
        };
        Some(Self { host, port })
    }
}

/// Whether this may stand in the answers as a host's name: they separate by blanks, commas, colons and `@`.
fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = |text| Place::parse(text).map(|place| (place.host, place.port));
        for (text, host, port) in [
            ("10.0.0.1:6379", "10.0.0.1", 6379),
            ("[::1]:7000", "::1", 7000),
            ("[::ffff:10.0.0.1]:7000", "10.0.0.1", 7000),
            ("cache.example.com:6379", "cache.example.com", 6379),
        ] {
            assert_eq!(place(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            "10.0.0.1",
            ":6379",
            "a:0",
            "a:65536",
            "::1:7000",
            "[a]:1",
            "[10.0.0.1]:1",
            "a b:1",
            "a,b:1",
            "unix",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }

    #[test]
    fn options() {
        let mut face = Face::default();
        assert!(!face.is_transparent());
        assert!(face.set("transparent").is_ok() && face.is_transparent());
        assert!(face.set("Hidden").is_err());
        assert!(face.set("hidden").is_ok() && !face.is_transparent());
        assert!(face.announce("10.0.0.1:6379").is_ok());
        assert!(face.announce("10.0.0.1").is_err());
    }
}
