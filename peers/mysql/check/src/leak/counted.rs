use std::process::ExitCode;
use std::time::Duration;

use super::{Kind, Options};

/// What was seen.
#[derive(Default)]
pub(super) struct Counted {
    by_kind: [Line; Kind::ALL.len()],
    pub(super) sessions: usize,
    pub(super) kinds: Vec<Kind>,
    pub(super) complaints: Vec<String>,
}

/// Of one kind.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    /// Statements that make state.
    pub(super) set: usize,
    /// Answers that were compared with what the session had set.
    pub(super) read: usize,
    /// The same where it had set nothing.
    pub(super) fresh: usize,
    /// What a proxy said it cannot tell any more.
    pub(super) refused: usize,
    pub(super) wrong: usize,
}

impl Counted {
    pub(super) fn of(&mut self, kind: Kind) -> &mut Line {
        &mut self.by_kind[kind as usize]
    }

    pub(super) fn line(&self, kind: Kind) -> Line {
        self.by_kind[kind as usize]
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (line, more) in self.by_kind.iter_mut().zip(&other.by_kind) {
            line.set += more.set;
            line.read += more.read;
            line.fresh += more.fresh;
            line.refused += more.refused;
            line.wrong += more.wrong;
        }
    }

    /// A line for each kind, then the verdict.
    pub(super) fn tell(&self, options: &Options, took: Duration) -> ExitCode {
        let (mut passed, mut failed) = (0, 0);
        let (mut reads, mut refused) = (0, 0);
        for kind in &self.kinds {
            let Line { set, read, fresh, refused: no, wrong } = self.line(*kind);
            let said =
                format!("{set} set, {read} read, {fresh} fresh, {no} refused, {wrong} wrong");
            reads += read + fresh;
            refused += no;
            let unsure = options.strict && no > 0;
            // What is never looked at proves nothing.
            let blind = self.sessions >= 500 && read + fresh == 0;
            match wrong > 0 || unsure || blind {
                true => {
                    failed += 1;
                    println!("FAIL {}: {said}", kind.name());
                }
                false => {
                    passed += 1;
                    println!("ok {}: {said}", kind.name());
                }
            }
        }
        // Failures that belong to no kind.
        failed += usize::from(failed == 0 && !self.complaints.is_empty());
        for complaint in &self.complaints {
            println!("{complaint}");
        }
        let share = refused as f64 * 100.0 / (reads + refused).max(1) as f64;
        println!(
            "seed {}: {} sessions of {} clients, {reads} reads, {refused} refused ({share:.1} %), {} ms",
            options.seed,
            self.sessions,
            options.clients,
            took.as_millis()
        );
        if failed > 0 {
            println!("FAILED {passed} ok, {failed} failed");
            return ExitCode::FAILURE;
        }
        println!("PASS {passed} ok, 0 failed");
        ExitCode::SUCCESS
    }
}
