use wiremesh::DecodeError;

use super::Attributes;
use crate::{
    Capabilities,
    wire::{Reader, Short},
};

/// What a client answers to the greeting: who it is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What the client can do, and wants. What holds is what both can: see [`Login::agreed`].
    pub capabilities: Capabilities,
    /// The longest packet that the client says it sends.
    pub max_packet: u32,
    /// The collation that it wants, by the lower byte of its number.
    pub collation: u8,
    /// Who it is.
    pub user: Vec<u8>,
    /// What it shows for it, as its plugin makes it. A secret.
    pub auth_data: Vec<u8>,
    /// The schema that it wants; empty where it wants none.
    pub schema: Vec<u8>,
    /// The authentication plugin; empty where it names none.
    pub plugin: Vec<u8>,
    /// What it tells of itself.
    pub attributes: Attributes,
}

/// Whether this packet's body asks for TLS: the beginning of a login, and nothing more.
pub fn is_ssl_request(body: &[u8]) -> bool {
    let mut head = Reader::new(body);
    body.len() == 32
        && head.u32().is_ok_and(|caps| Capabilities(caps.into()).has(Capabilities::SSL))
}

impl Login {
    /// Reads a packet's body. Like servers it takes what is missing at the end for empty.
    ///
    /// # Errors
    /// It is of a client from before 4.1, or ends before the user.
    pub fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let mut head = Reader::new(body);
        let lower = head.u16().map_err(|Short| DecodeError::Malformed { what: "login" })?;
        if !Capabilities(lower.into()).has(Capabilities::PROTOCOL_41) {
            return Err(DecodeError::Malformed { what: "login: it is of the protocol before 4.1" });
        }
        Self::read(Reader::new(body)).map_err(|Short| DecodeError::Malformed { what: "login" })
    }

    fn read(mut body: Reader<'_>) -> Result<Self, Short> {
        let mut capabilities = Capabilities(body.u32()?.into());
        let max_packet = body.u32()?;
        let collation = body.u8()?;
        body.take(19)?;
        let extended = u64::from(body.u32()?);
        if !capabilities.has(Capabilities::CLIENT_MYSQL) {
            capabilities = capabilities | Capabilities(extended << 32);
        }
        let user = body.nul_bytes()?.to_vec();
        let auth_data = if capabilities.has(Capabilities::PLUGIN_AUTH_LENENC) {
            body.lenenc_bytes()?.to_vec()
        } else {
            auth_data(&mut body, capabilities)?
        };
        let with = |flag, body: &mut Reader<'_>| match capabilities.has(flag) {
            true => nul_or_rest(body),
            false => Vec::new(),
        };
        let schema = with(Capabilities::CONNECT_WITH_DB, &mut body);
        let plugin = with(Capabilities::PLUGIN_AUTH, &mut body);
        let attributes = attributes(&mut body, capabilities);
        Ok(Self {
            capabilities,
            max_packet,
            collation,
            user,
            auth_data,
            schema,
            plugin,
            attributes,
        })
    }

    /// What holds between this client and a server that offered these.
    pub fn agreed(&self, offered: Capabilities) -> Capabilities {
        self.capabilities & offered
    }
}

/// The authentication data where its length is not length-encoded.
pub(super) fn auth_data(
    body: &mut Reader<'_>,
    capabilities: Capabilities,
) -> Result<Vec<u8>, Short> {
    if capabilities.has(Capabilities::SECURE_CONNECTION) {
        let len = body.u8()?;
        return body.take(len.into()).map(<[u8]>::to_vec);
    }
    Ok(nul_or_rest(body))
}

/// A string up to its NUL, or to the end where there is none.
pub(super) fn nul_or_rest(body: &mut Reader<'_>) -> Vec<u8> {
    body.nul_bytes()
        .unwrap_or_else(|Short| std::mem::replace(body, Reader::new(&[])).rest())
        .to_vec()
}

/// The attributes; none where they are not all there.
pub(super) fn attributes(body: &mut Reader<'_>, capabilities: Capabilities) -> Attributes {
    if !capabilities.has(Capabilities::CONNECT_ATTRS) {
        return Attributes::default();
    }
    body.lenenc_bytes().map(Attributes::new).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::CONNECT_ATTRS.0;

    fn login(caps: u64, tail: &[u8]) -> Vec<u8> {
        let caps = caps.to_le_bytes();
        let mut body = vec![caps[0], caps[1], caps[2], caps[3], 0, 0, 0, 1, 45];
        body.extend([0; 19]);
        body.extend([caps[4], caps[5], caps[6], caps[7]]);
        body.extend(tail);
        body
    }

    #[test]
    fn all_that_it_says() {
        let tail = b"joe\0\x03pwdshop\0caching_sha2_password\0\x07\x04_pid\x012";
        let said = Login::parse(&login(ALL | 1, tail)).unwrap();
        assert_eq!((&said.user[..], &said.auth_data[..]), (&b"joe"[..], &b"pwd"[..]));
        assert_eq!(
            (&said.schema[..], &said.plugin[..]),
            (&b"shop"[..], &b"caching_sha2_password"[..])
        );
        assert_eq!((said.max_packet, said.collation), (1 << 24, 45));
        assert_eq!(said.attributes.get("_pid").as_deref(), Some("2"));
        assert_eq!(said.agreed(Capabilities::SSL), Capabilities(0));
    }

    #[test]
    fn lengths_as_flags_say() {
        let caps = ALL | Capabilities::PLUGIN_AUTH_LENENC.0;
        let said = Login::parse(&login(caps, b"joe\0\xfc\x02\0pwshop\0")).unwrap();
        assert_eq!((&said.auth_data[..], &said.schema[..]), (&b"pw"[..], &b"shop"[..]));
        let caps = Capabilities::PROTOCOL_41.0;
        let said = Login::parse(&login(caps, b"joe\0pw\0shop\0")).unwrap();
        assert_eq!((&said.auth_data[..], &said.schema[..]), (&b"pw"[..], &b""[..]));
    }

    #[test]
    fn what_is_missing_at_the_end_is_empty() {
        let said = Login::parse(&login(ALL, b"joe\0\0shop\0plugin")).unwrap();
        assert_eq!((&said.schema[..], &said.plugin[..]), (&b"shop"[..], &b"plugin"[..]));
        assert!(said.attributes.is_empty());
        assert!(Login::parse(&login(ALL, b"joe\0\x05pwd")).is_err());
        assert!(Login::parse(&login(ALL, b"joe")).is_err());
    }

    #[test]
    fn flags_of_mariadb_only_from_clients_that_know_them() {
        let bulk = Capabilities::MARIADB_STMT_BULK;
        assert!(Login::parse(&login(ALL | bulk.0, b"\0\0")).unwrap().capabilities.has(bulk));
        assert!(!Login::parse(&login(ALL | bulk.0 | 1, b"\0\0")).unwrap().capabilities.has(bulk));
    }

    #[test]
    fn the_old_form_is_refused() {
        let old = Login::parse(b"\x85\x00\x00\x00\x01joe\0pw");
        assert!(matches!(old, Err(DecodeError::Malformed { what }) if what.contains("4.1")));
    }

    #[test]
    fn requests_for_tls() {
        let tls = login(ALL | Capabilities::SSL.0, b"");
        assert!(is_ssl_request(&tls) && tls.len() == 32);
        assert!(!is_ssl_request(&login(ALL, b"")));
        assert!(!is_ssl_request(&login(ALL | Capabilities::SSL.0, b"joe\0\0")));
    }
}
