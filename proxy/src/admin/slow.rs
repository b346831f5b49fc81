use std::fmt::Write;

use wiremesh::Reason;

use super::text::{short, size, table};
use crate::telemetry::{
    rfc3339,
    watch::{ListenerSlow, SlowRequest},
};

const HEAD: [&str; 8] =
    ["time", "status", "endpoint", "client", "duration", "in", "out", "request"];

/// Slow requests for people.
pub(super) fn to_text(listeners: &[ListenerSlow]) -> String {
    let mut text = String::new();
    for ListenerSlow { listener, threshold, total, requests, .. } in listeners {
        // A String takes every write.
        let _ = writeln!(text, "{listener}  {total} took over {}", short(*threshold));
        let rows: Vec<_> = requests.iter().map(row).collect();
        table(HEAD, 4..7, &rows, &mut text);
        text.push('\n');
    }
    text
}

fn row(request: &SlowRequest) -> [String; 8] {
    let why = request.reason.map(Reason::flag).or(request.error);
    let parts =
        if request.parts > 1 { format!(" (in {} parts)", request.parts) } else { String::new() };
    [
        rfc3339(request.time),
        why.map_or_else(|| request.status.to_string(), |why| format!("{} {why}", request.status)),
        if request.endpoint.is_empty() { "-".into() } else { request.endpoint.clone() },
        request.client.clone(),
        short(request.duration),
        size(request.bytes_in),
        size(request.bytes_out),
        format!("{}{parts}", request.request),
    ]
}
