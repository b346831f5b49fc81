//! What is read of a handshake, written.

use bytes::{BufMut, BytesMut};

use super::{Attributes, ChangeUser, Greeting, Login};
use crate::wire::{put_lenenc_bytes, put_nul_bytes};
use crate::{Capabilities, Command};

/// The most bytes of attributes that we send, as on the wire: servers refuse more than 64 KiB, and keep 512.
pub const MAX_ATTRIBUTES: usize = 4 << 10;

impl Attributes {
    /// Those of these names and values, but for what is over [`MAX_ATTRIBUTES`]: the first that does not fit, and all after
    /// it.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut out = BytesMut::new();
        for (name, value) in pairs {
            let fits = out.len();
            put_lenenc_bytes(&mut out, name.as_bytes());
            put_lenenc_bytes(&mut out, value.as_bytes());
            if out.len() > MAX_ATTRIBUTES {
                out.truncate(fits);
                break;
            }
        }
        Self::new(&out)
    }
}

impl Greeting {
    /// Appends the packet's body, as [`parse`](Self::parse) reads it.
    pub fn write(&self, out: &mut BytesMut) {
        let [a, b, c, d, e, f, g, h] = on_the_wire(self.capabilities);
        let (head, tail) = self.salt.split_at_checked(8).unwrap_or((&self.salt, &[]));
        out.put_u8(super::greeting::VERSION);
        put_nul_bytes(out, &self.version);
        out.put_u32_le(self.connection);
        out.put_slice(head);
        out.put_bytes(0, 8_usize.saturating_sub(head.len()));
        out.put_u8(0);
        out.put_slice(&[a, b]);
        out.put_u8(self.collation);
        out.put_u16_le(self.status.0);
        out.put_slice(&[c, d]);
        // The salt's length with the NUL at its end.
        out.put_u8(u8::try_from(self.salt.len().saturating_add(1)).unwrap_or(u8::MAX));
        out.put_bytes(0, 6);
        out.put_slice(&[e, f, g, h]);
        out.put_slice(tail);
        out.put_bytes(0, 13_usize.saturating_sub(tail.len()).max(1));
        put_nul_bytes(out, &self.plugin);
    }
}

impl Login {
    /// Appends the packet's body, as [`parse`](Self::parse) reads it: of its fields those that its capabilities have a place
    /// for. `zstd` is the level of compression, of [`Capabilities::ZSTD`].
    pub fn write(&self, zstd: u8, out: &mut BytesMut) {
        let caps = self.capabilities;
        self.write_tls_request(out);
        put_nul_bytes(out, &self.user);
        put_auth_data(out, &self.auth_data, caps, caps.has(Capabilities::PLUGIN_AUTH_LENENC));
        if caps.has(Capabilities::CONNECT_WITH_DB) {
            put_nul_bytes(out, &self.schema);
        }
        if caps.has(Capabilities::PLUGIN_AUTH) {
            put_nul_bytes(out, &self.plugin);
        }
        if caps.has(Capabilities::CONNECT_ATTRS) {
            put_lenenc_bytes(out, self.attributes.bytes());
        }
        if caps.has(Capabilities::ZSTD) {
            out.put_u8(zstd);
        }
    }

    /// Appends the body of the packet that asks for TLS, where [`Capabilities::SSL`] is among those of this login: its
    /// beginning.
    pub fn write_tls_request(&self, out: &mut BytesMut) {
        let [a, b, c, d, e, f, g, h] = on_the_wire(self.capabilities);
        out.put_slice(&[a, b, c, d]);
        out.put_u32_le(self.max_packet);
        out.put_u8(self.collation);
        out.put_bytes(0, 19);
        out.put_slice(&[e, f, g, h]);
    }
}

impl ChangeUser {
    /// Appends the command, with its code, where these capabilities hold.
    pub fn write(&self, agreed: Capabilities, out: &mut BytesMut) {
        out.put_u8(Command::ChangeUser as u8);
        put_nul_bytes(out, &self.user);
        put_auth_data(out, &self.auth_data, agreed, false);
        put_nul_bytes(out, &self.schema);
        out.put_u16_le(self.collation.unwrap_or_default());
        if agreed.has(Capabilities::PLUGIN_AUTH) {
            put_nul_bytes(out, &self.plugin);
        }
        if agreed.has(Capabilities::CONNECT_ATTRS) {
            put_lenenc_bytes(out, self.attributes.bytes());
        }
    }
}

