//! Which of a listener's protocols a connection speaks, by its first bytes.

use std::rc::Rc;

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until};
use tokio_util::io::read_buf;
use wiremesh::Detection;

use super::{Accepted, Phase, Worker};
use crate::registry::Entry;

/// No detection looks at more than this.
const PREFIX_MAX: usize = 1024;

/// Serves a connection by the first of the listener's protocols that its first bytes match.
pub(super) async fn detect(worker: Rc<Worker>, mut accepted: Accepted) {
    let listener = accepted.listener.clone();
    let names = &listener.config.protocols;
    let entries: Vec<_> = names.iter().filter_map(|name| worker.registry.get(name)).collect();
    let candidates: Vec<&dyn Entry> = entries.iter().map(|entry| &***entry).collect();
    let (idle, frame) = (listener.config.idle_timeout, listener.config.frame_timeout);
    let begun = !accepted.prefix.is_empty();
    let mut end = Instant::now() + if begun { frame.0 } else { idle.0 };
    let why = loop {
        match choose(&candidates, &accepted.prefix) {
            Choice::Found(index) => match listener.drivers.get(index) {
                Some(driver) => return driver.clone().serve(accepted),
                None => break Ended::Unknown,
            },
            Choice::None => break Ended::Unknown,
            Choice::NeedMore if accepted.prefix.len() >= PREFIX_MAX => break Ended::Unknown,
            Choice::NeedMore => {}
        }
        let silent = accepted.prefix.is_empty();
        let mut prefix = BytesMut::from(&accepted.prefix[..]);
        prefix.reserve(PREFIX_MAX);
        let read = tokio::select! {
            biased;
            read = read_buf(&mut accepted.stream, &mut prefix) => read,
            () = sleep_until(end) => break if silent { Ended::Idle } else { Ended::Unknown },
            // Nobody is waited for who has not asked for anything.
            () = draining(&worker), if silent => break Ended::Silent,
        };
        match read {
            Ok(n) if n > 0 => accepted.prefix = prefix,
            _ => break if silent { Ended::Silent } else { Ended::Unknown },
        }
        if silent {
            end = Instant::now() + frame.0;
        }
    };
    accepted.series.connections_closed.inc();
    match why {
        Ended::Silent => {}
        Ended::Idle => accepted.series.idle_timeouts.inc(),
        Ended::Unknown => {
            accepted.series.undetected.inc();
            tracing::info!(client = %accepted.peer, listener = %listener.name,
                "the first bytes are none of the listener's protocols");
        }
    }
}

/// Why a connection is closed before its protocol is known.
enum Ended {
    /// It left, or the proxy does, before it said anything.
    Silent,
    /// It said nothing for too long.
    Idle,
    /// What it said is not known, or not enough.
    Unknown,
}

/// Resolves when the proxy is on its way out.
pub(super) async fn draining(worker: &Worker) {
    while worker.phase() == Phase::Serving {
        worker.leaving.notified().await;
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
