//! The thread with the demo's services and clients, and with the hand that kills and restarts.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    sync::watch,
    task::{JoinSet, LocalSet},
};

use super::{
    client::Client,
    service::{ENDPOINTS, SERVICES},
    tally::Tally,
    upstream::Endpoint,
};

/// When the first endpoint is killed, and how much later each next one.
const FIRST_KILL: Duration = Duration::from_millis(2_500);
const NEXT_KILL: Duration = Duration::from_secs(6);

/// How long an endpoint is down.
const DOWN: Duration = Duration::from_millis(2_500);

/// How much time there must be after its return, to be seen.
const AFTER: Duration = Duration::from_millis(1_500);

/// Something that happened to an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) endpoint: SocketAddr,
    pub(super) what: What,
}

/// What happened to it.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// It was killed, and with it so many connections.
    Killed(u64),
    /// It listens again.
    Returned,
}

/// How much traffic there is, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connections: u32,
    /// Requests per second.
    pub(super) rate: u32,
    /// When it ends, if that is known.
    pub(super) end: Option<Instant>,
}

/// The running thread.
pub(super) struct Traffic {
    pub(super) tally: Arc<Tally>,
    pub(super) events: mpsc::Receiver<Event>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// The services' endpoints, bound but not started.
pub(super) struct Mesh {
    runtime: tokio::runtime::Runtime,
    endpoints: Vec<Endpoint>,
}

impl Mesh {
    /// Binds them all to free ports.
    pub(super) fn bind() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clusters = SERVICES.iter().flat_map(|s| std::iter::repeat_n(s.cluster, ENDPOINTS));
        let endpoints: io::Result<_> = {
            let _inside = runtime.enter();
            clusters.map(Endpoint::bind).collect()
        };
        Ok(Self { runtime, endpoints: endpoints.context("no port for a service")? })
    }

    /// Their clusters and addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.endpoints.iter().map(|endpoint| (endpoint.cluster, endpoint.address))
    }

    /// Starts services and clients.
    pub(super) fn start(self, proxy: SocketAddr, load: Load) -> anyhow::Result<Traffic> {
        let tally = Arc::new(Tally::default());
        let (stop, stopped) = watch::channel(false);
        let (tell, events) = mpsc::channel();
        let run = {
            let tally = tally.clone();
            move || {
                let Self { runtime, endpoints } = self;
                let all = carry(endpoints, proxy, load, tally, stopped, tell);
                LocalSet::new().block_on(&runtime, all)
            }
        };
        let thread = std::thread::Builder::new().name("traffic".into()).spawn(run)?;
        Ok(Traffic { tally, events, stop, thread })
    }
}

impl Traffic {
    /// Lets the clients send nothing more, and waits for the answers that are due.
    pub(super) fn finish(&mut self) {
        let _ = self.stop.send(true);
    }

    /// Whether it has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// How it ended.
    pub(super) fn join(self) -> anyhow::Result<Arc<Tally>> {
        let _ = self.stop.send(true);
        match self.thread.join() {
            Ok(end) => end.map(|()| self.tally),
            Err(_) => anyhow::bail!("the demo's traffic panicked"),
        }
    }
}

async fn carry(
    mut endpoints: Vec<Endpoint>,
    proxy: SocketAddr,
    load: Load,
    tally: Arc<Tally>,
    mut stop: watch::Receiver<bool>,
    tell: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    for endpoint in &mut endpoints {
        endpoint.start()?;
    }
    let pace = Duration::from_secs(1).mul_f64(f64::from(load.connections) / f64::from(load.rate));
    let mut clients = JoinSet::new();
    for number in 0..load.connections {
        let client = Client::new(number, proxy, pace, tally.clone());
        clients.spawn_local(client.run(stop.clone()));
    }
    tokio::select! {
        end = disturb(&mut endpoints, load.end, &tell) => end?,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    while clients.join_next().await.is_some() {}
    Ok(())
}

/// Kills one endpoint after the other, and lets each return before the next.
async fn disturb(
    endpoints: &mut [Endpoint],
    end: Option<Instant>,
    tell: &mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let mut kill_at = Instant::now() + FIRST_KILL;
    // From service to service.
    let order = (0..ENDPOINTS).flat_map(|n| (n..SERVICES.len() * ENDPOINTS).step_by(ENDPOINTS));
    for index in order.cycle() {
        if end.is_some_and(|end| kill_at + DOWN + AFTER > end) {
            return std::future::pending().await;
        }
        let Some(endpoint) = endpoints.get_mut(index) else { continue };
        let address = endpoint.address;
        let event = |what| Event { at: Instant::now(), endpoint: address, what };
        tokio::time::sleep_until(kill_at.into()).await;
        let connections = endpoint.kill().await?;
        let _ = tell.send(event(What::Killed(connections)));
        tokio::time::sleep(DOWN).await;
        endpoint.start()?;
        let _ = tell.send(event(What::Returned));
        kill_at += NEXT_KILL;
    }
    Ok(())
}
