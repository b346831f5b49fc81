//! Pages for people.

use std::{fmt::Write, ops::Range, time::Duration};

/// Columns as wide as their widest cell, those of `numbers` to the right, the others to the left.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    numbers: Range<usize>,
    rows: &[[String; N]],
    text: &mut String,
) {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in all() {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // A String takes every write.
            let _ = if numbers.contains(&column) {
                write!(line, "  {cell:>width$}")
            } else {
                write!(line, "  {cell:<width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Three digits and a unit.
pub(super) fn short(duration: Duration) -> String {
    let (value, unit) = match duration.as_nanos() {
        nanos @ ..1_000_000 => (nanos as f64 / 1e3, "us"),
        nanos @ ..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        nanos => (nanos as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}{unit}")
}

/// A size of three digits and a unit.
pub(super) fn size(bytes: usize) -> String {
    const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, one)) = UNITS.into_iter().find(|(_, one)| bytes >= *one) else {
        return format!("{bytes}B");
    };
    let value = bytes as f64 / one as f64;
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (nanos, want) in [
            (0, "0.00us"),
            (1_234, "1.23us"),
            (85_000, "85.0us"),
            (123_456, "123us"),
            (1_500_000, "1.50ms"),
            (60_000_000_000, "60.0s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanos)), want);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00KiB"),
            (5 << 20, "5.00MiB"),
            (3 << 30, "3.00GiB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
