use std::net::SocketAddr;

use wiremesh::HeaderSupport;

use super::{At, Check};
use crate::config::{
    model::{ClientCertificate, Listener, ListenerProxyProtocol, ListenerTls},
    protocol::ProtocolInfo,
    report::hint,
    value::Address,
};

impl<'a> Check<'a> {
    pub(super) fn listeners(&mut self) {
        let config = self.config;
        let list = self.at("listeners");
        if config.listeners.is_empty() && !list.mended() {
            self.tell(list, "there are no listeners, so nothing would be served; add one");
        }
        for (i, listener) in config.listeners.iter().enumerate() {
            self.listener(list.item(i), listener);
        }
        self.unique(list, "listener", config.listeners.iter().map(|l| l.name.as_str()));
        self.address_clashes(list);
    }

    fn listener(&mut self, at: At<'a>, listener: &'a Listener) {
        if let Address::Tcp { host, .. } = &listener.address
            && listener.address.socket_addr().is_none()
        {
            let message = format!(
                "a listener's address is an IP address, not a name such as {host:?}; write 127.0.0.1, or 0.0.0.0 for all"
            );
            self.tell(at.field("address"), message);
        }
        let protocols = self.protocols_of(at, listener);
        self.options(at, listener, &protocols);
        let (max_frame, max_header) = (listener.limits.max_frame, listener.limits.max_header);
        if max_frame.0 == 0 || max_header > max_frame {
            let message = format!(
                "max_header ({max_header}) must be within max_frame ({max_frame}), and that over 0B"
            );
            self.tell(at.field("limits"), message);
        }
        for (name, value) in [
            ("idle_timeout", listener.idle_timeout),
            ("frame_timeout", listener.frame_timeout),
            ("stall_timeout", listener.stall_timeout),
        ] {
            self.over_zero(at, name, value);
        }
        if let Some(slow_log) = &listener.slow_log {
            self.over_zero(at.field("slow_log"), "threshold", slow_log.threshold);
        }
        if let Some(it) = &listener.proxy_protocol {
            self.proxy_protocol(at.field("proxy_protocol"), listener, it, &protocols);
        }
        if let Some(tls) = &listener.tls {
            self.listener_tls(at.field("tls"), tls, &protocols);
        }
        self.users(at, listener, &protocols);
        if let Some(firewall) = &listener.firewall {
            self.firewall(at.field("firewall"), firewall, &protocols);
        }
        self.routes(at, listener, &protocols);
    }

    fn proxy_protocol(
        &mut self,
        at: At<'a>,
        listener: &Listener,
        set: &ListenerProxyProtocol,
        protocols: &[ProtocolInfo],
    ) {
        let unix = matches!(listener.address, Address::Unix(_));
        if set.trusted.is_empty() && !unix && !at.field("trusted").mended_below() {
            let message = "nobody is trusted to say whose a connection is; write trusted: with the address blocks of those who pass connections on";
            self.tell(at, message);
        }
        let silent = protocols.iter().filter(|protocol| protocol.server_first && !set.required);
        for ProtocolInfo { name, .. } in silent {
            let message = format!(
                "with {name} the server speaks first, so it cannot be waited for what a client may begin with; remove this, so that there must be a header"
            );
            self.tell(at.field("required"), message);
        }
    }

    fn listener_tls(&mut self, at: At<'a>, tls: &ListenerTls, protocols: &[ProtocolInfo]) {
        if tls.client_ca.is_none() && tls.client_certificate == ClientCertificate::Optional {
            let message =
                "client_certificate has no effect without client_ca; set that, or remove it";
            self.tell(at.field("client_certificate"), message);
        }
        if tls.required {
            return;
        }
        let at = at.field("required");
        if tls.client_ca.is_some() && tls.client_certificate == ClientCertificate::Required {
            let message = "clients must have a certificate, which those without TLS have not; remove required: false, or set client_certificate: optional";
            self.tell(at, message);
        }
        for protocol in protocols.iter().filter(|protocol| !protocol.starts_tls) {
            let name = protocol.name;
            let message = format!(
                "with {name} TLS begins with a connection's first byte, so it is always required; remove this"
            );
            self.tell(at, message);
        }
    }

