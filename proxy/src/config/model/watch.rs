use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Duration;

/// Which requests are kept as slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowLog {
    /// A request that takes longer, as its client sees it, is kept; but none that waits on purpose.
    pub threshold: Duration,
    /// How many are kept for each worker, the newest.
    #[schemars(range(min = 1, max = 10_000))]
    pub keep: usize,
}

impl Default for SlowLog {
    fn default() -> Self {
        Self { threshold: Duration::from_millis(10), keep: 128 }
    }
}

/// Which requests are looked at for what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sample {
    /// One of so many, by chance.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub every: u32,
    /// How many keys are shown, of those that are asked for most and of the largest.
    #[schemars(range(min = 1, max = 1_000))]
    pub top: usize,
}

/// How statistics of requests are kept by what they have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Digests {
    /// How many digests each worker knows at a time. Of more, those are counted together that are used least.
    #[schemars(range(min = 1, max = 100_000))]
    pub max: usize,
}

impl Default for Digests {
    fn default() -> Self {
        Self { max: 1000 }
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self { every: 100, top: 50 }
    }
}
