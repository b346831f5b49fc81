//! What one worker's client asks of another worker.

use std::sync::Arc;

use tokio::sync::mpsc;
use wiremesh::{
    Failure,
    correlation::{Cancel, Cancelled},
};

use super::{Worker, thread::Command};

/// A client's wish to have what another does ended, on its way to the worker that has that one.
#[derive(Clone)]
pub struct Order {
    /// The listener of both.
    pub listener: Arc<str>,
    /// On whose behalf it is.
    pub owner: Arc<[u8]>,
    pub cancel: Cancel,
    /// Takes the answer. All orders gone without one: nobody has such a client.
    pub answer: mpsc::UnboundedSender<Result<Cancelled, Failure>>,
}

impl Worker {
    /// Gives an order to all workers, this one included.
    pub fn order(&self, order: &Order) {
        for worker in self.workers.iter().filter_map(mpsc::WeakUnboundedSender::upgrade) {
            let _ = worker.send(Command::Cancel(order.clone()));
        }
    }
}
