//! Commands about the connection, and about the server.

use std::sync::atomic::Ordering::Relaxed;

use wiremesh_redis::{command::COMMANDS, resp::Version, slot::slot};

use super::{
    cluster::Cluster,
    out::{Fault, NOT_INTEGER, Out, SYNTAX, integer, is},
    session::{Session, Silent},
    store::DATABASES,
    transaction::Transaction,
};

/// The version whose words are used.
const VERSION: &str = "7.0.15";

const WRONGPASS: Fault =
    Fault::Borrowed("WRONGPASS invalid username-password pair or user is disabled.");

impl Session {
    pub(super) fn on_connection(
        &mut self,
        name: &str,
        args: &[&[u8]],
        out: &mut Out,
    ) -> Result<bool, Fault> {
        match (name, &args[1..]) {
            ("ping", []) if self.is_among_messages() => out.bulks(["pong", ""].iter()),
            ("ping", [text]) if self.is_among_messages() => out.bulks([b"pong", *text].iter()),
            ("ping", []) => out.simple("PONG"),
            ("ping" | "echo", [text]) => out.bulk(text),
            ("ping", _) => return Err("ERR wrong number of arguments for 'ping' command".into()),
            ("quit", _) => {
                out.ok();
                self.over = true;
            }
            ("reset", _) => {
                self.reset();
                out.version = Version::Resp2;
                out.simple("RESET");
            }
            ("select", [db]) => {
                let db = integer(db)?;
                if self.server.habits.cluster().is_some() && db != 0 {
                    return Err("ERR SELECT is not allowed in cluster mode".into());
                }
                let db = usize::try_from(db).ok().filter(|db| *db < DATABASES);
                self.db = db.ok_or("ERR DB index is out of range")?;
                out.ok();
            }
            ("auth", [password]) => {
                if !self.server.habits.is_guarded() {
                    return Err("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into());
                }
                self.log_in(b"default", password)?;
                out.ok();
            }
            ("auth", [user, password]) => {
                self.log_in(user, password)?;
                out.ok();
            }
            ("auth", _) => return Err(SYNTAX),
            ("hello", options) => self.hello(options, out)?,
            ("asking", _) => {
                self.asking = true;
                out.ok();
            }
            ("readonly" | "readwrite", _) => out.ok(),
            ("command", _) => match self.server.habits.module() {
                Some((_, told)) => {
                    out.array(1);
                    out.bytes.extend_from_slice(&told);
                }
                None => out.array(0),
            },
            ("command|count", _) => {
                let module = usize::from(self.server.habits.module().is_some());
                out.count(COMMANDS.len() + module);
            }
            ("command|docs", _) => out.map(0),
            ("command|info", names) => {
                out.array(names.len());
                names.iter().for_each(|_| out.null_array());
            }
            ("config|get", _) => out.map(0),
            ("info", _) => out.bulk(self.info()),
            ("time", _) => {
                let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
                let parts = [now.as_secs().to_string(), now.subsec_micros().to_string()];
                out.bulks(parts.iter());
            }
            _ => return Ok(self.on_client(name, args, out)? || self.on_cluster(name, args, out)?),
        }
        Ok(true)
    }

    /// Whether answers stand among the messages of channels, and must look like them.
    fn is_among_messages(&self) -> bool {
        self.version() == Version::Resp2 && self.subscriptions() > 0
    }

    pub(super) fn reset(&mut self) {
        self.server.hub.borrow_mut().forget(self.id);
        self.channels.clear();
        self.patterns.clear();
        self.shard_channels.clear();
        self.transaction = Transaction::default();
        self.db = 0;
        self.name.clear();
        self.user = None;
        self.silent = Silent::No;
        self.mailbox.out.borrow_mut().version = Version::Resp2;
    }

    fn log_in(&mut self, user: &[u8], password: &[u8]) -> Result<(), Fault> {
        if !self.server.habits.admits(user, password) {
            return Err(WRONGPASS);
        }
        self.user = Some(user.to_vec());
        Ok(())
    }

    fn hello(&mut self, options: &[&[u8]], out: &mut Out) -> Result<(), Fault> {
        let mut version = self.version();
        let mut rest = options;
        if let [wanted, more @ ..] = options {
            version = match integer(wanted) {
                Ok(2) => Version::Resp2,
                Ok(3) => Version::Resp3,
                Ok(_) => return Err("NOPROTO unsupported protocol version".into()),
                Err(_) => {
                    return Err("ERR Protocol version is not an integer or out of range".into());
                }
            };
            rest = more;
        }
        let mut name = None;
        while let [option, more @ ..] = rest {
            rest = match more {
                [user, password, more @ ..] if is(option, "auth") => {
                    self.log_in(user, password)?;
                    more
                }
                [wanted, more @ ..] if is(option, "setname") => {
                    name = Some(wanted.to_vec());
                    more
                }
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
                }
            };
        }
        if self.user.is_none() && self.server.habits.is_guarded() {
            return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".into());
        }
        if let Some(name) = name {
            self.name = name;
        }
        self.mailbox.out.borrow_mut().version = version;
        out.version = version;
        let in_cluster = self.server.habits.cluster().is_some();
        out.map(7);
        for (key, value) in [("server", "redis"), ("version", VERSION)] {
            out.bulk(key);
            out.bulk(value);
        }
        out.bulk("proto");
        out.integer(if version == Version::Resp3 { 3 } else { 2 });
        out.bulk("id");
        out.integer(self.id.cast_signed());
        out.bulk("mode");
        out.bulk(if in_cluster { "cluster" } else { "standalone" });
        out.bulk("role");
        out.bulk("master");
        out.bulk("modules");
        out.array(0);
        Ok(())
    }

