use std::{
    io,
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::mpsc,
    task::LocalSet,
};

use super::{
    Accepted, ConnectionSlot, Order, Phase, Place, Worker, detect::detect, introduce::introduce,
    secure::secure,
};
use crate::{
    net::Stream,
    registry::Registry,
    snapshot::{Origin, Snapshot},
    telemetry::Metrics,
};

/// How often a worker looks after what is due.
const SWEEP: Duration = Duration::from_millis(100);

/// What a worker can be told.
pub enum Command {
    /// Put this configuration in force.
    Apply(Arc<Snapshot>),
    /// Serve this connection of the listener so named.
    Serve(RawStream, Arc<str>, ConnectionSlot),
    /// Go on to this phase.
    Phase(Phase),
    /// End what a client does, if it is one of this worker's.
    Cancel(Order),
    /// End.
    Stop,
}

/// A connected socket on its way to a worker.
pub enum RawStream {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix.
    Unix(std::os::unix::net::UnixStream),
}

impl RawStream {
    /// The peer's IP address; `None` for Unix sockets.
    pub fn peer_ip(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(stream) => Ok(Some(stream.peer_addr()?.ip().to_canonical())),
            Self::Unix(_) => Ok(None),
        }
    }

    /// For the thread that is to serve it.
    pub fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// A worker, as the control thread sees it.
pub struct WorkerHandle {
    /// Connections it holds or has been promised.
    pub connections: Arc<AtomicUsize>,
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Tells the worker something. A worker that is gone does not hear it.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// How many connections it holds.
    pub fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Ends the worker and waits for it.
    pub fn join(mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker panicked");
        }
    }
}

/// Starts that many workers, each in a thread of its own.
pub fn spawn_all(
    count: usize,
    registry: &Registry,
    metrics: &Arc<Metrics>,
) -> io::Result<Vec<WorkerHandle>> {
    let (commands, inboxes): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    // A worker ends when its handle is gone, whoever may still tell it something.
    let workers: Arc<[_]> = commands.iter().map(mpsc::UnboundedSender::downgrade).collect();
    let spawn = |(index, (commands, inbox))| {
        let place = Place { index, count };
        let (workers, registry, metrics) = (workers.clone(), registry.clone(), metrics.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        let thread = thread.spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!(%error, "no runtime for a worker"),
            };
            let worker = || Worker::new(place, workers, registry, &metrics);
            LocalSet::new().block_on(&runtime, async { run(inbox, Rc::new(worker())).await });
        })?;
        Ok(WorkerHandle { connections: Arc::default(), commands, thread: Some(thread) })
    };
    commands.into_iter().zip(inboxes).enumerate().map(spawn).collect()
}

async fn run(mut inbox: mpsc::UnboundedReceiver<Command>, worker: Rc<Worker>) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Apply(snapshot)) => worker.apply(&snapshot),
                Some(Command::Serve(stream, listener, slot)) => {
                    worker.serve(stream, &listener, slot);
                }
                Some(Command::Phase(phase)) => worker.enter(phase),
                Some(Command::Cancel(order)) => worker.cancel(&order),
                Some(Command::Stop) | None => break,
            },
            _ = sweep.tick() => worker.sweep(),
        }
    }
    worker.sweep();
    // The tasks that are dropped now must not start others.
    worker.phase.set(Phase::Closing);
    worker.drivers().iter().for_each(|driver| driver.stop());
}

impl Worker {
    fn serve(self: &Rc<Self>, stream: RawStream, listener: &str, slot: ConnectionSlot) {
        // The listener may have gone with a reload since the connection was accepted.
        let Some(listener) = self.listener(listener) else {
            return self.metrics.listener_series(listener).connections_closed.inc();
        };
        let stream = match stream.into_stream() {
            Ok(stream) => stream,
            Err(error) => {
                listener.series.connections_closed.inc();
                return tracing::warn!(%error, "accepted socket unusable");
            }
        };
        let peer = stream.peer_text();
        let series = listener.series.clone();
        let accepted = Accepted {
            stream,
            prefix: BytesMut::new(),
            peer,
            told: None,
            series,
            slot,
            listener: listener.clone(),
        };
        match listener.plan.origin(accepted.stream.peer_ip()) {
            Origin::Introduced { required } => {
                tokio::task::spawn_local(introduce(self.clone(), accepted, required));
            }
            // The accepting side has looked at it.
            Origin::Direct | Origin::Untrusted => self.begin(accepted),
        }
    }

    /// Serves a connection whose client is known.
    pub(super) fn begin(self: &Rc<Self>, accepted: Accepted) {
        let listener = accepted.listener.clone();
        match &listener.tls {
            Some(tls) if !listener.drivers.iter().any(|driver| driver.starts_tls()) => {
                tokio::task::spawn_local(secure(self.clone(), accepted, tls.clone()));
            }
            _ => self.assign(accepted),
        }
    }

    /// Gives a connection to the driver of its protocol.
    pub(super) fn assign(self: &Rc<Self>, accepted: Accepted) {
        let listener = accepted.listener.clone();
        match &listener.drivers[..] {
            [only] => only.clone().serve(accepted),
            _ => {
                tokio::task::spawn_local(detect(self.clone(), accepted));
            }
        }
    }

    fn enter(self: &Rc<Self>, phase: Phase) {
        self.tick();
        self.phase.set(phase);
        self.leaving.notify_waiters();
        let drivers = self.drivers();
        for driver in drivers {
            match phase {
                Phase::Serving => {}
                Phase::Draining => driver.drain(),
                Phase::Refusing => driver.refuse(),
                Phase::Closing => driver.sweep(self.now()),
            }
        }
    }

    fn cancel(&self, order: &Order) {
        self.tick();
        self.drivers().into_iter().for_each(|driver| driver.cancel(order));
    }

    fn sweep(&self) {
        let now = self.tick();
        let drivers = self.drivers();
        drivers.iter().for_each(|driver| driver.sweep(now));
        if let Some(log) = &mut *self.access_log.borrow_mut() {
            log.flush();
        }
    }
}
