/// A protocol that is measured, and what it is meant to reach.
pub(super) struct Subject {
    /// Its name on wiremesh's command line and the load generator's.
    pub(super) protocol: &'static str,
    /// Connections, and requests in flight on each.
    pub(super) loads: &'static [(usize, usize)],
    pub(super) goals: &'static [Goal],
}

/// A bound on wiremesh's processor time per request, as a multiple of haproxy's.
pub(super) struct Goal {
    pub(super) load: (usize, usize),
    pub(super) cpu_ratio: f64,
}

/// The protocols: a new one has its entry here and its bytes in `wiremesh_benches::wire`.
const SUBJECTS: [Subject; 1] = [Subject {
    protocol: "bolt",
    loads: &[(1, 1), (1, 64), (50, 1), (500, 1)],
    goals: &[
        Goal { load: (1, 1), cpu_ratio: 1.05 },
        Goal { load: (1, 64), cpu_ratio: 1.25 },
        Goal { load: (50, 1), cpu_ratio: 0.65 },
        Goal { load: (500, 1), cpu_ratio: 0.55 },
    ],
}];

/// The bound on memory per idle connection and side, in KiB.
pub(super) const IDLE_KIB: f64 = 4.0;

impl Subject {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        const { &SUBJECTS }.iter().find(|subject| subject.protocol == name)
    }
}
