use wiremesh::DecodeError;

use crate::{
    Capabilities, StatusFlags,
    wire::{Reader, Short},
};

/// The first byte of a greeting: the protocol's version.
pub(super) const VERSION: u8 = 10;

/// The server's first packet (protocol version 10, of all servers since 3.21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The server's version. MariaDB up to 10 puts `5.5.5-` before its own.
    pub version: Vec<u8>,
    /// By which `KILL` knows the connection.
    pub connection: u32,
    /// What the server can do. MariaDB's own flags are among them only where the server says that it is MariaDB.
    pub capabilities: Capabilities,
    /// What the password is hashed with: 20 bytes, for most plugins.
    pub salt: Vec<u8>,
    /// The server's default collation, by the lower byte of its number.
    pub collation: u8,
    /// What the server says of the session.
    pub status: StatusFlags,
    /// The authentication plugin that it assumes; empty where it names none.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Reads a packet's body.
    ///
    /// # Errors
    /// It is of another version of the protocol, or ends too early.
    pub fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        match body.first() {
            Some(&VERSION) => {}
            Some(version) => {
                let value = u64::from(*version);
                return Err(DecodeError::Unknown { what: "protocol version", value });
            }
            None => return Err(DecodeError::Malformed { what: "greeting" }),
        }
        Self::read(Reader::new(body)).map_err(|Short| DecodeError::Malformed { what: "greeting" })
    }

    fn read(mut body: Reader<'_>) -> Result<Self, Short> {
        body.u8()?;
        let version = body.nul_bytes()?.to_vec();
        let connection = body.u32()?;
        let mut salt = body.take(8)?.to_vec();
        body.u8()?;
        let mut capabilities = Capabilities(body.u16()?.into());
        let mut greeting = Self {
            version,
            connection,
            capabilities,
            salt: Vec::new(),
            collation: 0,
            status: StatusFlags(0),
            plugin: Vec::new(),
        };
        if body.is_empty() {
            greeting.salt = salt;
            return Ok(greeting);
        }
        greeting.collation = body.u8()?;
        greeting.status = StatusFlags(body.u16()?);
        capabilities = capabilities | Capabilities(u64::from(body.u16()?) << 16);
        let salt_len = usize::from(body.u8()?);
        body.take(6)?;
        let extended = u64::from(body.u32()?);
        if !capabilities.has(Capabilities::CLIENT_MYSQL) {
            capabilities = capabilities | Capabilities(extended << 32);
        }
        if capabilities.has(Capabilities::SECURE_CONNECTION) {
            // 13 bytes at least, the last of which is a NUL that is not the salt's.
            let rest = body.take(salt_len.saturating_sub(8).max(13))?;
            salt.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
        }
        if capabilities.has(Capabilities::PLUGIN_AUTH) {
            // Some servers leave the last NUL out.
            let rest = body.rest();
            greeting.plugin = rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        }
        (greeting.capabilities, greeting.salt) = (capabilities, salt);
        Ok(greeting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(caps: u64) -> Vec<u8> {
        let caps = caps.to_le_bytes();
        let mut body = b"\x0a8.0.33\0\x07\0\0\0saltsalt\0".to_vec();
        body.extend([caps[0], caps[1], 45, 2, 0, caps[2], caps[3], 21, 0, 0, 0, 0, 0, 0]);
        body.extend([caps[4], caps[5], caps[6], caps[7]]);
        body.extend(b"moresaltmore\0caching_sha2_password\0");
        body
    }

    #[test]
    fn all_that_it_says() {
        let said = Greeting::parse(&greeting(0xdfff_ffff)).unwrap();
        assert_eq!((&said.version[..], said.connection), (&b"8.0.33"[..], 7));
        assert_eq!(said.salt, b"saltsaltmoresaltmore");
        assert_eq!((said.collation, said.status), (45, StatusFlags::AUTOCOMMIT));
        assert_eq!(said.capabilities, Capabilities(0xdfff_ffff));
        assert_eq!(said.plugin, b"caching_sha2_password");
    }

    #[test]
    fn flags_of_mariadb_only_from_mariadb() {
        let mariadb = Greeting::parse(&greeting(0x1d_81ff_fffe)).unwrap();
        assert!(mariadb.capabilities.has(Capabilities::MARIADB_CACHE_METADATA));
        let mysql = Greeting::parse(&greeting(0x1d_81ff_ffff)).unwrap();
        assert_eq!(mysql.capabilities, Capabilities(0x81ff_ffff));
    }

    #[test]
    fn any_that_is_cut_is_refused_but_not_one_without_what_came_later() {
        let whole = greeting(0xdfff_ffff);
        for len in 0..whole.len() {
            let read = Greeting::parse(&whole[..len]);
            // After the lower flags an old server may end; the plugin's name is what is there of it.
            let may_end = len == 23 || len >= whole.len() - b"caching_sha2_password\0".len();
            assert_eq!(read.is_ok(), may_end, "{len} bytes");
        }
        assert_eq!(
            Greeting::parse(b"\x09old"),
            Err(DecodeError::Unknown { what: "protocol version", value: 9 })
        );
    }
}
