//! The thread with the demo's services and clients, and with the hand that kills and restarts. The Redis server is not
//! killed: it has no second one to step in, so its clients would be told of errors, and rightly.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinSet, LocalSet},
};

use super::{
    cache,
    client::Client,
    config::CACHE,
    redis,
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

/// How much of the rate is Redis.
const REDIS_SHARE: f64 = 0.25;

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

impl Load {
    /// How many clients of Redis there are besides, with three connections each.
    pub(super) fn redis_clients(&self) -> u32 {
        (self.connections / 6).clamp(1, 50)
    }
}

/// Where the clients connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listeners {
    pub(super) bolt: SocketAddr,
    pub(super) redis: SocketAddr,
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
    cache: TcpListener,
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
        let cache = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let why = "no port for a service";
        Ok(Self { endpoints: endpoints.context(why)?, cache: cache.context(why)?, runtime })
    }

    /// Their clusters and addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let services = self.endpoints.iter().map(|endpoint| (endpoint.cluster, endpoint.address));
        services.chain(self.cache.local_addr().ok().map(|address| (CACHE, address)))
    }

    /// Starts services and clients.
    pub(super) fn start(self, proxy: Listeners, load: Load) -> anyhow::Result<Traffic> {
        let tally = Arc::new(Tally::default());
        let (stop, stopped) = watch::channel(false);
        let (tell, events) = mpsc::channel();
        let run = {
            let tally = tally.clone();
            move || {
                let Self { runtime, endpoints, cache } = self;
                let all = async move {
                    let serving = tokio::task::spawn_local(redis::serve(cache, Arc::default()));
                    let end = carry(endpoints, proxy, load, tally, stopped, tell).await;
                    serving.abort();
                    end
                };
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
    proxy: Listeners,
    load: Load,
    tally: Arc<Tally>,
    mut stop: watch::Receiver<bool>,
    tell: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    for endpoint in &mut endpoints {
        endpoint.start()?;
    }
    let Load { connections, rate, .. } = load;
    let pace = |clients: u32, rate: f64| Duration::from_secs_f64(f64::from(clients) / rate);
    let mut clients = JoinSet::new();
    let bolt = pace(connections, f64::from(rate) * (1.0 - REDIS_SHARE));
    for number in 0..connections {
        let client = Client::new(number, proxy.bolt, bolt, tally.clone());
        clients.spawn_local(client.run(stop.clone()));
    }
    let few = load.redis_clients();
    let redis = pace(few, f64::from(rate) * REDIS_SHARE / cache::PER_ROUND);
    for number in 0..few {
        let client = cache::Client::new(number, proxy.redis, redis, tally.clone());
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
