use wiremesh::DecodeError;

use super::{
    Attributes,
    response::{attributes, auth_data, nul_or_rest},
};
use crate::{
    Capabilities,
    wire::{Reader, Short},
};

/// `COM_CHANGE_USER`: another login on the same connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUser {
    /// Who it is to be.
    pub user: Vec<u8>,
    /// What is shown for it. A secret.
    pub auth_data: Vec<u8>,
    /// The schema; empty for none.
    pub schema: Vec<u8>,
    /// The collation's number, where there is one.
    pub collation: Option<u16>,
    /// The authentication plugin; empty where none is named.
    pub plugin: Vec<u8>,
    /// What the client tells of itself.
    pub attributes: Attributes,
}

impl ChangeUser {
    /// Reads what follows the command's code, where these capabilities hold. What is missing at the end is empty.
    ///
    /// # Errors
    /// It ends before the authentication data does.
    pub fn parse(body: &[u8], capabilities: Capabilities) -> Result<Self, DecodeError> {
        Self::read(Reader::new(body), capabilities)
            .map_err(|Short| DecodeError::Malformed { what: "COM_CHANGE_USER" })
    }

    fn read(mut body: Reader<'_>, capabilities: Capabilities) -> Result<Self, Short> {
        let user = body.nul_bytes()?.to_vec();
        let auth_data = auth_data(&mut body, capabilities)?;
        let schema = nul_or_rest(&mut body);
        let collation = body.u16().ok();
        let plugin = match capabilities.has(Capabilities::PLUGIN_AUTH) {
            true => nul_or_rest(&mut body),
            false => Vec::new(),
        };
        let attributes = attributes(&mut body, capabilities);
        Ok(Self { user, auth_data, schema, collation, plugin, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_it_says() {
        let caps = Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_ATTRS;
        let body = b"eve\0\x02pwshop\0\x2d\0plugin\0\x07\x04_pid\x012";
        let said = ChangeUser::parse(body, caps).unwrap();
        assert_eq!((&said.user[..], &said.auth_data[..]), (&b"eve"[..], &b"pw"[..]));
        assert_eq!((&said.schema[..], said.collation), (&b"shop"[..], Some(45)));
        assert_eq!(said.plugin, b"plugin");
        assert_eq!(said.attributes.get("_pid").as_deref(), Some("2"));
        let short = ChangeUser::parse(b"eve\0\0", caps).unwrap();
        assert_eq!((&short.schema[..], short.collation), (&b""[..], None));
        assert!(ChangeUser::parse(b"eve\0\x05pw", caps).is_err());
    }
}
