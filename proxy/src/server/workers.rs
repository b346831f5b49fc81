use std::{io, sync::Arc};

use crate::{
    registry::Registry,
    telemetry::Metrics,
    worker::{self, Command, ConnectionSlot, RawStream, WorkerHandle},
};

/// The workers, as the control thread sees them.
pub(super) struct Workers(Vec<WorkerHandle>);

impl Workers {
    /// Starts that many.
    pub(super) fn start(
        count: usize,
        registry: &Registry,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        worker::spawn_all(count, registry, metrics).map(Self)
    }

    /// Gives a connection to the worker that has the fewest: mesh connections are few, long-lived and unequal, so that
    /// the kernel's hash alone would leave cores idle.
    pub(super) fn hand_over(
        &self,
        stream: RawStream,
        listener: &Arc<str>,
        active: &Arc<std::sync::atomic::AtomicUsize>,
    ) {
        if let Some(worker) = self.0.iter().min_by_key(|worker| worker.load()) {
            let slot = ConnectionSlot::new(&worker.connections, active);
            worker.tell(Command::Serve(stream, listener.clone(), slot));
        }
    }

    /// Tells all of them the same.
    pub(super) fn tell(&self, command: impl Fn() -> Command) {
        self.0.iter().for_each(|worker| worker.tell(command()));
    }

    /// Connections of all of them.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().map(WorkerHandle::load).sum()
    }

    /// Ends all of them.
    pub(super) fn stop(self) {
        self.0.into_iter().for_each(WorkerHandle::join);
    }
}

/// How many workers to start where the configuration does not say: the cores that this process may use, by its CPU set
/// and by its control group's CPU quota (the standard library looks at both).
pub(super) fn default_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
