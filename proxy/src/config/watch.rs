use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Interval, MissedTickBehavior},
};

use super::{model::Config, protocol::ProtocolInfo, report::Report};

/// Half of what a change takes to be noticed: once seen, the file must stay as it is for another period.
const PERIOD: Duration = Duration::from_millis(500);

/// Notices that a configuration file has changed, or that SIGHUP asks for it to be read again.
///
/// What counts is the file that the path leads to: replacing the file, writing into it, and swapping a symbolic link
/// anywhere along the path (as Kubernetes does) are all changes. A file that is gone for the moment is no change.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    protocols: Vec<ProtocolInfo>,
    hangup: Signal,
    ticks: Interval,
    /// The file as it was when it was last read, and as it was when last looked at.
    read: Option<Identity>,
    seen: Option<Identity>,
}

impl Watch {
    /// Watches a file, as of now. Needs a tokio runtime with time and I/O; from here on SIGHUP no longer ends the process.
    pub fn new(path: impl Into<PathBuf>, protocols: Vec<ProtocolInfo>) -> io::Result<Self> {
        let path = path.into();
        let now = Identity::of(&path);
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path, protocols, hangup, ticks: every(PERIOD), read: now, seen: now })
    }

    /// Waits for the next change or SIGHUP, then reads and checks the file. Cancelling loses nothing but a SIGHUP that
    /// has just arrived.
    pub async fn changed(&mut self) -> Result<Config, Report> {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => break,
                _ = self.ticks.tick() => if self.is_changed() { break },
            }
        }
        self.read = Identity::of(&self.path);
        Config::load(&self.path, &self.protocols)
    }

    /// Whether the file is another than the one read, and is no longer being written.
    fn is_changed(&mut self) -> bool {
        let now = Identity::of(&self.path);
        let settled = now == self.seen;
        self.seen = now;
        settled && now.is_some() && now != self.read
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const BOLT: &str = "listeners: [{ name: NAME, address: 127.0.0.1:1, protocols: [bolt], routes: [{ name: all, reply: { status: ok } }] }]\n";

    fn write(path: &Path, name: &str) {
        fs::write(path, BOLT.replace("NAME", name)).unwrap();
    }

    fn watch(path: &Path) -> Watch {
        let protocols = vec![ProtocolInfo::of(wiremesh_bolt::Bolt::default())];
        let mut watch = Watch::new(path, protocols).unwrap();
        watch.ticks = every(Duration::from_millis(5));
        watch
    }

    async fn next(watch: &mut Watch) -> Result<String, String> {
        let changed = time::timeout(Duration::from_secs(10), watch.changed());
        let config = changed.await.expect("a change is noticed").map_err(|r| r.to_string())?;
        Ok(config.listeners[0].name.clone())
    }

    #[tokio::test]
    async fn notices_writing_replacing_and_mistakes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.yaml");
        write(&file, "a");
        let mut watch = watch(&file);
        write(&file, "written");
        assert_eq!(next(&mut watch).await, Ok("written".into()));
        let other = dir.path().join("other.yaml");
        write(&other, "renamed");
        fs::rename(&other, &file).unwrap();
        assert_eq!(next(&mut watch).await, Ok("renamed".into()));
        fs::write(&file, "lisseners: []\nlog: inof\n").unwrap();
        let report = next(&mut watch).await.unwrap_err();
        assert_eq!(report.lines().count(), 2, "{report}");
        fs::remove_file(&file).unwrap();
        let nothing = time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(nothing.is_err(), "a file that is gone is no change");
        write(&file, "back");
        assert_eq!(next(&mut watch).await, Ok("back".into()));
    }

    #[tokio::test]
    async fn notices_links_that_are_swapped() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            write(&dir.path().join(version).join("f.yaml"), version);
        }
        let (data, file) = (dir.path().join("..data"), dir.path().join("f.yaml"));
        symlink("v1", &data).unwrap();
        symlink("..data/f.yaml", &file).unwrap();
        let mut watch = watch(&file);
        let swapped = dir.path().join("..data_tmp");
        symlink("v2", &swapped).unwrap();
        fs::rename(&swapped, &data).unwrap();
        assert_eq!(next(&mut watch).await, Ok("v2".into()));
    }
}
