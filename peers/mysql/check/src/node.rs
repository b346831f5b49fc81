//! Servers of which one follows the other, as whoever runs them sees to it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::conn::{Conn, Login};
use crate::reply::Answer;

/// How long servers may take to catch up, and clients to be served again.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// One of the servers.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    conn: Conn,
    mariadb: bool,
}

impl Node {
    pub(crate) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let conn = Conn::login(address, &Login::new("nat", "natpw"))?;
        let mariadb = conn.version().contains("MariaDB");
        Ok(Self { address, conn, mariadb })
    }

    pub(crate) fn answer(&mut self, text: &str) -> anyhow::Result<Answer> {
        match self.conn.statement(text)? {
            Answer::Error(failure) => bail!("{}: {text}: {}", self.address, failure.text),
            answer => Ok(answer),
        }
    }

    pub(crate) fn statement(&mut self, text: &str) -> anyhow::Result<()> {
        self.answer(text).map(drop)
    }

    fn value(&mut self, text: &str) -> anyhow::Result<String> {
        self.answer(text)?.value()?.context("it is NULL")
    }

    pub(crate) fn read_only(&mut self, on: bool) -> anyhow::Result<()> {
        // Of MySQL's two the stronger one sets the other, and the weaker one clears it.
        let name = if on && !self.mariadb { "super_read_only" } else { "read_only" };
        self.statement(&format!("set global {name} = {}", u8::from(on)))
    }

    /// What it has executed.
    pub(crate) fn position(&mut self) -> anyhow::Result<String> {
        let name = if self.mariadb { "gtid_current_pos" } else { "gtid_executed" };
        Ok(self.value(&format!("select @@global.{name}"))?.replace('\n', ""))
    }

    /// Follows nobody any more.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.statement("stop replica")?;
        self.statement("reset replica all")
    }

    /// Is a replica from now on; `anew`: whatever it had of its own is forgotten.
    pub(crate) fn follow(&mut self, source: &mut Self, anew: bool) -> anyhow::Result<()> {
        let port = source.address.port();
        // One that has taken writes itself goes on from where it was; what the other has written since is still to come.
        let position = if anew { source.position()? } else { self.position()? };
        let to = match self.mariadb {
            true => format!(
                "change master to master_host='127.0.0.1', master_port={port}, master_user='nat', \
                 master_password='natpw', master_use_gtid=slave_pos"
            ),
            false => format!(
                "change replication source to source_host='127.0.0.1', source_port={port}, \
                 source_user='nat', source_password='natpw', source_auto_position=1"
            ),
        };
        if anew {
            self.statement("reset master")?;
            if !self.mariadb {
                self.statement(&format!("set global gtid_purged='{position}'"))?;
            }
        }
        if self.mariadb {
            self.statement(&format!("set global gtid_slave_pos='{position}'"))?;
        }
        self.statement(&to)?;
        self.statement("start replica")?;
        self.read_only(true)
    }

    /// Waits until it has executed what the source has by now.
    pub(crate) fn has_all_of(&mut self, source: &mut Self) -> anyhow::Result<()> {
        let position = source.position()?;
        self.has(&position)
    }

    /// Waits until it has executed all that its source, which is gone, has sent it.
    pub(crate) fn has_all_received(&mut self) -> anyhow::Result<()> {
        self.statement("stop replica io_thread")?;
        let name = if self.mariadb { "Gtid_IO_Pos" } else { "Retrieved_Gtid_Set" };
        let position = self.replica(name)?.unwrap_or_default().replace('\n', "");
        self.has(&position)
    }

    fn has(&mut self, position: &str) -> anyhow::Result<()> {
        let seconds = LONGEST.as_secs();
        let wait = if self.mariadb { "master_gtid_wait" } else { "wait_for_executed_gtid_set" };
        let done = self.value(&format!("select {wait}('{position}', {seconds})"))?;
        ensure!(done == "0", "{}: it has not got {position}", self.address);
        Ok(())
    }

    /// A replica does what its source has done so many seconds later.
    pub(crate) fn delay(&mut self, seconds: u64) -> anyhow::Result<()> {
        self.statement("stop replica")?;
        self.statement(&match self.mariadb {
            true => format!("change master to master_delay = {seconds}"),
            false => format!("change replication source to source_delay = {seconds}"),
        })?;
        self.statement("start replica")
    }

    /// How many seconds a replica is behind, if both its threads run.
    pub(crate) fn behind(&mut self) -> anyhow::Result<Option<u64>> {
        let name = if self.mariadb { "Seconds_Behind_Master" } else { "Seconds_Behind_Source" };
        Ok(self.replica(name)?.map(|late| late.parse()).transpose()?)
    }

    /// A column of what a replica says of itself.
    fn replica(&mut self, column: &str) -> anyhow::Result<Option<String>> {
        let show = if self.mariadb { "show all slaves status" } else { "show replica status" };
        let Answer::Rows(table) = self.answer(show)? else { bail!("{show}: no rows") };
        let at = table.columns.iter().position(|it| it.names.iter().any(|name| name == column));
        let row = table.texts()?.pop().context("it follows nobody")?;
        at.and_then(|at| row.into_iter().nth(at)).context("no such column")
    }

    /// A counter or state of the server's own; empty if it has none of the name.
    pub(crate) fn status(&mut self, name: &str) -> anyhow::Result<String> {
        let Answer::Rows(table) = self.answer(&format!("show global status like '{name}'"))? else {
            bail!("{name}: no rows");
        };
        let value = table.texts()?.pop().and_then(|row| row.into_iter().nth(1).flatten());
        Ok(value.unwrap_or_default())
    }

    /// Acknowledges nothing from now on that its replica has not got.
    pub(crate) fn waits_for(&mut self, replica: &mut Self) -> anyhow::Result<()> {
        let (here, there) = self.semi_sync();
        if !self.mariadb {
            self.statement(&format!("install plugin {here} soname 'semisync_source.so'"))?;
            // A plugin is a row of a table, which is the replica's own.
            replica.read_only(false)?;
            replica.statement("set sql_log_bin = 0")?;
            replica.statement(&format!("install plugin {there} soname 'semisync_replica.so'"))?;
            replica.statement("set sql_log_bin = 1")?;
            replica.read_only(true)?;
        }
        replica.statement(&format!("set global {there}_enabled = 1"))?;
        // It says so as it connects.
        replica.statement("stop replica io_thread")?;
        replica.statement("start replica io_thread")?;
        // Else it would go on without after ten seconds.
        self.statement(&format!("set global {here}_timeout = 3600000"))?;
        self.statement(&format!("set global {here}_wait_point = AFTER_SYNC"))?;
        self.statement(&format!("set global {here}_enabled = 1"))?;
        let end = Instant::now() + LONGEST;
        while self.status(&format!("{here}_clients"))? != "1"
            || self.status(&format!("{here}_status"))? != "ON"
        {
            ensure!(Instant::now() < end, "{}: nobody acknowledges what it writes", self.address);
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How many transactions a replica has acknowledged, and how many none.
    pub(crate) fn acknowledged(&mut self) -> anyhow::Result<[u64; 2]> {
        let here = self.semi_sync().0;
        let mut count = |what| anyhow::Ok(self.status(&format!("{here}_{what}_tx"))?.parse()?);
        Ok([count("yes")?, count("no")?])
    }

    /// What the two sides of semi-synchronous replication are called.
    fn semi_sync(&self) -> (&'static str, &'static str) {
        match self.mariadb {
            true => ("rpl_semi_sync_master", "rpl_semi_sync_slave"),
            false => ("rpl_semi_sync_source", "rpl_semi_sync_replica"),
        }
    }
}