    fn on_client(&mut self, name: &str, args: &[&[u8]], out: &mut Out) -> Result<bool, Fault> {
        match (name, args.get(2..).unwrap_or_default()) {
            ("client|setname", [name]) => {
                if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
                    return Err(
                        "ERR Client names cannot contain spaces, newlines or special characters."
                            .into(),
                    );
                }
                self.name = name.to_vec();
                out.ok();
            }
            ("client|getname", _) => out.maybe((!self.name.is_empty()).then_some(&self.name)),
            ("client|id", _) => out.integer(self.id.cast_signed()),
            ("client|info", _) => out.bulk(format!(
                "id={} addr={} laddr={} fd=8 name={} db={} sub={} psub={} resp={} user={}\n",
                self.id,
                self.peer,
                self.peer,
                String::from_utf8_lossy(&self.name),
                self.db,
                self.channels.len(),
                self.patterns.len(),
                if self.version() == Version::Resp3 { 3 } else { 2 },
                String::from_utf8_lossy(self.user.as_deref().unwrap_or(b"default")),
            )),
            ("client|setinfo" | "client|no-evict" | "client|no-touch", _) => out.ok(),
            ("client|reply", [mode]) => match mode {
                mode if is(mode, "on") => {
                    self.silent = Silent::No;
                    out.ok();
                }
                mode if is(mode, "off") => self.silent = Silent::Yes,
                mode if is(mode, "skip") && self.silent == Silent::Yes => {}
                mode if is(mode, "skip") => self.silent = Silent::Next,
                _ => return Err(SYNTAX),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn on_cluster(&self, name: &str, args: &[&[u8]], out: &mut Out) -> Result<bool, Fault> {
        if !name.starts_with("cluster|") {
            return Ok(false);
        }
        let Some((cluster, number)) = self.server.habits.cluster() else {
            return Err("ERR This instance has cluster support disabled".into());
        };
        match name {
            "cluster|slots" => {
                let ranges = cluster.ranges();
                out.array(ranges.len());
                for (first, last, node) in ranges {
                    out.array(3);
                    out.integer(first.into());
                    out.integer(last.into());
                    out.array(4);
                    let address = cluster.nodes()[node];
                    out.bulk(address.ip().to_string());
                    out.integer(address.port().into());
                    out.bulk(Cluster::name(node));
                    out.map(0);
                }
            }
            "cluster|info" => {
                let nodes = cluster.nodes().len();
                out.bulk(format!(
                    "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\n\
                     cluster_slots_ok:16384\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
                     cluster_known_nodes:{nodes}\r\ncluster_size:{nodes}\r\n\
                     cluster_current_epoch:{}\r\ncluster_my_epoch:1\r\n",
                    cluster.epoch(),
                ));
            }
            "cluster|myid" => out.bulk(Cluster::name(number)),
            "cluster|keyslot" => out.integer(slot(args[2]).into()),
            "cluster|countkeysinslot" => {
                let wanted = integer(args[2])?;
                let store = self.server.store.borrow();
                out.count(store.keys(0).filter(|(key, _)| i64::from(slot(key)) == wanted).count());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn info(&self) -> String {
        let habits = &self.server.habits;
        let store = self.server.store.borrow();
        let mode = if habits.cluster().is_some() { "cluster" } else { "standalone" };
        let mut text = format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:{mode}\r\nserver_name:wiremesh demo\r\n\
             uptime_in_seconds:{}\r\n\r\n# Clients\r\nconnected_clients:{}\r\nblocked_clients:{}\r\n\r\n\
             # Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n\r\n# Stats\r\n\
             total_connections_received:{}\r\ntotal_commands_processed:{}\r\n\r\n\
             # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n",
            self.server.started.elapsed().as_secs(),
            habits.open.load(Relaxed),
            self.server.waiting.borrow().len(),
            store.used(),
            habits.max_memory.load(Relaxed),
            habits.connections.load(Relaxed),
            habits.requests.load(Relaxed),
        );
        for db in 0..DATABASES {
            let keys = store.keys(db).count();
            if keys > 0 {
                text.push_str(&format!("db{db}:keys={keys},expires=0,avg_ttl=0\r\n"));
            }
        }
        text
    }
}

/// A number of seconds, as blocking commands take it.
pub(super) fn timeout(text: &[u8]) -> Result<std::time::Duration, Fault> {
    let seconds = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds.ok_or("ERR timeout is not a float or out of range")?;
    if seconds < 0.0 {
        return Err("ERR timeout is negative".into());
    }
    std::time::Duration::try_from_secs_f64(seconds)
        .map_err(|_| "ERR timeout is not a float or out of range".into())
}

/// A number of milliseconds, as `WAIT` takes it.
pub(super) fn milliseconds(text: &[u8]) -> Result<std::time::Duration, Fault> {
    let number = integer(text).map_err(|_| NOT_INTEGER)?;
    let number = u64::try_from(number).map_err(|_| "ERR timeout is negative")?;
    Ok(std::time::Duration::from_millis(number))
}
