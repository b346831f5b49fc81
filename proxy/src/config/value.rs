//! Typed values of the configuration: each is one string in YAML, parsed by `FromStr` and written back by `Display`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Deref,
    path::PathBuf,
    str::FromStr,
    time,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::secret::Secret;

/// A length of time: `250ms`, `3s`, `1.5s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub time::Duration);

impl Duration {
    /// This many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// This many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(time::Duration::from_secs(secs))
    }
}

impl Deref for Duration {
    type Target = time::Duration;

    fn deref(&self) -> &time::Duration {
        &self.0
    }
}

impl From<Duration> for time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl From<time::Duration> for Duration {
    fn from(value: time::Duration) -> Self {
        Self(value)
    }
}

const TIME_UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is not a duration; write it like 250ms, 3s or 5m");
        let (number, unit) = split_unit(text);
        if unit.is_empty() && number.parse::<f64>().is_ok() {
            return Err(format!("{text:?} has no unit; write {text}s or {text}ms"));
        }
        let &(_, micros) = TIME_UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(expected)?;
        let micros = scale(number, micros).ok_or_else(expected)?;
        Ok(Self(time::Duration::from_micros(micros)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        if micros == 0 {
            return f.write_str("0s");
        }
        let fits = TIME_UNITS.iter().find(|(_, size)| micros.is_multiple_of(u128::from(*size)));
        let (unit, size) = fits.unwrap_or(&("us", 1));
        write!(f, "{}{unit}", micros / u128::from(*size))
    }
}

/// A number of bytes: `512B`, `64KiB`, `32MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// This many KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// This many MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The size in bytes.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is not a size; write it like 64KiB or 32MiB");
        let (number, unit) = split_unit(text);
        if unit.is_empty() && number.parse::<u64>().is_ok() {
            return Err(format!("{text:?} has no unit; write {text}B or {text}KiB"));
        }
        let &(_, size) = SIZE_UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(expected)?;
        scale(number, size).map(Self).ok_or_else(expected)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0B");
        }
        let fits = SIZE_UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size));
        let (unit, size) = fits.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// A share in percent, 0 to 100; fractions are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(pub f64);

impl Percent {
    /// All.
    pub const ALL: Self = Self(100.0);

    /// The share as a fraction of one.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

/// Where to listen, or to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `HOST:PORT`; the host is a name, an IPv4 address, or an IPv6 address (in brackets in YAML, without them here).
    Tcp {
        /// Name or IP address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Address {
    /// The socket address, unless it is a Unix socket or the host is a name that must be resolved.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp { host: addr.ip().to_string(), port: addr.port() }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("\"unix:\" has no path; write it like unix:/run/wiremesh.sock".into());
            }
            return Ok(Self::Unix(path.into()));
        }
        let expected = || {
            format!(
                "{text:?} is not an address; write it like 127.0.0.1:12200, \"[::1]:12200\", name:12200 or unix:/run/x.sock"
            )
        };
        if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
            return Err(format!("{text:?} has no port; write \"[{text}]:12200\""));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let plain = !text.is_empty() && !text.contains('/') && !text.contains(' ');
            return Err(if plain {
                format!("{text:?} has no port; write {text}:12200")
            } else {
                expected()
            });
        };
        let port = port
            .parse()
            .map_err(|_| format!("{port:?} is not a port; a port is a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => match v6.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv6() => v6,
                _ => return Err(expected()),
            },
            None if host.contains(':') => {
                return Err(format!("an IPv6 address is written in brackets: \"[{host}]:{port}\""));
            }
            None => host,
        };
        let name = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        if host.is_empty() || !host.bytes().all(name) {
            return Err(expected());
        }
        // `1.2.3.400` would otherwise be looked up as a name.
        if host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && host.parse::<Ipv4Addr>().is_err()
        {
            return Err(format!("{host:?} is not an IPv4 address"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A block of IP addresses: `10.0.0.0/8`, `::1/128`; a plain address is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The first address of the block.
    pub network: IpAddr,
    /// How many leading bits an address must have in common with it.
    pub prefix: u8,
}

impl Cidr {
    /// Whether the address is in the block. An IPv4 client of an IPv6 socket counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.network.is_ipv4() && mask(ip, self.prefix) == self.network
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is not an address block; write it like 10.0.0.0/8 or ::1/128");
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| expected())?;
        let widest = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) => match digits.parse() {
                Ok(bits) if bits <= widest => bits,
                _ => {
                    return Err(format!(
                        "\"/{digits}\" is not a prefix length; it is 0 to {widest} here"
                    ));
                }
            },
        };
        let network = mask(ip, prefix);
        if network != ip {
            return Err(format!(
                "{text:?} has bits set after its prefix; write {network}/{prefix}"
            ));
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// A [`wiremesh::Status`] by its name in configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub wiremesh::Status);

impl Deref for Status {
    type Target = wiremesh::Status;

    fn deref(&self) -> &wiremesh::Status {
        &self.0
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = wiremesh::Status::ALL.into_iter().find(|s| s.as_str() == text);
        found.map(Self).ok_or_else(|| format!("{text:?} is not a status"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Where the access log goes: `stdout`, `stderr`, or a file's path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogPath {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to.
    File(PathBuf),
}

impl FromStr for LogPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an empty path; write stdout, stderr or a file's path".into()),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path => Ok(Self::File(path.into())),
        }
    }
}

impl fmt::Display for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How a text is compared with what a request carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// The whole text is this.
    Exact(String),
    /// The text begins with this.
    Prefix(String),
    /// This regular expression is found in the text; anchor it with `^` and `$` to match the whole.
    Regex(#[schemars(schema_with = "regex_schema")] String),
}

fn regex_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "regex" })
}

