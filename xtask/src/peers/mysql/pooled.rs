//! Pooled mode in front of a server: how the proxy is told, and what clients see there that they do not see of the server.

use super::server::{Kind, Server};
use crate::peers::proxy::Proxy;

/// A proxy that offers TLS and knows every account that the clients log in to. With MySQL and MariaDB 10.11 its own
/// connections have TLS, too.
///
/// Each client has a proxy of its own: what was learnt from a login by hash makes those after it fast.
pub(super) async fn through(server: &Server) -> anyhow::Result<Proxy> {
    let version = version(server.kind);
    let tls = match server.kind {
        // Its certificate names no host.
        Kind::Mysql => "tls: { verify: false }\n  ".to_owned(),
        Kind::Maria10 => format!("tls: {{ ca: {} }}\n  ", server.ca().display()),
        Kind::Maria11 => String::new(),
    };
    let (certificate, key) = server.certificate();
    let (certificate, key) = (certificate.display(), key.display());
    let (upstream, users) = (server.address, users(server.kind));
    Proxy::run(|address| {
        format!(
            "listeners:\n\
             - name: mysql\n  \
               address: {address}\n  \
               protocols: [mysql]\n  \
               options: {{ mysql: {{ mode: pooled, version: {version} }} }}\n  \
               tls: {{ certificate: {certificate}, key: {key}, required: false }}\n  \
               users: [{users}]\n  \
               routes: [{{ name: all, cluster: server, timeout: 60s }}]\n\
             clusters:\n\
             - name: server\n  \
               endpoints: [\"{upstream}\"]\n  \
               {tls}connect_timeout: 20s\n  \
               max_connections: {CONNECTIONS}\n"
        )
    })
    .await
}

/// A proxy that lends so many connections to clients of one account, who may wait for as long as a busy machine takes.
pub(super) async fn over(connections: usize, server: &Server) -> anyhow::Result<Proxy> {
    let (version, upstream) = (version(server.kind), server.address);
    Proxy::run(|address| {
        format!(
            "listeners:\n\
             - name: mysql\n  \
               address: {address}\n  \
               protocols: [mysql]\n  \
               options: {{ mysql: {{ mode: pooled, version: {version} }} }}\n  \
               users: [{{ name: nat, password: natpw, plugin: mysql_native_password }}]\n  \
               max_connections: 12000\n  \
               routes: [{{ name: all, cluster: server, timeout: 60s }}]\n\
             clusters:\n\
             - name: server\n  \
               endpoints: [\"{upstream}\"]\n  \
               connect_timeout: 20s\n  \
               pending_timeout: 60s\n  \
               max_connections: {connections}\n"
        )
    })
    .await
}

/// As is to be configured: clients, and errors of the proxy's own, go by it.
pub(super) fn version(kind: Kind) -> &'static str {
    match kind {
        Kind::Mysql => "8.0.33",
        Kind::Maria10 => "5.5.5-10.11.19-MariaDB",
        Kind::Maria11 => "11.4.5-MariaDB",
    }
}

/// For 60 clients that hold one each, and some more.
const CONNECTIONS: usize = 80;

/// The accounts of the server, by plugins as it has them. `caching_sha2_password` is by hash, so that the first login of
/// each is a full one: of `sha2` by RSA, of `tlsonly` by TLS.
fn users(kind: Kind) -> String {
    const SHA2: &str = "0x2441243030352415284B694664336C6B4E2E11170518631A19656F576A335A6A6B777A456C425342494F\
                        66313336686A2F574B6E3238434E75556A66565862574D476141502E";
    const TLSONLY: &str = "0x24412430303524696B5D5C150544103647634C621336534C597D414C5A62635A30796162653758397873\
                           674376536D6D6F3177584B71526F526C3775696C56502E374C6F6F44";
    let nat = "{ name: nat, password: natpw, plugin: mysql_native_password }";
    let own = match kind {
        Kind::Mysql => format!(
            "{{ name: nopw, password: \"\" }}, {{ name: s256, password: s256pw }}, \
             {{ name: sha2, hash: \"{SHA2}\", upstream: {{ user: sha2, password: sha2pw }} }}, \
             {{ name: tlsonly, hash: \"{TLSONLY}\", upstream: {{ user: tlsonly, password: tlspw }} }}"
        ),
        // As there: Connector/J takes a server of this version for one that cannot have `caching_sha2_password`.
        Kind::Maria10 | Kind::Maria11 => {
            let native = "plugin: mysql_native_password";
            let both = format!(
                "{{ name: nopw, password: \"\", {native} }}, {{ name: tlsonly, password: tlspw, {native} }}"
            );
            let ed = ", { name: ed, password: edpw, plugin: client_ed25519 }";
            both + if kind == Kind::Maria10 { ed } else { "" }
        }
    };
    format!("{nat}, {own}")
}

