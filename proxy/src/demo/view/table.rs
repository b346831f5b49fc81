//! Columns of text, and figures as they stand in them.

use std::time::Duration;

/// Columns: names to the left, figures (from the first right-aligned one on) to the right.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// One with these headings.
    pub(super) fn new(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The lines, headings first.
    pub(super) fn lines(&self) -> Vec<String> {
        let width =
            |n: usize| self.rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        // A column of figures is one that begins with a digit, or a dash for none, in its first row.
        let figures: [bool; N] = std::array::from_fn(|n| {
            let first = self.rows.get(1).and_then(|row| row[n].chars().next());
            n >= 2 && first.is_some_and(|c| c.is_ascii_digit() || c == '-')
        });
        let line = |row: &[String; N]| {
            let cells = row.iter().zip(widths).zip(figures);
            let cells = cells.map(|((cell, width), figure)| {
                if figure { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// A count with commas.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A latency.
pub(super) fn millis(latency: Option<Duration>) -> String {
    match latency {
        Some(latency) => format!("{:.1} ms", latency.as_secs_f64() * 1e3),
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn figures_are_to_the_right() {
        let mut table = Table::new(["A", "B", "N"]);
        table.row(["a".into(), "1".into(), "7".into()]);
        table.row(["long".into(), "2".into(), "1,000".into()]);
        assert_eq!(table.lines(), ["A     B      N", "a     1      7", "long  2  1,000"]);
    }
}
