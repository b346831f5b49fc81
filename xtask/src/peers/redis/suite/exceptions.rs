//! The tests that do not pass through the proxy, and why.

/// Tests of one unit that a proxy cannot pass, for one reason.
struct Exception {
    unit: &'static str,
    tests: &'static [&'static str],
    /// They are not even run: what they leave behind would spoil what follows, or they would not end.
    skipped: bool,
    #[allow(dead_code, reason = "for who reads this file")]
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        unit: "unit/type/list",
        tests: &[
            "SWAPDB wants to wake blocked client, but the key already expired",
            "MULTI + LPUSH + EXPIRE + DEBUG SLEEP on blocked client, key already expired",
        ],
        skipped: true,
        reason: "they are a replica by SYNC; replication does not go through a proxy",
    },
    Exception {
        unit: "unit/expire",
        tests: &[
            "SCAN: Lazy-expire should not be wrapped in MULTI/EXEC",
            "RANDOMKEY: Lazy-expire should not be wrapped in MULTI/EXEC",
        ],
        skipped: true,
        reason: "the same",
    },
    Exception {
        unit: "unit/type/stream-cgroups",
        tests: &["Blocking XREADGROUP: key type changed with SET"],
        skipped: true,
        reason: "one client is to be before another that it does not wait for",
    },
    Exception {
        unit: "unit/scripting",
        tests: &[
            "Timedout read-only scripts can be killed by SCRIPT KILL",
            "Timedout read-only scripts can be killed by SCRIPT KILL even when use pcall",
            "Timedout script does not cause a false dead client",
        ],
        skipped: true,
        reason: "who shares a connection with a script that does not end waits, and is not told BUSY",
    },
    Exception {
        unit: "unit/functions",
        tests: &[
            "FUNCTION - test function kill",
            "FUNCTION - test script kill not working on function",
            "FUNCTION - test function kill not working on eval",
        ],
        skipped: true,
        reason: "the same",
    },
    Exception {
        unit: "unit/scripting",
        tests: &["Script return recursive object"],
        skipped: true,
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
        skipped: true,
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
        skipped: false,
        reason: "the server lists, and would kill, the connections of the proxy",
    },
    Exception {
        unit: "unit/replybufsize",
        tests: &["verify reply buffer limits"],
        skipped: false,
        reason: "the same: the buffer is that of the proxy's connection",
    },
    Exception {
        unit: "unit/introspection",
        tests: &["MONITOR correctly handles multi-exec cases"],
        skipped: false,
        reason: "it sees the SELECT of a connection that the proxy opens as well",
    },
    Exception {
        unit: "unit/slowlog",
        tests: &[
            "SLOWLOG - logged entry sanity check",
            "SLOWLOG - can clean older entries",
            "SLOWLOG - Rewritten commands are logged as their original command",
        ],
        skipped: false,
        reason: "names of clients are the proxy's; commands of its own are in the server's log, too",
    },
    Exception {
        unit: "unit/latency-monitor",
        tests: &["LATENCY HISTOGRAM sub commands"],
        skipped: false,
        reason: "the server has not seen the CLIENT ID that the proxy answers",
    },
    Exception {
        unit: "unit/tracking",
        tests: &["RESP3 based basic redirect invalidation with client reply off"],
        skipped: false,
        reason: "REDIRECT to a client without a subscription, which has no connection of its own",
    },
];

/// Whether this test need not pass.
pub(super) fn is_listed(unit: &str, test: &str) -> bool {
    EXCEPTIONS.iter().any(|it| it.unit == unit && it.tests.contains(&test))
}

/// The tests of a unit that are not run.
pub(super) fn skipped(unit: &str) -> impl Iterator<Item = &'static str> {
    let of_unit = move |it: &&Exception| it.skipped && it.unit == unit;
    EXCEPTIONS.iter().filter(of_unit).flat_map(|it| it.tests.iter().copied())
}
