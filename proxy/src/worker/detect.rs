//! Which of a listener's protocols a connection speaks, by its first bytes.

use std::rc::Rc;

use bytes::BytesMut;
use tokio_util::io::read_buf;
use wiremesh::Detection;

use super::{Accepted, Worker};
use crate::registry::Entry;

/// No detection looks at more than this.
const PREFIX_MAX: usize = 1024;

/// Serves a connection by the first of the listener's protocols that its first bytes match.
pub(super) async fn detect(worker: Rc<Worker>, mut accepted: Accepted) {
    let listener = accepted.listener.clone();
    let names = &listener.config.protocols;
    let entries: Vec<_> = names.iter().filter_map(|name| worker.registry.get(name)).collect();
    let candidates: Vec<&dyn Entry> = entries.iter().map(|entry| &***entry).collect();
    let found = async {
        loop {
            match choose(&candidates, &accepted.prefix) {
                Choice::Found(index) => return Some(index),
                Choice::None => return None,
                Choice::NeedMore if accepted.prefix.len() >= PREFIX_MAX => return None,
                Choice::NeedMore => {}
            }
            let mut prefix = BytesMut::from(&accepted.prefix[..]);
            prefix.reserve(PREFIX_MAX);
            match read_buf(&mut accepted.stream, &mut prefix).await {
                Ok(n) if n > 0 => accepted.prefix = prefix,
                _ => return None,
            }
        }
    };
    let found = tokio::time::timeout(listener.config.frame_timeout.into(), found).await;
    match found.ok().flatten().and_then(|index| listener.drivers.get(index)) {
        Some(driver) => driver.clone().serve(accepted),
        None => {
            accepted.series.undetected.inc();
            accepted.series.connections_closed.inc();
            tracing::info!(client = %accepted.peer, listener = %listener.name,
                "the first bytes are none of the listener's protocols");
        }
    }
}

enum Choice {
    Found(usize),
    NeedMore,
    None,
}

/// The first protocol that matches, once all before it have said no.
fn choose(candidates: &[&dyn Entry], prefix: &[u8]) -> Choice {
    for (index, candidate) in candidates.iter().enumerate() {
        match candidate.detect(prefix) {
            Detection::Match => return Choice::Found(index),
            Detection::NeedMore(_) => return Choice::NeedMore,
            Detection::Mismatch => {}
        }
    }
    Choice::None
}