/// What is asked for and answered otherwise, or not asked for.
pub(super) struct Exception {
    /// In lower case.
    steps: &'static [&'static str],
    /// Clients that see it; none: all.
    clients: &'static [&'static str],
    /// Servers with which it is seen; none: all.
    servers: &'static [Kind],
    /// It would wait for what does not come.
    left_out: bool,
}

/// All there are. What is not left out must differ, so that none stays here for nothing.
const EXCEPTIONS: [Exception; 8] = [
    // That of the greeting is the proxy's own.
    Exception {
        steps: &["number"],
        clients: &["pymysql", "mysqlclient"],
        servers: &[],
        left_out: false,
    },
    // No server takes part in a login: the first statement is refused. Clients that send one of their own accord say the same.
    Exception {
        steps: &["unknown schema"],
        clients: &["go", "mysql2", "mariadb-j", "cli-mysql", "cli-mariadb"],
        servers: &[],
        left_out: false,
    },
    // Whether an account needs TLS is about the server's leg.
    Exception { steps: &["tls needed"], clients: &[], servers: &[], left_out: false },
    // They ask the server for its cipher, and its leg is in clear.
    Exception {
        steps: &["tls", "tls, no other"],
        clients: &[],
        servers: &[Kind::Maria11],
        left_out: false,
    },
    // They ask the server whether it compresses, and its leg is not compressed.
    Exception {
        steps: &["compressed"],
        clients: &[
            "mysqlclient",
            "go",
            "mysql2",
            "connector-j",
            "mariadb-j",
            "mysql-async",
            "cli-mysql",
            "cli-mariadb",
        ],
        servers: &[],
        left_out: false,
    },
    // It holds for connections that are made after it was changed.
    Exception { steps: &["too large"], clients: &[], servers: &[Kind::Mysql], left_out: false },
    // Names that nobody has are asked by the plugin of some user, here perhaps by one that the library has no file for.
    Exception {
        steps: &["unknown user"],
        clients: &["mysqlclient", "cli-mysql"],
        servers: &[Kind::Maria10],
        left_out: true,
    },
    // The binary log is no answer of this protocol's.
    Exception { steps: &["mysqlbinlog"], clients: &["tools"], servers: &[], left_out: false },
];

fn exceptions(client: &str, server: Kind) -> impl Iterator<Item = &'static Exception> {
    EXCEPTIONS.iter().filter(move |exception| {
        let Exception { clients, servers, .. } = exception;
        let whose = clients.is_empty() || clients.contains(&client);
        whose && (servers.is_empty() || servers.contains(&server))
    })
}

/// Whether this step of this client's has another answer.
pub(super) fn differs(client: &str, server: Kind, step: &str) -> bool {
    let step = step.to_lowercase();
    let mut of = exceptions(client, server).filter(|exception| !exception.left_out);
    of.any(|exception| exception.steps.contains(&&*step))
}

/// Whether this client is not to take this step.
pub(super) fn left_out(client: &str, server: Kind, step: &str) -> bool {
    let step = step.to_lowercase();
    let mut of = exceptions(client, server).filter(|exception| exception.left_out);
    of.any(|exception| exception.steps.contains(&&*step))
}

/// An answer without what is another on every connection of the proxy's: the host that a user comes from, whose name is
/// not looked up, and the cipher that its server's leg has.
pub(super) fn plain(answer: &str) -> String {
    answer
        .replace("'@'localhost'", "'@'127.0.0.1'")
        .replace("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384")
}
