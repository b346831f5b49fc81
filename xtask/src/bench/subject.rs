use std::fmt;

use super::peer::Peer;

/// A protocol that is measured, and what it is meant to reach.
pub(super) struct Subject {
    /// Its name on wiremesh's command line and the load generator's.
    pub(super) protocol: &'static str,
    /// What plays client and server.
    pub(super) tool: Tool,
    pub(super) peers: &'static [Peer],
    /// Connections, and requests in flight on each.
    pub(super) loads: &'static [(usize, usize)],
    /// More of them, measured only where they are asked for by name.
    pub(super) only_named: &'static [(usize, usize)],
    /// Whether connections without requests are measured too.
    pub(super) idle: bool,
    /// Proxies that the others are compared with; the first also by throughput.
    pub(super) baselines: &'static [Peer],
    pub(super) goals: &'static [Goal],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// The load generator of `benches/`, as client and as server
    Load,
    /// redis-benchmark and redis-server
    Redis,
    /// sysbench and MariaDB
    Sysbench,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A body of so many bytes, to be sent back
    Body(usize),
    Set,
    Get,
    /// One row by its key, as a text
    Text,
    /// The same, prepared
    Prepared,
}

/// Length of a value that `SET` stores and `GET` brings, in bytes.
pub(super) const VALUE: usize = 32;

/// A bound on a figure of wiremesh's as a multiple of a peer's.
pub(super) struct Goal {
    /// Whose figure: wiremesh in one of its modes.
    pub(super) of: Peer,
    pub(super) load: (usize, usize),
    pub(super) figure: Figure,
    pub(super) to: Peer,
    pub(super) at_most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Cpu,
    P99,
}

/// The protocols. One that the load generator speaks has its bytes in `wiremesh_benches::wire`.
const SUBJECTS: [Subject; 3] = [
    Subject {
        protocol: "bolt",
        tool: Tool::Load,
        peers: &[Peer::Direct, Peer::Wiremesh, Peer::Haproxy, Peer::Envoy],
        loads: &[(1, 1), (1, 64), (50, 1), (500, 1)],
        only_named: &[],
        idle: true,
        baselines: &[Peer::Haproxy],
        goals: &[
            cpu((1, 1), Peer::Haproxy, 1.05),
            p99((1, 1), Peer::Envoy),
            cpu((1, 64), Peer::Haproxy, 1.25),
            p99((1, 64), Peer::Envoy),
            cpu((50, 1), Peer::Haproxy, 0.65),
            p99((50, 1), Peer::Envoy),
            cpu((500, 1), Peer::Haproxy, 0.55),
            p99((500, 1), Peer::Envoy),
        ],
    },
    Subject {
        protocol: "redis",
        tool: Tool::Redis,
        peers: &[Peer::Direct, Peer::Wiremesh, Peer::Nutcracker, Peer::Envoy, Peer::Haproxy],
        loads: &[
            (1, 1),
            (1, 16),
            (1, 100),
            (50, 1),
            (50, 16),
            (50, 100),
            (500, 1),
            (500, 16),
            (500, 100),
        ],
        only_named: &[],
        idle: false,
        baselines: &[Peer::Nutcracker, Peer::Envoy, Peer::Haproxy],
        goals: &[
            cpu((50, 1), Peer::Nutcracker, 0.8),
            cpu((50, 1), Peer::Envoy, 0.33),
            cpu((50, 16), Peer::Nutcracker, 0.8),
            cpu((50, 16), Peer::Envoy, 0.33),
        ],
    },
    Subject {
        protocol: "mysql",
        tool: Tool::Sysbench,
        peers: &[Peer::Direct, Peer::Wiremesh, Peer::Pooled, Peer::Haproxy, Peer::ShardingSphere],
        loads: &[(1, 1), (16, 1), (128, 1)],
        only_named: &[(512, 1)],
        idle: false,
        baselines: &[Peer::Haproxy, Peer::ShardingSphere],
        goals: &[
            cpu((16, 1), Peer::Haproxy, 1.1),
            cpu((128, 1), Peer::Haproxy, 1.1),
            pooled((16, 1), Peer::Haproxy, 1.4),
            pooled((128, 1), Peer::Haproxy, 1.4),
            pooled((16, 1), Peer::ShardingSphere, 0.25),
            pooled((128, 1), Peer::ShardingSphere, 0.25),
            Goal { figure: Figure::P99, ..pooled((16, 1), Peer::ShardingSphere, 1.0) },
            Goal { figure: Figure::P99, ..pooled((128, 1), Peer::ShardingSphere, 1.0) },
        ],
    },
];

const fn cpu(load: (usize, usize), to: Peer, at_most: f64) -> Goal {
    Goal { of: Peer::Wiremesh, load, figure: Figure::Cpu, to, at_most }
}

const fn pooled(load: (usize, usize), to: Peer, at_most: f64) -> Goal {
    Goal { of: Peer::Pooled, ..cpu(load, to, at_most) }
}

const fn p99(load: (usize, usize), to: Peer) -> Goal {
    Goal { of: Peer::Wiremesh, load, figure: Figure::P99, to, at_most: 1.0 }
}

/// The bound on memory per idle connection and side, in KiB.
pub(super) const IDLE_KIB: f64 = 4.0;

impl Subject {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        const { &SUBJECTS }.iter().find(|subject| subject.protocol == name)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        const { &SUBJECTS }.iter().map(|subject| subject.protocol)
    }

    /// What is asked for; `bodies` where the tool sends bodies.
    pub(super) fn requests(&self, bodies: &[usize]) -> Vec<Request> {
        match self.tool {
            Tool::Load => bodies.iter().map(|body| Request::Body(*body)).collect(),
            Tool::Redis => vec![Request::Set, Request::Get],
            Tool::Sysbench => vec![Request::Text, Request::Prepared],
        }
    }

    /// The percentiles of latency that are shown, by their names in a sample.
    pub(super) fn percentiles(&self) -> [(&'static str, &'static str); 3] {
        match self.tool {
            Tool::Load | Tool::Redis => {
                [("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us")]
            }
            Tool::Sysbench => [("p50", "p50_us"), ("p95", "p95_us"), ("p99", "p99_us")],
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(bytes) => write!(f, "{bytes} B"),
            Self::Set => f.write_str("SET"),
            Self::Get => f.write_str("GET"),
            Self::Text => f.write_str("text"),
            Self::Prepared => f.write_str("prepared"),
        }
    }
}

impl Request {
    /// What stands above its table.
    pub(super) fn title(self) -> String {
        match self {
            Self::Body(bytes) => format!("Bodies of {bytes} bytes"),
            Self::Set | Self::Get => format!("{self}, values of {VALUE} bytes"),
            Self::Text => "Point selects, as texts".into(),
            Self::Prepared => "Point selects, prepared".into(),
        }
    }
}

impl Figure {
    /// Its name in a sample.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_us",
            Self::P99 => "p99_us",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Cpu => "CPU per request",
            Self::P99 => "p99",
        }
    }
}