/// MariaDB's flags have no place where it is not said that they are meant.
fn on_the_wire(caps: Capabilities) -> [u8; 8] {
    let theirs = if caps.has(Capabilities::CLIENT_MYSQL) { 0xffff_ffff } else { u64::MAX };
    (caps.0 & theirs).to_le_bytes()
}

/// Longer than 255 bytes only where its length is length-encoded: what is over is cut, and will not prove anything.
fn put_auth_data(out: &mut BytesMut, data: &[u8], caps: Capabilities, lenenc: bool) {
    if lenenc {
        put_lenenc_bytes(out, data);
    } else if caps.has(Capabilities::SECURE_CONNECTION) {
        let data = data.get(..data.len().min(usize::from(u8::MAX))).unwrap_or_default();
        out.put_u8(u8::try_from(data.len()).unwrap_or(u8::MAX));
        out.put_slice(data);
    } else {
        put_nul_bytes(out, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatusFlags;
    use crate::handshake::is_ssl_request;

    const ALL: Capabilities = Capabilities(0x1f_ffff_fffe & !Capabilities::PLUGIN_AUTH_LENENC.0);

    #[test]
    fn greetings_are_read_back() {
        for (capabilities, salt_len) in [(ALL, 20), (Capabilities(0xdfff_ffff), 20), (ALL, 32)] {
            let greeting = Greeting {
                version: b"8.0.33".to_vec(),
                connection: 7,
                capabilities,
                salt: vec![b's'; salt_len],
                collation: 45,
                status: StatusFlags::AUTOCOMMIT,
                plugin: b"mysql_native_password".to_vec(),
            };
            let mut out = BytesMut::new();
            greeting.write(&mut out);
            assert_eq!(Greeting::parse(&out), Ok(greeting));
        }
    }

    fn login(capabilities: Capabilities) -> Login {
        Login {
            capabilities,
            max_packet: 1 << 24,
            collation: 45,
            user: b"joe".to_vec(),
            auth_data: b"proof".to_vec(),
            schema: b"shop".to_vec(),
            plugin: b"caching_sha2_password".to_vec(),
            attributes: Attributes::of([("_client_name", "wiremesh"), ("_pid", "1")]),
        }
    }

    #[test]
    fn logins_are_read_back() {
        let lenenc = ALL | Capabilities::PLUGIN_AUTH_LENENC;
        let old = ALL.without(Capabilities::SECURE_CONNECTION);
        for caps in [ALL, lenenc, old, lenenc | Capabilities::CLIENT_MYSQL] {
            let mut login = login(caps);
            let mut out = BytesMut::new();
            login.write(3, &mut out);
            if caps.has(Capabilities::CLIENT_MYSQL) {
                login.capabilities = caps & Capabilities(0xffff_ffff);
            }
            assert_eq!(Login::parse(&out), Ok(login));
            assert_eq!(out.last(), Some(&3), "the level of zstd");
        }
    }

    #[test]
    fn only_what_has_a_place_is_written() {
        let caps = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
        let mut out = BytesMut::new();
        login(caps).write(3, &mut out);
        assert_eq!(out[32..], *b"joe\0\x05proof");
        let mut out = BytesMut::new();
        let mut long = login(caps);
        long.auth_data = vec![b'x'; 300];
        long.write(3, &mut out);
        assert_eq!((out[36], out.len()), (255, 32 + 4 + 1 + 255));
    }

    #[test]
    fn requests_for_tls_are_a_login_s_beginning() {
        let (mut request, mut whole) = (BytesMut::new(), BytesMut::new());
        login(ALL).write_tls_request(&mut request);
        login(ALL).write(3, &mut whole);
        assert!(is_ssl_request(&request));
        assert_eq!(request, whole[..32]);
    }

    #[test]
    fn changes_of_user_are_read_back() {
        let change = ChangeUser {
            user: b"eve".to_vec(),
            auth_data: b"proof".to_vec(),
            schema: b"shop".to_vec(),
            collation: Some(255),
            plugin: b"mysql_native_password".to_vec(),
            attributes: Attributes::of([("_pid", "1")]),
        };
        let mut out = BytesMut::new();
        change.write(ALL, &mut out);
        assert_eq!(out[0], 0x11);
        assert_eq!(ChangeUser::parse(&out[1..], ALL), Ok(change));
    }

    #[test]
    fn attributes_are_bounded() {
        let long = "x".repeat(3000);
        let all = Attributes::of([("a", "b"), ("long", &long), ("longer", &long), ("c", "d")]);
        let names: Vec<_> = all.iter().map(|attribute| attribute.0.into_owned()).collect();
        assert_eq!(names, ["a", "long"]);
        assert!(all.len() <= MAX_ATTRIBUTES);
    }
}
