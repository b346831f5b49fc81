use std::net::IpAddr;

use wiremesh::{Failure, Reason};

use crate::config::Cidr;

/// Who may connect to a listener, by address.
#[derive(Clone, Debug)]
pub struct Authorize {
    allow: Box<[Cidr]>,
    deny: Box<[Cidr]>,
}

impl Authorize {
    /// From a listener's lists; `None` where both are empty and everybody may connect.
    pub fn compile(allow: &[Cidr], deny: &[Cidr]) -> Option<Self> {
        if allow.is_empty() && deny.is_empty() {
            return None;
        }
        let canonical = |list: &[Cidr]| list.iter().map(canonical).collect();
        Some(Self { allow: canonical(allow), deny: canonical(deny) })
    }

    /// Whether a client may connect. A denial wins over a permission; a client without an address came over a Unix
    /// socket, and there the file's permissions have decided.
    pub fn check(&self, peer: Option<IpAddr>) -> Result<(), Failure> {
        let Some(ip) = peer else { return Ok(()) };
        let listed = |list: &[Cidr]| list.iter().any(|block| block.contains(ip));
        if listed(&self.deny) || !(self.allow.is_empty() || listed(&self.allow)) {
            let message = format!("{} may not connect here", ip.to_canonical());
            return Err(Failure::new(Reason::Denied, message));
        }
        Ok(())
    }
}

/// Who is believed about whose a connection is, by address.
#[derive(Clone, Debug)]
pub struct Trusted(Box<[Cidr]>);

impl Trusted {
    /// Those of these blocks.
    pub fn compile(blocks: &[Cidr]) -> Self {
        Self(blocks.iter().map(canonical).collect())
    }

    /// Whether this one is believed. Who has no address came over a Unix socket, and there the file's permissions have
    /// decided.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|ip| self.0.iter().any(|block| block.contains(ip)))
    }
}

/// An IPv4 block in IPv6 form as an IPv4 block, since addresses are compared in that form.
fn canonical(block: &Cidr) -> Cidr {
    match (block.network.to_canonical(), block.prefix.checked_sub(96)) {
        (network @ IpAddr::V4(_), Some(prefix)) if block.network.is_ipv6() => {
            Cidr { network, prefix }
        }
        _ => *block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(list: &[&str]) -> Vec<Cidr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn allowed(allow: &[&str], deny: &[&str], ip: &str) -> bool {
        let station = Authorize::compile(&blocks(allow), &blocks(deny)).unwrap();
        station.check(Some(ip.parse().unwrap())).is_ok()
    }

    #[test]
    fn lists() {
        assert!(allowed(&["10.0.0.0/8"], &[], "10.1.2.3"));
        assert!(!allowed(&["10.0.0.0/8"], &[], "11.1.2.3"));
        assert!(allowed(&[], &["10.0.0.0/8"], "11.1.2.3"), "an empty allow list is everybody");
        assert!(!allowed(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3"), "deny wins");
        assert!(allowed(&["2001:db8::/32", "10.0.0.1"], &[], "2001:db8::7"));
        assert!(!allowed(&["2001:db8::/32"], &[], "10.0.0.1"));
        assert!(!allowed(&[], &["0.0.0.0/0"], "1.2.3.4"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert!(allowed(&["10.0.0.0/8"], &[], "::ffff:10.1.2.3"));
        assert!(!allowed(&[], &["10.1.2.3"], "::ffff:10.1.2.3"));
        assert!(!allowed(&[], &["::ffff:10.0.0.0/104"], "10.1.2.3"));
        assert!(allowed(&[], &["::ffff:10.0.0.0/104"], "11.1.2.3"));
    }

    #[test]
    fn unix_peers_pass() {
        let station = Authorize::compile(&[], &blocks(&["0.0.0.0/0", "::/0"])).unwrap();
        assert_eq!(station.check(None), Ok(()));
    }

    #[test]
    fn says_who_was_denied() {
        let station = Authorize::compile(&blocks(&["::1"]), &[]).unwrap();
        let failure = station.check(Some("::ffff:127.0.0.1".parse().unwrap())).unwrap_err();
        assert_eq!(failure.to_string(), "wiremesh DN: 127.0.0.1 may not connect here");
    }

    #[test]
    fn costs_nothing_without_lists() {
        assert!(Authorize::compile(&[], &[]).is_none());
    }
}
