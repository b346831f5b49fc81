//! Carries out a sequence on one server, and on two to compare them.

use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::compare::{is_refusal, of_many, pushes, same};
use crate::conn::{Answer, Cmd, Conn, End};
use crate::generate::{CONNECTIONS, Step};
use crate::resp::Value;

/// One way to a server.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What is tested.
    pub(crate) address: SocketAddr,
    /// The servers behind it; the same if there is nothing between.
    pub(crate) servers: Vec<SocketAddr>,
    /// How long an answer may take.
    pub(crate) patience: Duration,
}

/// The first answers that differ.
pub(crate) struct Difference {
    pub(crate) step: usize,
    /// The command by name, to tell differences apart.
    pub(crate) class: String,
    what: String,
    control: String,
    subject: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 1000;
        let Self { what, control, subject, .. } = self;
        write!(f, "{what}\n  direct:  {control:.SHOWN$}\n  proxied: {subject:.SHOWN$}")
    }
}

/// Both from an empty server, step by step, until they differ.
pub(crate) fn compare(
    control: &Target,
    subject: &Target,
    steps: &[Step],
) -> anyhow::Result<Option<Difference>> {
    let mut a = Side::new(control).context("direct")?;
    let mut b = Side::new(subject).context("proxied")?;
    let found = compare_sides(&mut a, &mut b, steps);
    a.settle();
    b.settle();
    found
}

fn compare_sides(a: &mut Side, b: &mut Side, steps: &[Step]) -> anyhow::Result<Option<Difference>> {
    let mut queues = vec![Vec::new(); CONNECTIONS];
    for (n, step) in steps.iter().enumerate() {
        let (left, right) = (a.step(step)?, b.step(step)?);
        for ((conn, cmd, a), (_, _, b)) in left.into_iter().zip(right) {
            if a.end == Some(End::Silent) {
                bail!("step {n}, connection {conn}: a bare server does not answer {cmd:?}");
            }
            let queue: &mut Vec<Cmd> = &mut queues[conn];
            if is_refusal(cmd, &b) {
                // Subscribed or not, within a transaction, or with more answers than one: what follows is different.
                let name = cmd.name();
                let alike = ["DEBUG", "WAIT", "DBSIZE", "KEYS", "SCAN"].contains(&name.as_str());
                if !alike && of_many(&b) || a.values.len() != 1 || a.values.iter().any(is_queued) {
                    return Ok(None);
                }
                continue;
            }
            if !same(cmd, queue, &a, &b) {
                return Ok(Some(Difference {
                    step: n,
                    what: format!("connection {conn}: {cmd:?}"),
                    class: format!("{} {}", cmd.name(), cmd.word(1)),
                    control: format!("{a:?}"),
                    subject: format!("{b:?}"),
                }));
            }
            match cmd.name().as_str() {
                "EXEC" | "DISCARD" | "RESET" | "QUIT" => queue.clear(),
                _ if a.end.is_some() => queue.clear(),
                _ if a.values.iter().any(is_queued) => queue.push(cmd.clone()),
                _ => {}
            }
        }
    }
    Ok(b.pushes_differ(a, steps.len().saturating_sub(1)))
}

fn is_queued(value: &Value) -> bool {
    *value == Value::Line(b'+', b"QUEUED".to_vec())
}

struct Side {
    target: Target,
    conns: Vec<Option<Conn>>,
    /// Connections that ended with messages in them.
    pushed: Vec<Vec<Value>>,
    watches: Vec<Conn>,
}

impl Side {
    fn new(target: &Target) -> anyhow::Result<Self> {
        let mut watches = Vec::new();
        for server in &target.servers {
            watches.push(Conn::open(*server, target.patience)?);
        }
        for watch in &mut watches {
            empty(watch)?;
        }
        let target = target.clone();
        let conns = (0..CONNECTIONS).map(|_| None).collect();
        Ok(Self { target, conns, pushed: vec![Vec::new(); CONNECTIONS], watches })
    }

