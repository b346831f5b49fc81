use std::fmt::Write;

use super::text::{short, size, table};
use crate::telemetry::watch::{DigestRow, DigestTotals, ListenerDigests};

const HEAD: [&str; 11] =
    ["count", "failed", "items", "in", "out", "mean", "p50", "p99", "time", "method", "digest"];

/// Statistics by digest, for people.
pub(super) fn to_text(listeners: &[ListenerDigests]) -> String {
    let mut text = String::new();
    for ListenerDigests { listener, max, known, digests, others } in listeners {
        // A String takes every write.
        let _ = writeln!(
            text,
            "{listener}  {known} digests, {} shown, of {max} at most",
            digests.len()
        );
        let mut rows: Vec<_> = digests.iter().map(row).collect();
        rows.extend(others.as_ref().map(|others| cells(others, "", "(others)")));
        table(HEAD, 0..9, &rows, &mut text);
        text.push('\n');
    }
    text
}

fn row(DigestRow { digest, service, method, totals, .. }: &DigestRow) -> [String; 11] {
    let names: Vec<_> = [&**service, &**method].into_iter().filter(|it| !it.is_empty()).collect();
    cells(totals, &names.join(" "), digest)
}

fn cells(totals: &DigestTotals, method: &str, digest: &str) -> [String; 11] {
    let bytes = |n: u64| size(usize::try_from(n).unwrap_or(usize::MAX));
    [
        totals.count.to_string(),
        totals.failed.to_string(),
        totals.items.to_string(),
        bytes(totals.bytes_in),
        bytes(totals.bytes_out),
        short(totals.mean),
        short(totals.p50),
        short(totals.p99),
        format!("{:.1}%", totals.share),
        method.to_owned(),
        digest.to_owned(),
    ]
}
