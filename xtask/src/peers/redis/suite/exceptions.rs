//! The tests that do not pass through the proxy, and why.

/// Tests of one unit that a proxy cannot pass, for one reason.
struct Exception {
    unit: &'static str,
    tests: &'static [&'static str],
    fate: Fate,
    #[allow(dead_code, reason = "for who reads this file")]
    reason: &'static str,
}

/// What becomes of tests that are on the list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are not even run: what they leave behind would spoil what follows, or they would not end.
    Skipped,
    /// They fail.
    Fails,
    /// They may pass or fail: they look at one connection for what another was sent but has not answered, or for what
    /// the proxy does in its own time.
    Races,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        unit: "unit/type/list",
        tests: &[
            "SWAPDB wants to wake blocked client, but the key already expired",
            "MULTI + LPUSH + EXPIRE + DEBUG SLEEP on blocked client, key already expired",
        ],
        fate: Fate::Skipped,
        reason: "they are a replica by SYNC; replication does not go through a proxy",
    },
    Exception {
        unit: "unit/expire",
        tests: &[
            "SCAN: Lazy-expire should not be wrapped in MULTI/EXEC",
            "RANDOMKEY: Lazy-expire should not be wrapped in MULTI/EXEC",
        ],
        fate: Fate::Skipped,
        reason: "the same",
    },
    Exception {
        unit: "unit/type/stream-cgroups",
        tests: &[
            "Blocking XREADGROUP: key type changed with SET",
            "Blocking XREAD: key deleted",
            "Blocking XREAD: key type changed with SET",
        ],
        fate: Fate::Skipped,
        reason: "one client is to be before another that does not wait for it; else it would wait for ever",
    },
    Exception {
        unit: "unit/type/list",
        tests: &["BRPOPLPUSH with multiple blocked clients"],
        fate: Fate::Skipped,
        reason: "the same",
    },
    Exception {
        unit: "unit/type/stream-cgroups",
        tests: &[
            "Blocking XREADGROUP: key deleted",
            "Blocking XREADGROUP: key type changed with transaction",
            "Blocking XREADGROUP: flushed DB",
        ],
        fate: Fate::Races,
        reason: "one client writes without waiting until the other waits for that",
    },
    Exception {
        unit: "unit/scripting",
        tests: &[
            "Timedout read-only scripts can be killed by SCRIPT KILL",
            "Timedout read-only scripts can be killed by SCRIPT KILL even when use pcall",
            "Timedout script does not cause a false dead client",
        ],
        fate: Fate::Skipped,
        reason: "who shares a connection with a script that does not end waits, and is not told BUSY",
    },
    Exception {
        unit: "unit/functions",
        tests: &[
            "FUNCTION - test function kill",
            "FUNCTION - test script kill not working on function",
            "FUNCTION - test function kill not working on eval",
        ],
        fate: Fate::Skipped,
        reason: "the same",
    },
    Exception {
        unit: "unit/scripting",
        tests: &["Script return recursive object"],
        fate: Fate::Skipped,
        reason: "replies nested deeper than 64 are refused",
    },
    Exception {
        unit: "unit/pause",
        tests: &[
            "Test special commands are paused by RO",
            "Test read/admin mutli-execs are not blocked by pause RO",
            "Test write mutli-execs are blocked by pause RO",
            "Test scripts are blocked by pause RO",
            "Test RO scripts are not blocked by pause RO",
            "Test read-only scripts in mutli-exec are not blocked by pause RO",
            "Test write scripts in mutli-exec are blocked by pause RO",
            "Test multiple clients can be queued up and unblocked",
            "Test clients with syntax errors will get responses immediately",
            "Test both active and passive expires are skipped during client pause",
        ],
        fate: Fate::Skipped,
        reason: "who shares a connection with a command that the server has paused waits with it",
    },
    Exception {
        unit: "unit/introspection",
        tests: &[
            "CLIENT LIST with IDs",
            "CLIENT KILL with illegal arguments",
            "CLIENT KILL SKIPME YES/NO will kill all clients",
            "CLIENT SETNAME can assign a name to this connection",
            "CLIENT SETNAME can change the name of an existing connection",
            "After CLIENT SETNAME, connection can still be closed",
        ],
        fate: Fate::Fails,
        reason: "the server lists, and would kill, the connections of the proxy",
    },
    Exception {
        unit: "unit/replybufsize",
        tests: &["verify reply buffer limits"],
        fate: Fate::Fails,
        reason: "the same: the buffer is that of the proxy's connection",
    },
    Exception {
        unit: "unit/introspection",
        tests: &["MONITOR correctly handles multi-exec cases"],
        fate: Fate::Races,
        reason: "it sees the SELECT of a connection as well, if the proxy opens one meanwhile",
    },
    Exception {
        unit: "unit/pubsub",
        tests: &["PUBLISH/PSUBSCRIBE after PUNSUBSCRIBE without arguments"],
        fate: Fate::Races,
        reason: "one client publishes without waiting for what the other's PUNSUBSCRIBE is answered",
    },
    Exception {
        unit: "unit/slowlog",
        tests: &[
            "SLOWLOG - logged entry sanity check",
            "SLOWLOG - can clean older entries",
            "SLOWLOG - Rewritten commands are logged as their original command",
        ],
        fate: Fate::Fails,
        reason: "names of clients are the proxy's; commands of its own are in the server's log, too",
    },
    Exception {
        unit: "unit/latency-monitor",
        tests: &["LATENCY HISTOGRAM sub commands"],
        fate: Fate::Fails,
        reason: "the server has not seen the CLIENT ID that the proxy answers",
    },
    Exception {
        unit: "unit/tracking",
        tests: &["RESP3 based basic redirect invalidation with client reply off"],
        fate: Fate::Fails,
        reason: "REDIRECT to a client without a subscription, which has no connection of its own",
    },
];

/// What is said of this test, if it need not pass.
pub(super) fn fate(unit: &str, test: &str) -> Option<Fate> {
    let mut of_test = EXCEPTIONS.iter().filter(|it| it.unit == unit && it.tests.contains(&test));
    of_test.next().map(|it| it.fate)
}

/// The tests of a unit that are not run.
pub(super) fn skipped(unit: &str) -> impl Iterator<Item = &'static str> {
    let of_unit = move |it: &&Exception| it.fate == Fate::Skipped && it.unit == unit;
    EXCEPTIONS.iter().filter(of_unit).flat_map(|it| it.tests.iter().copied())
}