    fn step<'a>(&mut self, step: &'a Step) -> anyhow::Result<Vec<(usize, &'a Cmd, Answer)>> {
        let mut all = Vec::new();
        match step {
            Step::Burst(conn, cmds) => {
                let answers = self.conn(*conn)?.burst(cmds);
                all.extend(cmds.iter().zip(answers).map(|(cmd, a)| (*conn, cmd, a)));
            }
            Step::Together(bursts) => {
                for (conn, _) in bursts {
                    self.conn(*conn)?;
                }
                thread::scope(|scope| {
                    let mut running = Vec::new();
                    for (n, slot) in self.conns.iter_mut().enumerate() {
                        let Some((_, cmds)) = bursts.iter().find(|(conn, _)| *conn == n) else {
                            continue;
                        };
                        let Some(conn) = slot else { continue };
                        running.push((n, cmds, scope.spawn(move || conn.burst(cmds))));
                    }
                    for (conn, cmds, answers) in running {
                        let answers = answers.join().unwrap_or_default();
                        all.extend(cmds.iter().zip(answers).map(|(cmd, a)| (conn, cmd, a)));
                    }
                });
            }
            Step::Blocked { conn, cmd, waker, wakers } => {
                let one = std::slice::from_ref(cmd);
                self.conn(*conn)?.send(one);
                self.await_blocked()?;
                let answers = self.conn(*waker)?.burst(wakers);
                all.extend(wakers.iter().zip(answers).map(|(cmd, a)| (*waker, cmd, a)));
                let mut answers = self.conn(*conn)?.collect(one);
                all.push((*conn, cmd, answers.pop().unwrap_or_default()));
            }
        }
        Ok(all)
    }

    /// The connection of this number, a new one if the last has ended.
    fn conn(&mut self, n: usize) -> anyhow::Result<&mut Conn> {
        if let Some(ended) = self.conns[n].take_if(|conn| conn.closed) {
            self.pushed[n].extend(ended.pushed);
        }
        match &mut self.conns[n] {
            Some(conn) => Ok(conn),
            empty => {
                let Target { address, patience, .. } = self.target;
                Ok(empty.insert(Conn::open(address, patience)?))
            }
        }
    }

    /// Until the server says that somebody waits. Nobody, if it has been answered with an error.
    fn await_blocked(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            for watch in &mut self.watches {
                let info = watch.ask(&["INFO", "clients"])?;
                let text = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
                if !text.contains("blocked_clients:0") {
                    return Ok(());
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Compares what came unasked for, when all of it must have come.
    fn pushes_differ(&mut self, control: &mut Self, step: usize) -> Option<Difference> {
        for n in 0..CONNECTIONS {
            if let Some(conn) = &mut control.conns[n]
                && !conn.closed
            {
                // An answer comes behind all messages.
                let _ = conn.burst(&[Cmd::new(&["PING"])]);
            }
            let count = control.conns[n].as_ref().map_or(0, |conn| conn.pushed.len());
            if let Some(conn) = &mut self.conns[n]
                && !conn.closed
            {
                let _ = conn.burst(&[Cmd::new(&["PING"])]);
                conn.await_pushes(count);
            }
            let (a, b) = (pushes(&control.pushed(n)), pushes(&self.pushed(n)));
            if a != b {
                return Some(Difference {
                    step,
                    what: format!("connection {n}: messages and invalidations"),
                    class: "pushes".into(),
                    control: format!("{a:?}"),
                    subject: format!("{b:?}"),
                });
            }
        }
        None
    }

    /// Waits until all that was sent has been carried out: a sequence may end before all of it is answered, and the next
    /// begins with nothing.
    fn settle(&mut self) {
        for conn in self.conns.iter_mut().flatten().filter(|conn| !conn.closed) {
            conn.settle();
        }
    }

    fn pushed(&self, n: usize) -> Vec<Value> {
        let mut all = self.pushed[n].clone();
        all.extend(self.conns[n].iter().flat_map(|conn| conn.pushed.clone()));
        all
    }
}

/// Back to how the server was when it started, as far as sequences can see.
fn empty(server: &mut Conn) -> anyhow::Result<()> {
    // Who was there before may still be leaving.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let busy = [
            server.ask(&["PUBSUB", "CHANNELS"])?.items().len() as i64,
            server.ask(&["PUBSUB", "SHARDCHANNELS"])?.items().len() as i64,
            server.ask(&["PUBSUB", "NUMPAT"])?.int().unwrap_or(0),
        ];
        if busy == [0, 0, 0] {
            break;
        }
        if Instant::now() > end {
            bail!("subscriptions outlive their clients: {busy:?}");
        }
        thread::sleep(Duration::from_millis(1));
    }
    const COMMANDS: [&[&str]; 5] = [
        &["FLUSHALL"],
        &["SCRIPT", "FLUSH"],
        &["FUNCTION", "FLUSH"],
        &["CONFIG", "SET", "hash-max-listpack-entries", "128", "list-max-listpack-size", "-2"],
        &["CONFIG", "RESETSTAT"],
    ];
    for command in COMMANDS {
        let reply = server.ask(command)?;
        if reply.is_error() {
            bail!("{command:?}: {reply:?}");
        }
    }
    Ok(())
}
