use std::fmt::Write;

use super::text::{size, table};
use crate::telemetry::watch::{BigKey, HotKey, ListenerKeys};

/// What requests are about, for people.
pub(super) fn to_text(listeners: &[ListenerKeys]) -> String {
    let mut text = String::new();
    for ListenerKeys { listener, every, hot, big } in listeners {
        // A String takes every write.
        let _ = writeln!(text, "{listener}  1 request of {every}");
        let rows: Vec<_> = hot.iter().map(hot_row).collect();
        table(["hot", "per second", "at least", "writes", "samples"], 1..5, &rows, &mut text);
        let rows: Vec<_> = big.iter().map(big_row).collect();
        table(["big", "method", "size"], 2..3, &rows, &mut text);
        text.push('\n');
    }
    text
}

fn hot_row(key: &HotKey) -> [String; 5] {
    [
        key.key.clone(),
        format!("{:.1}", key.per_second),
        format!("{:.1}", key.per_second - key.error),
        format!("{}%", key.writes_percent),
        format!("{:.0}", key.samples),
    ]
}

fn big_row(key: &BigKey) -> [String; 3] {
    [key.key.clone(), key.method.clone(), size(key.bytes)]
}
