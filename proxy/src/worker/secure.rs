//! The TLS handshake of a connection that was just accepted.

use std::{mem, rc::Rc};

use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::io::read_buf;

use super::{Accepted, Worker, detect::draining};
use crate::net::{
    Stream,
    tls::{self, ServerTls, Tls},
};

/// How much is read before the handshake takes over: the beginning of a client's first message, or all of it.
const FIRST: usize = 1024;

/// Serves a connection under TLS, if its handshake succeeds within the listener's `frame_timeout`.
pub(super) async fn secure(worker: Rc<Worker>, mut accepted: Accepted, tls: ServerTls) {
    let listener = accepted.listener.clone();
    let limit = listener.config.frame_timeout.0;
    let end = Instant::now() + limit;
    let mut first = mem::take(&mut accepted.prefix);
    let begun_already = !first.is_empty();
    first.reserve(FIRST);
    let begun = tokio::select! {
        biased;
        () = std::future::ready(()), if begun_already => Begun::Yes,
        read = read_buf(&mut accepted.stream, &mut first) => match read {
            Ok(count) if count > 0 => Begun::Yes,
            // Balancers that look whether somebody is there come and go without a word.
            _ => Begun::Left,
        },
        () = sleep_until(end) => Begun::Late,
        // Nobody is waited for who has not asked for anything.
        () = draining(&worker) => Begun::Left,
    };
    let late = || {
        accepted.series.frame_timeouts.inc();
        format!("no TLS handshake within {limit:?}")
    };
    let why = match begun {
        Begun::Yes => match timeout_at(end, Tls::accept(accepted.stream, first, &tls)).await {
            Ok(Ok(stream)) => {
                accepted.series.tls_handshakes.inc();
                accepted.stream = Stream::Tls(Box::new(stream));
                return worker.assign(accepted);
            }
            Ok(Err((error, mut stream))) => {
                stream.linger(false).await;
                tls::explain(&error)
            }
            Err(_) => late(),
        },
        Begun::Late => late(),
        Begun::Left => return accepted.series.connections_closed.inc(),
    };
    accepted.series.tls_failures.inc();
    accepted.series.connections_closed.inc();
    tracing::info!(client = %accepted.peer, listener = %listener.name, "closing: {why}");
}

/// Whether the client has said anything.
enum Begun {
    Yes,
    Late,
    Left,
}
