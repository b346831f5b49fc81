//! A server whose statements can be killed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{net::TcpStream, sync::Notify};
use wiremesh_mysql::{Capabilities, Command};

use crate::{
    common::thread::ServerThread,
    peers::{Talk, greeting},
    pooled::TOLD,
};

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::MULTI_STATEMENTS.0
    | Capabilities::TRANSACTIONS.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_WITH_DB.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::MULTI_RESULTS.0
    | Capabilities::PS_MULTI_RESULTS.0
    | Capabilities::SESSION_TRACK.0
    | Capabilities::DEPRECATE_EOF.0;

/// Lets what comes by pass, or wait.
#[derive(Default)]
pub struct Gate {
    shut: AtomicBool,
    waiting: AtomicUsize,
    changed: Notify,
}

impl Gate {
    pub fn shut(&self) {
        self.shut.store(true, Relaxed);
    }

    pub fn open(&self) {
        self.shut.store(false, Relaxed);
        self.changed.notify_waiters();
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    async fn pass(&self) {
        let _waits = Counted::new(&self.waiting);
        loop {
            let changed = self.changed.notified();
            if !self.shut.load(Relaxed) {
                return;
            }
            changed.await;
        }
    }
}

/// One more, for as long as it is there.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What a connection was told by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Finish,
    Interrupt,
    Close,
}

#[derive(Default)]
struct Thread {
    told: Mutex<Option<Told>>,
    changed: Notify,
}

impl Thread {
    fn tell(&self, told: Told) {
        *self.told.lock().expect("not poisoned") = Some(told);
        self.changed.notify_waiters();
    }

    async fn told(&self, what: impl Fn(Told) -> bool) -> Told {
        loop {
            let changed = self.changed.notified();
            let told = *self.told.lock().expect("not poisoned");
            if let Some(told) = told.filter(|told| what(*told)) {
                return told;
            }
            changed.await;
        }
    }
}

/// What the server knows, and the test.
#[derive(Default)]
pub struct World {
    said: Mutex<Vec<String>>,
    threads: Mutex<HashMap<u32, Arc<Thread>>>,
    hanging: AtomicUsize,
    /// Connections greet behind it.
    pub greets: Gate,
    /// Statements are killed behind it.
    pub kills: Gate,
    /// Connections are closed as soon as they are there.
    pub refuses: AtomicBool,
}

impl World {
    /// What was asked but for what sets a connection up, after the connection's number.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }

    /// What was asked to be killed.
    pub fn kills(&self) -> Vec<String> {
        let kill = |said: &String| said.split_once(' ').map(|(_, text)| text.to_owned());
        self.said().iter().filter_map(kill).filter(|text| text.starts_with("KILL")).collect()
    }

    /// How many statements hang.
    pub fn hanging(&self) -> usize {
        self.hanging.load(Relaxed)
    }

    /// Ends what hangs on this connection.
    pub fn finish(&self, number: u32) {
        self.threads()[&number].tell(Told::Finish);
    }

    /// Whether this connection is open.
    pub fn has(&self, number: u32) -> bool {
        self.threads().contains_key(&number)
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<u32, Arc<Thread>>> {
        self.threads.lock().expect("not poisoned")
    }
}

/// A server that answers everything by OK, with the connection's number as the rows that were changed. `begin` and `commit` are what
/// they are, `delete from hang` ends when it is told to. It is harsher than others: a connection that is killed while it does nothing
/// remembers that for its next statement.
pub struct Server {
    pub thread: ServerThread,
    pub world: Arc<World>,
}

impl Server {
    pub fn start() -> Self {
        let world = Arc::<World>::default();
        let thread = ServerThread::each({
            let world = Arc::clone(&world);
            let numbers = AtomicU32::new(1);
            move |stream| {
                let world = world.clone();
                let number = (!world.refuses.load(Relaxed)).then(|| numbers.fetch_add(1, Relaxed));
                async move {
                    let Some(number) = number else { return };
                    let thread = Arc::<Thread>::default();
                    world.threads().insert(number, thread.clone());
                    tokio::select! {
                        _ = converse(stream, number, &thread, &world) => {}
                        _ = thread.told(|told| told == Told::Close) => {}
                    }
                    world.threads().remove(&number);
                }
            }
        });
        Self { thread, world }
    }
}

async fn converse(stream: TcpStream, number: u32, thread: &Thread, world: &World) -> Option<()> {
    let mut talk = Talk::new(stream);
    world.greets.pass().await;
    let greeting = greeting(CAPS, number, "mysql_native_password");
    talk.send(0, &greeting).await?;
    let (seq, _) = talk.receive().await?;
    talk.send(seq + 1, &[0, 0, 0, 2, 0, 0, 0]).await?;
    let mut status = 2;
    loop {
        let (_, asked) = talk.receive().await?;
        let text = String::from_utf8_lossy(&asked[1..]).into_owned();
        if Command::of(asked[0]) == Some(Command::Quit) {
            return None;
        }
        let resets = Command::of(asked[0]) == Some(Command::ResetConnection);
        let text = if resets { "RESET".to_owned() } else { text };
        if !text.starts_with("SET NAMES") {
            world.said.lock().expect("not poisoned").push(format!("{number} {text}"));
        }
        match &*text {
            "begin" => status = 3,
            "commit" | "RESET" => status = 2,
            _ => {}
        }
        if text.contains("session_track") {
            talk.send(1, TOLD).await?;
            continue;
        }
        let mut interrupted = false;
        if text == "delete from hang" {
            let _hangs = Counted::new(&world.hanging);
            let told = thread.told(|told| told != Told::Close).await;
            interrupted = told == Told::Interrupt;
        }
        interrupted |= thread.told.lock().expect("not poisoned").take() == Some(Told::Interrupt);
        if let Some(rest) = text.strip_prefix("KILL ") {
            world.kills.pass().await;
            let (what, whom) = rest.split_once(' ').expect("what, and whom");
            let whom: u32 = whom.parse().expect("a number");
            let Some(victim) = world.threads().get(&whom).cloned() else {
                talk.error(1, 1094, "HY000").await?;
                continue;
            };
            victim.tell(if what == "QUERY" { Told::Interrupt } else { Told::Close });
        }
        if interrupted {
            talk.error(1, 1317, "70100").await?;
        } else {
            let number = u8::try_from(number).expect("they are few");
            talk.send(1, &[0, number, 0, status, 0, 0, 0]).await?;
        }
    }
}
