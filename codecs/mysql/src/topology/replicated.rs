//! A primary and its replicas, as they tell it themselves.

use wiremesh::{
    Password,
    correlation::{Departure, Handshake},
    topology::{Found, Shard, Shards, Topology},
};

use super::answer::{self, Answer, Row};
use crate::{
    Capabilities, Mysql, MysqlFrame,
    pooled::{UpstreamLogin, query},
};

/// Each of these servers has its own, and what any of them has set makes it read-only.
const ROLE: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                    ('read_only', 'super_read_only', 'innodb_read_only')";

/// Since MySQL 8.0.22 and MariaDB 10.5 by the first name, in MySQL up to 8.3, and in MariaDB, by the other.
const REPLICATION: [&str; 2] = ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"];

/// `ER_SPECIFIC_ACCESS_DENIED_ERROR`.
const DENIED: u16 = 1227;

/// Asks all configured endpoints, and takes the one that is not read-only for the primary.
pub(super) struct Replicated {
    user: String,
    password: Password,
    /// In seconds.
    max_lag: u64,
    writable: Vec<String>,
    in_step: Vec<String>,
    /// Read-only, and not in step.
    left_out: usize,
    unanswered: usize,
}

impl Replicated {
    /// Asks as this user, and takes replicas that are so many seconds behind at most.
    pub(super) fn new(user: String, password: Password, max_lag: u64) -> Self {
        Self {
            user,
            password,
            max_lag,
            writable: Vec::new(),
            in_step: Vec::new(),
            left_out: 0,
            unanswered: 0,
        }
    }

    /// Whether a server, of whom this is the replication status, has what its source has, but for the bound.
    fn is_in_step(&self, sources: &[Row<'_>]) -> bool {
        let running = |source: &Row<'_>| {
            let runs = |names: &[&str]| source.get(names) == Some("Yes");
            let lag = source.get(&["Seconds_Behind_Source", "Seconds_Behind_Master"]);
            runs(&["Replica_IO_Running", "Slave_IO_Running"])
                && runs(&["Replica_SQL_Running", "Slave_SQL_Running"])
                && lag.and_then(|lag| lag.parse().ok()).is_some_and(|lag: u64| lag <= self.max_lag)
        };
        !sources.is_empty() && sources.iter().all(running)
    }
}

impl Topology<Mysql> for Replicated {
    fn questions(&self, _asked: &str) -> Vec<MysqlFrame> {
        // As plain as the login.
        [ROLE].iter().chain(&REPLICATION).map(|text| query(text, Capabilities(0))).collect()
    }

    fn is_answered(&self, frames: &[MysqlFrame]) -> bool {
        answer::len(frames).is_some()
    }

    fn hail(&self, departure: &Departure) -> Option<Box<dyn Handshake<Mysql>>> {
        let login = UpstreamLogin::plain(self.user.as_bytes(), &self.password, departure);
        Some(Box::new(login))
    }

    fn unanswered(&mut self, _asked: &str) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    fn learn(&mut self, asked: &str, replies: &[MysqlFrame]) -> Result<Found, String> {
        let mut rest = replies;
        let mut next = || {
            let (these, those) = rest.split_at_checked(answer::len(rest)?)?;
            rest = those;
            Some(answer::read(these))
        };
        let mut answer = || next().unwrap_or_else(|| Err("it has not answered".into()));
        let read_only = match answer()? {
            Answer::Rows(rows) => is_read_only(&rows)?,
            Answer::Error(number) => return Err(format!("{ROLE}: error {number}")),
            Answer::Done => return Err("it tells no variables".into()),
        };
        let sources = match (answer()?, answer()?) {
            (Answer::Rows(rows), _) | (_, Answer::Rows(rows)) => rows,
            (Answer::Error(DENIED), _) | (_, Answer::Error(DENIED)) => {
                let (user, [_, status]) = (&self.user, REPLICATION);
                return Err(format!(
                    "the user {user:?} may not {status}: it needs REPLICATION CLIENT (MariaDB: SLAVE MONITOR)"
                ));
            }
            (Answer::Error(number), _) => {
                return Err(format!("{}: error {number}", REPLICATION[0]));
            }
            (Answer::Done, _) => Vec::new(),
        };
        if !read_only {
            self.writable.push(asked.to_owned());
        } else if self.is_in_step(&sources) {
            self.in_step.push(asked.to_owned());
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
        Ok(Found::Ask(Vec::new()))
    }

    fn conclude(&mut self) -> Option<Result<Shards, String>> {
        let mut writable = std::mem::take(&mut self.writable);
        writable.sort_unstable();
        let primary = match &mut writable[..] {
            [] if self.in_step.is_empty() && self.left_out == 0 => return None,
            // The one that takes writes may be one of those that could not be asked: what was known of it stays.
            [] if self.unanswered > 0 => {
                return Some(Err("all servers that answer are read-only".into()));
            }
            [] => None,
            [primary] => Some(std::mem::take(primary)),
            more => {
                let names = more.join(", ");
                return Some(Err(format!(
                    "more than one server takes writes: {names}; set read_only on all but one"
                )));
            }
        };
        let mut replicas = std::mem::take(&mut self.in_step);
        replicas.sort_unstable();
        Some(Ok(Shards { shards: vec![Shard { primary, replicas }], slots: Vec::new() }))
    }

    /// What servers call each other need not be what they are called here.
    fn configured_only(&self) -> bool {
        true
    }
}

/// Whether one of the variables is set to anything but `OFF`: MariaDB has words for several kinds of it.
fn is_read_only(variables: &[Row<'_>]) -> Result<bool, String> {
    let mut values = variables.iter().filter_map(|row| row.get(&["Value"])).peekable();
    if values.peek().is_none() {
        return Err("it does not tell whether it is read-only".into());
    }
    Ok(values.any(|value| !matches!(value, "OFF" | "0")))
}

#[cfg(test)]
mod tests;