    /// The protocols that the listener names and that exist.
    fn protocols_of(&mut self, at: At<'a>, listener: &Listener) -> Vec<ProtocolInfo> {
        let list = at.field("protocols");
        let mut known: Vec<ProtocolInfo> = Vec::new();
        for (i, name) in listener.protocols.iter().enumerate() {
            let at = list.item(i);
            match self.protocols.iter().find(|p| p.name == name) {
                _ if name.is_empty() => {}
                None => {
                    let hint = hint(name, "protocols", self.protocols.iter().map(|p| p.name));
                    self.tell(at, format!("unknown protocol {name:?}{hint}"));
                }
                Some(_) if known.iter().any(|p| p.name == name) => {
                    self.tell(at, format!("protocol {name:?} is here twice; remove one of them"));
                }
                Some(protocol) if protocol.server_first && listener.protocols.len() > 1 => {
                    let message = format!(
                        "{name:?} cannot be told from others, since its server speaks first; give it a listener of its own"
                    );
                    self.tell(at, message);
                    known.push(protocol.clone());
                }
                Some(protocol) => known.push(protocol.clone()),
            }
        }
        known
    }

    fn options(&mut self, at: At<'a>, listener: &Listener, known: &[ProtocolInfo]) {
        let protocols = at.field("protocols");
        for (protocol, options) in &listener.options {
            let at = at.field("options").field(protocol);
            if !listener.protocols.contains(protocol) {
                // One that is not known, which was told, may be meant.
                if known.len() < listener.protocols.len() || protocols.mended() {
                    continue;
                }
                let hint =
                    hint(protocol, "protocols here", listener.protocols.iter().map(String::as_str));
                self.tell(at, format!("options for {protocol:?}, which is not spoken here{hint}"));
                continue;
            }
            let Some(info) = known.iter().find(|p| p.name == protocol) else { continue };
            for (name, value) in options {
                if let Err(error) = (info.check_option)(name, value)
                    && !at.field(name).mended()
                {
                    self.tell(at.field(name), format!("{protocol} option {name:?}: {error}"));
                }
            }
        }
    }

    fn address_clashes(&mut self, list: At<'a>) {
        let config = self.config;
        let mut taken: Vec<(String, Address)> = Vec::new();
        taken.extend(config.admin.map(|addr| ("the admin pages".into(), addr.into())));
        for (i, listener) in config.listeners.iter().enumerate() {
            let at = list.item(i).field("address");
            if at.mended() {
                continue;
            }
            if let Some((who, _)) = taken.iter().find(|(_, other)| clash(other, &listener.address))
            {
                let message = format!("{} is taken by {who}", listener.address);
                self.tell(at, message);
            }
            taken.push((format!("listener {:?}", listener.name), listener.address.clone()));
        }
    }

    /// Tells of something that needs headers, for every protocol that does not have them.
    pub(super) fn needs_headers(
        &mut self,
        at: At<'a>,
        protocols: &[ProtocolInfo],
        needed: HeaderSupport,
    ) {
        for protocol in protocols.iter().filter(|p| p.headers < needed) {
            let name = protocol.name;
            let message = match protocol.headers {
                HeaderSupport::None => format!("{name} has no headers; remove this"),
                HeaderSupport::Read | HeaderSupport::Edit => {
                    format!("headers of {name} can be read but not changed; remove this")
                }
            };
            self.tell(at, message);
        }
    }
}

fn clash(a: &Address, b: &Address) -> bool {
    match (a.socket_addr(), b.socket_addr()) {
        (Some(a), Some(b)) => {
            let all = |addr: SocketAddr| addr.ip().is_unspecified();
            a.port() != 0
                && a.port() == b.port()
                && a.is_ipv4() == b.is_ipv4()
                && (a.ip() == b.ip() || all(a) || all(b))
        }
        _ => a == b,
    }
}
