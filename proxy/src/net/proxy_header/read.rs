use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{Addresses, CHECKSUM, FIXED, LOCAL, PROXIED, SIGNATURE, TEXT, crc32c};

/// The longest header of version 1, its end of line included.
const LINE_MAX: usize = 107;

/// What a header of version 2 may say at most.
const SAID_MAX: usize = 4096;

/// No header has more bytes.
pub const LONGEST: usize = FIXED + SAID_MAX;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A header of so many bytes. Without addresses where the sender speaks for itself, or of no IP addresses.
    Header(usize, Option<Addresses>),
    /// The beginning of a header.
    NeedMore,
    /// No header.
    Other,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// More than is taken.
    #[error("a PROXY header of {0} bytes, of which {LONGEST} are taken at most")]
    Long(usize),
    /// It breaks the rules of its version.
    #[error("a malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// Its checksum is not that of its bytes.
    #[error("a PROXY header with a wrong checksum")]
    Checksum,
}

use HeaderError::Malformed;

/// Looks for a header at the beginning of `bytes`.
pub fn read(bytes: &[u8]) -> Result<Reading, HeaderError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    match () {
        () if begins(SIGNATURE) && bytes.len() >= SIGNATURE.len() => binary(bytes),
        () if begins(TEXT) && bytes.len() >= TEXT.len() => text(bytes),
        () if begins(SIGNATURE) || begins(TEXT) => Ok(Reading::NeedMore),
        () => Ok(Reading::Other),
    }
}

/// Version 1: one line.
fn text(bytes: &[u8]) -> Result<Reading, HeaderError> {
    let line = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() < LINE_MAX {
            true => Ok(Reading::NeedMore),
            false => Err(Malformed("a line without an end")),
        };
    };
    let said = line.get(TEXT.len()..end).and_then(|said| str::from_utf8(said).ok());
    let mut words = said.ok_or(Malformed("a line that is no text"))?.split(' ');
    let addresses = match words.next() {
        Some("TCP4") => Some(pair::<Ipv4Addr>(&mut words)?),
        Some("TCP6") => Some(pair::<Ipv6Addr>(&mut words)?),
        // Whatever else is said then is not looked at.
        Some("UNKNOWN") => return Ok(Reading::Header(end + 2, None)),
        _ => return Err(Malformed("an unknown kind of address")),
    };
    match words.next() {
        None => Ok(Reading::Header(end + 2, addresses)),
        Some(_) => Err(Malformed("more than two addresses and their ports")),
    }
}

/// The addresses of a line, which come before both ports.
fn pair<'a, A: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<Addresses, HeaderError> {
    let mut ip = || -> Option<IpAddr> { Some(words.next()?.parse::<A>().ok()?.into()) };
    let ips = ip().zip(ip()).ok_or(Malformed("not an address of its kind"))?;
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        // A sign would be taken, too.
        if word.bytes().all(|byte| byte.is_ascii_digit()) { word.parse().ok() } else { None }
    };
    let ports = port().zip(port()).ok_or(Malformed("not a port"))?;
    Ok(Addresses {
        source: SocketAddr::new(ips.0, ports.0),
        destination: SocketAddr::new(ips.1, ports.1),
    })
}

/// Version 2: a fixed part, addresses, and fields of any number.
fn binary(bytes: &[u8]) -> Result<Reading, HeaderError> {
    let Some(&[command, kind, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(Reading::NeedMore);
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    match command {
        LOCAL | PROXIED if len > LONGEST => return Err(HeaderError::Long(len)),
        LOCAL | PROXIED => {}
        _ => return Err(Malformed("an unknown version or command")),
    }
    let Some(header) = bytes.get(..len) else { return Ok(Reading::NeedMore) };
    // What the sender may still say of itself is not looked at.
    if command == LOCAL {
        return Ok(Reading::Header(len, None));
    }
    let said = &header[FIXED..];
    let short = Malformed("too short for its addresses");
    let (addresses, fields) = match (kind >> 4, kind & 0xf) {
        (0..=3, 3..) | (4.., _) => return Err(Malformed("an unknown kind of address")),
        // How long addresses are that are none is not known.
        (0, _) => return Ok(Reading::Header(len, None)),
        (1, transport) => {
            let (bytes, fields) = said.split_first_chunk::<12>().ok_or(short)?;
            let (ips, ports) = bytes.split_at(8);
            let ip = |at: &[u8]| <[u8; 4]>::try_from(at).map(IpAddr::from);
            (addresses(ips, ports, ip).filter(|_| transport == 1), fields)
        }
        (2, transport) => {
            let (bytes, fields) = said.split_first_chunk::<36>().ok_or(short)?;
            let (ips, ports) = bytes.split_at(32);
            let ip = |at: &[u8]| <[u8; 16]>::try_from(at).map(IpAddr::from);
            (addresses(ips, ports, ip).filter(|_| transport == 1), fields)
        }
        // Two paths, which say nothing here.
        (3, _) => (None, said.split_first_chunk::<216>().ok_or(short)?.1),
    };
    verify(header, fields)?;
    Ok(Reading::Header(len, addresses))
}

/// Two addresses of the same length, and their ports.
fn addresses<E>(
    ips: &[u8],
    ports: &[u8],
    ip: impl Fn(&[u8]) -> Result<IpAddr, E>,
) -> Option<Addresses> {
    let (source, destination) = ips.split_at(ips.len() / 2);
    let &[a, b, c, d] = ports else { return None };
    Some(Addresses {
        source: SocketAddr::new(ip(source).ok()?, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(ip(destination).ok()?, u16::from_be_bytes([c, d])),
    })
}

/// Looks through the fields behind the addresses, and verifies the checksum if one of them is it.
fn verify(header: &[u8], mut fields: &[u8]) -> Result<(), HeaderError> {
    while let Some((&[kind, high, low], rest)) = fields.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(len).ok_or(Malformed("a field without end"))?;
        if kind == CHECKSUM {
            let told = value.try_into().map(u32::from_be_bytes);
            let told = told.map_err(|_| Malformed("a checksum of another length"))?;
            // It was zero when it was made.
            let end = header.len() - rest.len();
            let zeroed = |(at, byte)| if (end - 4..end).contains(&at) { 0 } else { byte };
            if crc32c(header.iter().copied().enumerate().map(zeroed)) != told {
                return Err(HeaderError::Checksum);
            }
        }
        fields = rest;
    }
    if fields.is_empty() { Ok(()) } else { Err(Malformed("a field without end")) }
}
