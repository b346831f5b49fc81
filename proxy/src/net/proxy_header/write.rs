use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Addresses, LOCAL, PROXIED, SIGNATURE};
use crate::config::ProxyVersion;

/// What a server is told of a connection before all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// How it is told.
    pub version: ProxyVersion,
    /// For whom the connection is; `None`: for nobody in particular.
    pub client: Option<Addresses>,
}

impl Introduction {
    /// The header's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let client = self.client.map(alike);
        match self.version {
            ProxyVersion::V1 => text(client),
            ProxyVersion::V2 => binary(client),
        }
    }
}

/// A header has addresses of one kind only.
fn alike(Addresses { source, destination }: Addresses) -> Addresses {
    if source.is_ipv4() == destination.is_ipv4() {
        return Addresses { source, destination };
    }
    let v6 = |address: SocketAddr| SocketAddr::new(in_v6(address.ip()).into(), address.port());
    Addresses { source: v6(source), destination: v6(destination) }
}

fn in_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn text(client: Option<Addresses>) -> Vec<u8> {
    let Some(Addresses { source, destination }) = client else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let kind = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {kind} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn binary(client: Option<Addresses>) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let Some(Addresses { source, destination }) = client else {
        bytes.extend([LOCAL, 0, 0, 0]);
        return bytes;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([PROXIED, 0x11, 0, 12]);
            bytes.extend([from.octets(), to.octets()].as_flattened());
        }
        (from, to) => {
            bytes.extend([PROXIED, 0x21, 0, 36]);
            bytes.extend([in_v6(from).octets(), in_v6(to).octets()].as_flattened());
        }
    }
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes
}
