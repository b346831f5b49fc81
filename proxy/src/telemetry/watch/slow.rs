//! The requests that took longest to answer, the newest of them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use wiremesh::{Reason, Status};

use crate::{config, telemetry::access_log::rfc3339};

/// One worker's slow requests of one listener.
#[derive(Debug)]
pub(super) struct Ring {
    keep: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<SlowRequest>,
    total: u64,
}

/// A request that took long.
#[derive(Clone, Debug, Serialize)]
pub struct SlowRequest {
    /// When it was over.
    #[serde(serialize_with = "time")]
    pub time: SystemTime,
    /// From its last byte read to its reply's hand-over.
    #[serde(rename = "duration_us", serialize_with = "micros")]
    pub duration: Duration,
    /// The client's address.
    pub client: String,
    /// The route's name.
    pub route: String,
    /// The cluster's name.
    pub cluster: String,
    /// The endpoint that answered, or that was tried last; of several the last.
    pub endpoint: String,
    /// Its service.
    pub service: String,
    /// Its method.
    pub method: String,
    /// What it said, shortened.
    pub request: String,
    /// In how many parts it was sent.
    pub parts: usize,
    /// What the client was told.
    #[serde(serialize_with = "status")]
    pub status: Status,
    /// What the protocol calls that, if it is an error.
    pub error: Option<&'static str>,
    /// Why the proxy itself answered, where it did.
    #[serde(rename = "flag", serialize_with = "flag")]
    pub reason: Option<Reason>,
    /// Its size on the wire.
    pub bytes_in: usize,
    /// The size of the upstream's reply.
    pub bytes_out: usize,
}

fn time<S: serde::Serializer>(time: &SystemTime, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&rfc3339(*time))
}

fn micros<S: serde::Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn status<S: serde::Serializer>(status: &Status, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(status.as_str())
}

fn flag<S: serde::Serializer>(reason: &Option<Reason>, out: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::flag).serialize(out)
}

impl Ring {
    pub(super) fn new(settings: config::SlowLog) -> Self {
        Self { keep: settings.keep, kept: Mutex::default() }
    }

    /// Keeps a request in the place of the oldest.
    pub(super) fn push(&self, request: SlowRequest) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.total += 1;
        while kept.requests.len() >= self.keep {
            kept.requests.pop_front();
        }
        kept.requests.push_back(request);
    }

    pub(super) fn add_to(&self, slow: &mut ListenerSlow) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        slow.total += kept.total;
        slow.requests.extend(kept.requests.iter().cloned());
    }
}

/// The slow requests of one listener.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerSlow {
    /// The listener's name.
    pub listener: String,
    /// From how long on a request is slow.
    #[serde(rename = "threshold_us", serialize_with = "micros")]
    pub threshold: Duration,
    /// How many are kept.
    pub keep: usize,
    /// How many there were since they are counted.
    pub total: u64,
    /// The newest of them, the newest first.
    pub requests: Vec<SlowRequest>,
}

impl ListenerSlow {
    pub(super) fn new(listener: &str, settings: config::SlowLog) -> Self {
        Self {
            listener: listener.to_owned(),
            threshold: settings.threshold.0,
            keep: settings.keep,
            total: 0,
            requests: Vec::new(),
        }
    }

    pub(super) fn finish(&mut self) {
        self.requests.sort_by_key(|request| std::cmp::Reverse(request.time));
        self.requests.truncate(self.keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Duration as Setting, SlowLog};

    fn request(n: u64) -> SlowRequest {
        SlowRequest {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(n),
            duration: Duration::from_micros(12_345),
            client: "127.0.0.1:1".into(),
            route: "all".into(),
            cluster: "c".into(),
            endpoint: "127.0.0.1:2".into(),
            service: String::new(),
            method: "GET".into(),
            request: format!("GET k{n}"),
            parts: 1,
            status: Status::Ok,
            error: None,
            reason: Some(Reason::Timeout),
            bytes_in: 1,
            bytes_out: 2,
        }
    }

    #[test]
    fn the_newest_of_all_workers_are_kept() {
        let settings = SlowLog { threshold: Setting::from_millis(10), keep: 5 };
        let rings = [Ring::new(settings), Ring::new(settings)];
        for n in 0..100 {
            rings[usize::from(n % 3 == 0)].push(request(n));
            let len = rings[0].kept.lock().unwrap().requests.len();
            assert!(len <= 5);
        }
        let mut slow = ListenerSlow::new("l", settings);
        rings.iter().for_each(|ring| ring.add_to(&mut slow));
        slow.finish();
        let shown: Vec<_> = slow.requests.iter().map(|it| &*it.request).collect();
        assert_eq!(shown, ["GET k99", "GET k98", "GET k97", "GET k96", "GET k95"]);
        assert_eq!(slow.total, 100);
        let json = serde_json::to_value(&slow).unwrap();
        assert_eq!(json["threshold_us"], 10_000);
        let first = &json["requests"][0];
        assert_eq!(first["time"], "1970-01-01T00:00:00.099000Z");
        assert_eq!(first["duration_us"], 12_345);
        assert_eq!((&first["status"], &first["flag"]), (&"ok".into(), &"UT".into()));
    }
}
