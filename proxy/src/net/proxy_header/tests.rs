use proptest::prelude::*;

use super::*;
use crate::config::ProxyVersion;

fn v2(command: u8, kind: u8, said: &[u8]) -> Vec<u8> {
    let len = u16::try_from(said.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, kind][..], &len, said].concat()
}

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &len[..], value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x0c, 0xea];

fn v4() -> Addresses {
    addresses("192.0.2.1:12345", "198.51.100.2:3306")
}

/// With the checksum that its bytes have.
fn with_checksum(fields: &[u8]) -> Vec<u8> {
    let said = [&V4, fields, &field(CHECKSUM, &[0; 4])].concat();
    let mut header = v2(PROXIED, 0x11, &said);
    let sum = crc32c(header.iter().copied()).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum);
    header
}

#[test]
fn crc32c_is_castagnolis() {
    // RFC 3720, B.4.
    assert_eq!(crc32c([0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c([0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(0..32), 0x46dd_794e);
    assert_eq!(crc32c(*b"123456789"), 0xe306_9283);
}

#[test]
fn headers_are_read() {
    let v6 = addresses("[2001:db8::1]:1", "[::ffff:192.0.2.7]:65535");
    let v6_bytes = {
        let (a, b) = ("2001:db8::1", "::ffff:192.0.2.7");
        let octets = |ip: &str| ip.parse::<std::net::Ipv6Addr>().unwrap().octets();
        [&octets(a)[..], &octets(b), &[0, 1, 0xff, 0xff]].concat()
    };
    let long = [&V4[..], &field(4, &[0; 4081])].concat();
    assert_eq!(long.len(), 4096);
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 3306\r\n".to_vec(), Some(v4())),
        (b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.7 1 65535\r\n".to_vec(), Some(v6)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 whatever \xf0\x9f\x92\xa9\r\n".to_vec(), None),
        (v2(PROXIED, 0x11, &V4), Some(v4())),
        (v2(PROXIED, 0x21, &v6_bytes), Some(v6)),
        // Fields are passed over.
        (v2(PROXIED, 0x11, &[&V4[..], &field(1, b"h2"), &field(0xea, b"")].concat()), Some(v4())),
        (v2(PROXIED, 0x11, &long), Some(v4())),
        (with_checksum(&field(2, b"db.example")), Some(v4())),
        // Nothing that could be a client's address here.
        (v2(PROXIED, 0x12, &V4), None),
        (v2(PROXIED, 0x00, b""), None),
        (v2(PROXIED, 0x01, b"anything"), None),
        (v2(PROXIED, 0x31, &[b'/'; 216]), None),
        (v2(LOCAL, 0x00, b""), None),
        (v2(LOCAL, 0x11, &V4), None),
        (v2(LOCAL, 0xff, b"anything"), None),
    ] {
        let len = header.len();
        for split in 0..len {
            assert_eq!(read(&header[..split]), Ok(Reading::NeedMore), "{split} of {header:?}");
        }
        assert_eq!(read(&header), Ok(Reading::Header(len, expected)), "{header:?}");
        let followed = [&header[..], b"\r\nPROXY more"].concat();
        assert_eq!(read(&followed), Ok(Reading::Header(len, expected)), "{header:?}");
    }
}

#[test]
fn other_first_bytes_are_no_header() {
    for other in
        [&b"GET"[..], b"PROXY\r", b"proxy ", b"\r\n\r\n\0\r\nQUIT\r", b"*1\r\n", b"P\0", b"\0"]
    {
        assert_eq!(read(other), Ok(Reading::Other), "{other:?}");
    }
}

#[test]
fn malformed_headers_are_refused() {
    let line = |said: &str| [TEXT, said.as_bytes(), b"\r\n"].concat();
    let mut headers = vec![
        line(""),
        line("TCP5 192.0.2.1 198.51.100.2 1 2"),
        line("TCP4"),
        line("TCP4 192.0.2.1 198.51.100.2 1"),
        line("TCP4 192.0.2.1 198.51.100.2 1 2 3"),
        line("TCP4 192.0.2.1  198.51.100.2 1 2"),
        line("TCP4 192.0.2.1 198.51.100.2 1 2 "),
        line("TCP4 ::1 ::1 1 2"),
        line("TCP6 192.0.2.1 198.51.100.2 1 2"),
        line("TCP4 192.0.2.01 198.51.100.2 1 2"),
        line("TCP4 192.0.2.1 198.51.100.2 +1 2"),
        line("TCP4 192.0.2.1 198.51.100.2 1 65536"),
        line("TCP4 192.0.2.1 198.51.100.2 1 "),
        line("TCP4 192.0.2.1 198.51.100.2 1 2\n"),
        line("\u{1f4a9}"),
        [TEXT, b"TCP4 \xff\xff\r\n"].concat(),
        [TEXT, b"UNKNOWN", &[b' '; 100]].concat(),
        v2(0x11, 0x11, &V4),
        v2(0x31, 0x11, &V4),
        v2(0x22, 0x11, &V4),
        v2(PROXIED, 0x13, &V4),
        v2(PROXIED, 0x41, &V4),
        v2(PROXIED, 0x11, &V4[..11]),
        v2(PROXIED, 0x21, &[0; 35]),
        v2(PROXIED, 0x31, &[0; 215]),
        v2(PROXIED, 0x11, &[&V4[..], &[1]].concat()),
        v2(PROXIED, 0x11, &[&V4[..], &[1, 0]].concat()),
        v2(PROXIED, 0x11, &[&V4[..], &[1, 0, 2, 0]].concat()),
        v2(PROXIED, 0x11, &[&V4[..], &field(CHECKSUM, &[0; 5])].concat()),
    ];
    for header in headers.drain(..) {
        let read = read(&header);
        assert!(matches!(read, Err(HeaderError::Malformed(_))), "{read:?} of {header:?}");
    }
    assert_eq!(read(&v2(PROXIED, 0x11, &[0; 4097])), Err(HeaderError::Long(4113)));
    assert_eq!(read(&v2(LOCAL, 0, &[0; 4097])[..FIXED]), Err(HeaderError::Long(4113)), "at once");
}

#[test]
fn a_wrong_checksum_is_noticed_wherever_the_error_is() {
    let header = with_checksum(&field(2, b"db.example"));
    for at in FIXED..header.len() {
        let mut wrong = header.clone();
        wrong[at] ^= 1;
        let read = read(&wrong);
        // Where the fields' lengths or kinds are wrong there may be no checksum any more to find.
        let fields = FIXED + V4.len()..FIXED + V4.len() + 3;
        let last = header.len() - 7..header.len() - 4;
        if !fields.contains(&at) && !last.contains(&at) {
            assert_eq!(read, Err(HeaderError::Checksum), "{at}");
        } else {
            assert_ne!(read, Ok(Reading::NeedMore), "{at}");
        }
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from)
}

fn version() -> impl Strategy<Value = ProxyVersion> {
    prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)]
}

/// Bytes that begin like a header often enough.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let begin = prop_oneof![
        Just(Vec::new()),
        Just(TEXT.to_vec()),
        Just(b"PROXY TCP4 ".to_vec()),
        Just(b"PROXY TCP6 ".to_vec()),
        Just(SIGNATURE.to_vec()),
        (0x20..=0x21u8, 0..=0x32u8, 0..300u16).prop_map(|(command, kind, len)| {
            [&SIGNATURE[..], &[command, kind], &len.to_be_bytes()].concat()
        }),
    ];
    let rest = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        "[0-9a-f:. ]{0,110}(\r\n)?".prop_map(String::into_bytes),
    ];
    (begin, rest).prop_map(|(begin, rest)| [begin, rest].concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read(version in version(), source in address(), destination in address()) {
        let addresses = Addresses { source, destination };
        let bytes = Introduction { version, client: Some(addresses) }.to_bytes();
        for split in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..split]), Ok(Reading::NeedMore));
        }
        let Ok(Reading::Header(len, Some(told))) = read(&bytes) else { panic!("{bytes:?}") };
        prop_assert_eq!(len, bytes.len());
        if source.is_ipv4() == destination.is_ipv4() {
            prop_assert_eq!(told, addresses);
        } else {
            prop_assert_eq!(told.source.ip().to_canonical(), source.ip().to_canonical());
            prop_assert_eq!(told.destination.ip().to_canonical(), destination.ip().to_canonical());
        }
    }

    #[test]
    fn what_is_decided_stays_whatever_follows(bytes in hostile()) {
        let all = read(&bytes);
        let mut decided = None;
        for split in 0..=bytes.len() {
            let now = read(&bytes[..split]);
            match decided {
                None if now == Ok(Reading::NeedMore) => {
                    prop_assert!(split < LONGEST);
                }
                None => decided = Some(now),
                Some(before) => prop_assert_eq!(now, before),
            }
        }
        prop_assert_eq!(all, decided.unwrap_or(Ok(Reading::NeedMore)));
        if let Ok(Reading::Header(len, _)) = all {
            prop_assert!(len <= bytes.len() && len <= LONGEST);
        }
    }
}

#[test]
fn nobody_in_particular_is_told_as_such() {
    let nobody = |version| Introduction { version, client: None }.to_bytes();
    assert_eq!(nobody(ProxyVersion::V1), b"PROXY UNKNOWN\r\n");
    assert_eq!(nobody(ProxyVersion::V2), v2(LOCAL, 0, b""));
    let bytes = Introduction { version: ProxyVersion::V2, client: Some(v4()) }.to_bytes();
    assert_eq!(bytes, v2(PROXIED, 0x11, &V4));
}