/// Implements serde and schemars for a type that is one string in YAML, by its `FromStr` and `Display`.
macro_rules! one_string {
    ($type:ident, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

one_string!(Duration, { "type": "string", "format": "wiremesh-duration", "pattern": r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$" });
one_string!(ByteSize, { "type": "string", "format": "wiremesh-size", "pattern": r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB)$" });
one_string!(Address, { "type": "string", "format": "wiremesh-address" });
one_string!(Cidr, { "type": "string", "format": "wiremesh-cidr" });
one_string!(LogPath, { "type": "string", "format": "wiremesh-log-path" });
one_string!(Status, { "type": "string", "enum": (wiremesh::Status::ALL.map(wiremesh::Status::as_str)) });

/// Checks a string of one of the formats above; formats it does not know are left alone.
pub(super) fn check_format(format: &str, text: &str) -> Result<(), String> {
    fn parses<T: FromStr<Err = String>>(text: &str) -> Result<(), String> {
        text.parse::<T>().map(drop)
    }
    match format {
        "wiremesh-duration" => parses::<Duration>(text),
        "wiremesh-size" => parses::<ByteSize>(text),
        "wiremesh-address" => parses::<Address>(text),
        "wiremesh-cidr" => parses::<Cidr>(text),
        "wiremesh-log-path" => parses::<LogPath>(text),
        "wiremesh-secret" => Secret::check(text),
        "wiremesh-socket" => text.parse::<SocketAddr>().map(drop).map_err(|_| {
            format!("{text:?} is not an IP address with a port; write it like 127.0.0.1:9901")
        }),
        "regex" => {
            regex::Regex::new(text).map(drop).map_err(|e| format!("invalid regex: {}", reason(&e)))
        }
        _ => Ok(()),
    }
}

/// The last line of a regex error: the others are a drawing of where it is.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A decimal number times a unit, if that is a whole number that fits.
fn scale(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().ok()?;
        let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = digits.checked_mul(unit)?;
        total = total.checked_add(part.is_multiple_of(divisor).then_some(part / divisor)?)?;
    } else if number.contains('.') {
        return None;
    }
    Some(total)
}

fn mask(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & keep).into())
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & keep).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis, shown) in [
            ("250ms", 250, "250ms"),
            ("3s", 3_000, "3s"),
            ("1.5s", 1_500, "1500ms"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0s"),
            ("90s", 90_000, "90s"),
        ] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!(parsed, Duration::from_millis(millis), "{text}");
            assert_eq!(parsed.to_string(), shown);
        }
        assert_eq!("3".parse::<Duration>().unwrap_err(), "\"3\" has no unit; write 3s or 3ms");
        for bad in ["", "s", "3 s", "-1s", "1.s", "3d", "99999999999999999h", "0.0000001s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes, shown) in [
            ("512B", 512, "512B"),
            ("64KiB", 65_536, "64KiB"),
            ("32MiB", 32 << 20, "32MiB"),
            ("1.5MiB", 3 << 19, "1536KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("0B", 0, "0B"),
        ] {
            let parsed: ByteSize = text.parse().unwrap();
            assert_eq!(parsed, ByteSize(bytes), "{text}");
            assert_eq!(parsed.to_string(), shown);
        }
        assert_eq!("7".parse::<ByteSize>().unwrap_err(), "\"7\" has no unit; write 7B or 7KiB");
        for bad in ["", "KiB", "1KB", "1 KiB", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        for text in
            ["127.0.0.1:0", "[::1]:12220", "unix:/run/x.sock", "hello.svc.local:12200", "a_b:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let v6: Address = "[::1]:7".parse().unwrap();
        assert_eq!(v6.socket_addr(), Some("[::1]:7".parse().unwrap()));
        assert_eq!("name:7".parse::<Address>().unwrap().socket_addr(), None);
        for (bad, error) in [
            ("127.0.0.1", "\"127.0.0.1\" has no port; write 127.0.0.1:12200"),
            ("::1", "\"::1\" has no port; write \"[::1]:12200\""),
            ("fe80:::7", "an IPv6 address is written in brackets: \"[fe80::]:7\""),
            ("a:70000", "\"70000\" is not a port; a port is a number from 0 to 65535"),
            ("1.2.3.400:1", "\"1.2.3.400\" is not an IPv4 address"),
            ("unix:", "\"unix:\" has no path; write it like unix:/run/wiremesh.sock"),
        ] {
            assert_eq!(bad.parse::<Address>().unwrap_err(), error);
        }
        for bad in ["", ":1", "/run/x.sock", "http://a:1", "[127.0.0.1]:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn blocks() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (block, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1/128", "::1", "::2"),
        ] {
            let cidr: Cidr = block.parse().unwrap();
            assert!(cidr.contains(ip(inside)), "{block} {inside}");
            assert!(!cidr.contains(ip(outside)), "{block} {outside}");
        }
        assert_eq!(
            "10.1.0.0/8".parse::<Cidr>().unwrap_err(),
            "\"10.1.0.0/8\" has bits set after its prefix; write 10.0.0.0/8"
        );
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "a/8", "10.0.0.0/"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses() {
        for status in wiremesh::Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap().0, status);
        }
        assert!("gone".parse::<Status>().is_err());
    }
}
