//! The PROXY header of a connection that was just accepted.

use std::rc::Rc;

use bytes::{Buf, BytesMut};
use tokio::time::{Instant, sleep_until};
use tokio_util::io::read_buf;

use super::{Accepted, Worker, detect::draining};
use crate::net::{LONGEST, Reading, read_proxy_header};

/// Serves a connection as that of the client whom its header tells; where none is required, it may have none.
pub(super) async fn introduce(worker: Rc<Worker>, mut accepted: Accepted, required: bool) {
    let listener = accepted.listener.clone();
    let (frame, idle) = (listener.config.frame_timeout.0, listener.config.idle_timeout.0);
    let mut end = Instant::now() + if required { frame } else { idle };
    let mut input = BytesMut::new();
    let why = loop {
        match read_proxy_header(&input) {
            Ok(Reading::Header(len, told)) => {
                input.advance(len);
                accepted.told = told;
                break None;
            }
            Ok(Reading::Other) if required => break Some(Refused::Bad("no PROXY header".into())),
            Ok(Reading::Other) => break None,
            Ok(Reading::NeedMore) => {}
            Err(error) => break Some(Refused::Bad(error.to_string())),
        }
        let silent = input.is_empty();
        input.reserve(LONGEST);
        let read = tokio::select! {
            biased;
            read = read_buf(&mut accepted.stream, &mut input) => read,
            () = sleep_until(end) => break Some(match silent && !required {
                true => Refused::Idle,
                false => Refused::Late,
            }),
            // Nobody is waited for who has not asked for anything.
            () = draining(&worker), if silent => break Some(Refused::Left),
        };
        match read {
            Ok(n) if n > 0 => {}
            // Balancers that look whether somebody is there come and go without a word.
            _ if silent => break Some(Refused::Left),
            _ if required => break Some(Refused::Bad("half a PROXY header".into())),
            _ => break None,
        }
        if silent && !required {
            end = Instant::now() + frame;
        }
    };
    accepted.prefix = input;
    if let Some(told) = accepted.told {
        accepted.peer = told.source.to_string();
    }
    let ip = accepted.told.map_or_else(|| accepted.stream.peer_ip(), |told| Some(told.source.ip()));
    let admit = || listener.plan.admit(ip).map_err(|failure| Refused::Denied(failure.to_string()));
    let Err(why) = why.map_or_else(admit, Err) else { return worker.begin(accepted) };
    let series = &accepted.series;
    series.connections_closed.inc();
    let why = match why {
        Refused::Left => return,
        Refused::Idle => return series.idle_timeouts.inc(),
        Refused::Late => {
            series.frame_timeouts.inc();
            format!("no PROXY header within {frame:?}")
        }
        Refused::Bad(why) => {
            series.proxy_header_errors.inc();
            why
        }
        Refused::Denied(why) => {
            series.refused_denied.inc();
            why
        }
    };
    tracing::info!(client = %accepted.peer, listener = %listener.name, "closing: {why}");
}

/// Why a connection is closed before anything else is looked at.
enum Refused {
    /// It left, or the proxy does, before it said anything.
    Left,
    /// It said nothing for too long, and need not have begun with a header.
    Idle,
    /// Its header was not there in time.
    Late,
    /// What it said is not the header that there must be.
    Bad(String),
    /// The client may not connect.
    Denied(String),
}
