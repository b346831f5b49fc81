//! The built binary, as an operator runs it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::bolt::{BoltCaller, flag, request, text, until};

/// A running `wiremesh run`, killed with the test.
pub struct Wiremesh {
    child: Child,
    pub dir: tempfile::TempDir,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Wiremesh {
    /// Starts it with a configuration in which `DIR` and `ADMIN` stand for a directory of its own and a free port, and
    /// waits until it is ready.
    pub fn start(yaml: &str) -> Self {
        Self::start_in(yaml, &[])
    }

    /// The same with variables in its environment.
    pub fn start_in(yaml: &str, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let admin = free.expect("a free port");
        let config = dir.path().join("wiremesh.yaml");
        fs::write(&config, fill(yaml, &dir, admin)).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_wiremesh"))
            .args(["run", "-c"])
            .arg(config)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("wiremesh starts");
        let log = Arc::<Mutex<String>>::default();
        let mut stderr = child.stderr.take().expect("piped");
        let reader = thread::spawn({
            let log = log.clone();
            move || {
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                    log.lock().expect("no panic").push_str(&String::from_utf8_lossy(&chunk[..n]));
                }
            }
        });
        let this = Self { child, dir, admin, log, reader: Some(reader) };
        until("it is ready", || {
            this.try_http("GET", "/ready").is_some_and(|(code, _)| code == 200)
        });
        this
    }

    /// The most of resident memory that it had, in bytes.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok());
        peak.map(|kib: usize| kib << 10).expect("a number")
    }

    /// The path of a file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The address of a Unix socket in its directory.
    pub fn socket(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }

    /// A connection to a Unix socket in its directory.
    pub fn connect(&self, name: &str) -> BoltCaller {
        BoltCaller::connect(&self.socket(name))
    }

    /// Replaces the configuration file, as an editor does.
    pub fn configure(&self, yaml: &str) {
        let (new, file) = (self.path("new.yaml"), self.path("wiremesh.yaml"));
        fs::write(&new, fill(yaml, &self.dir, self.admin)).expect("written");
        fs::rename(new, file).expect("replaced");
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// An admin page: code and body.
    pub fn http(&self, method: &str, path: &str) -> (u16, String) {
        self.try_http(method, path).expect("the admin pages are there")
    }

    pub fn try_http(&self, method: &str, path: &str) -> Option<(u16, String)> {
        http(self.admin, method, path)
    }

    /// The value of one line of the metrics; 0 where it is not there.
    pub fn metric(&self, line: &str) -> f64 {
        let (_, metrics) = self.http("GET", "/metrics");
        value(&metrics, line)
    }

    /// Waits for its end: exit code and log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + Duration::from_secs(20);
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "it does not end: {}", self.log()),
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.reader.take().expect("once").join().expect("no panic");
        (status.code(), self.log())
    }
}

impl Drop for Wiremesh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn fill(yaml: &str, dir: &tempfile::TempDir, admin: SocketAddr) -> String {
    let dir = dir.path().display().to_string();
    yaml.replace("DIR", &dir).replace("ADMIN", &admin.to_string())
}

/// An admin page: code and body. `None` when nobody is there.
pub fn http(address: SocketAddr, method: &str, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The value of one line of metrics; 0 where it is not there.
pub fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.trim().parse().expect("a number"))
}

/// Callers that ask without pause, each with one request at a time, and check every answer.
pub struct Load {
    shared: Arc<LoadShared>,
    callers: Vec<JoinHandle<End>>,
}

#[derive(Default)]
struct LoadShared {
    stop: AtomicBool,
    answered: AtomicUsize,
}

/// How a caller came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Told,
    /// It was answered that the proxy is going.
    Refused,
    /// The connection was closed, and nothing was owed on it but a request the proxy never read.
    Closed,
}

impl Load {
    /// So many callers at `address`, whose answers are all one of `expected`.
    pub fn start(address: &str, callers: usize, expected: &[&'static str]) -> Self {
        let shared = Arc::<LoadShared>::default();
        let callers = (0..callers).map(|_| {
            let (shared, address) = (shared.clone(), address.to_owned());
            let expected = expected.to_vec();
            thread::spawn(move || shared.run(&mut BoltCaller::connect(&address), &expected))
        });
        Self { callers: callers.collect(), shared }
    }

    pub fn answered(&self) -> usize {
        self.shared.answered.load(SeqCst)
    }

    /// Waits for so many more answers.
    pub fn more(&self, count: usize) {
        let target = self.answered() + count;
        until("answers under load", || {
            assert!(!self.callers.iter().any(JoinHandle::is_finished), "a caller has ended");
            self.answered() >= target
        });
    }

    /// Tells all callers to stop.
    pub fn stop(self) {
        self.shared.stop.store(true, SeqCst);
        assert!(self.ends().iter().all(|end| *end == End::Told));
    }

    /// Waits until all callers have come to an end.
    pub fn ends(self) -> Vec<End> {
        self.callers.into_iter().map(|c| c.join().expect("every answer was right")).collect()
    }
}

impl LoadShared {
    fn run(&self, caller: &mut BoltCaller, expected: &[&str]) -> End {
        while !self.stop.load(SeqCst) {
            let id = caller.ask(request("s", "m", &[]));
            let Some(reply) = caller.receive() else { return End::Closed };
            assert_eq!(u64::from(reply.id()), id);
            match &*flag(&reply) {
                "DR" => return End::Refused,
                _ => assert!(expected.contains(&&*text(&reply)), "{}", text(&reply)),
            }
            self.answered.fetch_add(1, SeqCst);
        }
        End::Told
    }
}
