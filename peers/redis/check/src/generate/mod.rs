//! Random but repeatable sequences of commands on several connections.

mod groups;
mod template;

use fastrand::Rng;

use crate::conn::Cmd;
use groups::{ALL, CONNECTION, PUBSUB, SERVER};
use template::{Words, expand};

/// What happens next. All answers are there before the next step begins.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Commands sent at once on one connection.
    Burst(usize, Vec<Cmd>),
    /// Bursts on several connections at the same time; none can see what the others do.
    Together(Vec<(usize, Vec<Cmd>)>),
    /// A command that has no answer until another connection has sent the others.
    Blocked { conn: usize, cmd: Cmd, waker: usize, wakers: Vec<Cmd> },
}

impl Step {
    /// How many commands there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Burst(_, cmds) => cmds.len(),
            Self::Together(bursts) => bursts.iter().map(|(_, cmds)| cmds.len()).sum(),
            Self::Blocked { wakers, .. } => 1 + wakers.len(),
        }
    }
}

/// No sequence uses more.
pub(crate) const CONNECTIONS: usize = 4;

/// Of what sequences are made.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Kind {
    /// Of commands alone that leave a connection as it is.
    pub(crate) plain: bool,
    /// Of keys of one slot alone, and without what a cluster answers differently.
    pub(crate) one_slot: bool,
}

/// The sequence that belongs to a seed. `dumps` are what DUMP made of some values.
pub(crate) fn sequence(seed: u64, dumps: &[Vec<u8>], kind: Kind) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    // A few groups at a time meet each other's keys more often than all of them do.
    let groups = if rng.bool() {
        ALL.to_vec()
    } else {
        (0..rng.usize(1..4)).map(|_| ALL[rng.usize(..ALL.len())]).collect()
    };
    let mut maker = Maker { rng, kind, dumps, groups, steps: Vec::new() };
    for _ in 0..maker.rng.usize(3..25) {
        if kind.plain {
            let (conn, mut cmds) = (maker.conn(), maker.commands(1..30));
            cmds.retain(|cmd| !is_sticky(cmd));
            maker.burst(conn, cmds);
        } else {
            maker.scene();
        }
    }
    maker.steps
}

struct Maker<'a> {
    rng: Rng,
    kind: Kind,
    dumps: &'a [Vec<u8>],
    groups: Vec<&'static [&'static str]>,
    steps: Vec<Step>,
}

impl Maker<'_> {
    fn scene(&mut self) {
        let conn = self.conn();
        match self.rng.usize(0..100) {
            0..40 => {
                let count = if self.rng.usize(0..10) == 0 { 60 } else { 12 };
                let cmds = self.commands(1..count);
                self.burst(conn, cmds);
            }
            40..58 => self.transaction(conn),
            58..66 => self.about_the_connection(conn),
            66..74 => self.subscriptions(conn),
            74..82 => self.blocked(conn),
            82..88 => self.together(),
            88..93 => self.silent(conn),
            93..97 => {
                let inline = (0..self.rng.usize(1..4)).map(|_| self.inline()).collect();
                self.burst(conn, inline);
            }
            _ => self.broken(conn),
        }
    }

    fn transaction(&mut self, conn: usize) {
        let mut cmds = Vec::new();
        if self.rng.bool() {
            cmds.push(self.expand("WATCH +( %k )"));
            if self.rng.bool() {
                let before = self.commands(0..2);
                cmds.extend(before);
                self.burst(conn, std::mem::take(&mut cmds));
                let between = self.commands(1..4);
                let other = self.conn();
                self.burst(other, between);
            }
            if self.rng.usize(0..8) == 0 {
                cmds.push(Cmd::new(&["UNWATCH"]));
            }
        }
        cmds.push(Cmd::new(&["MULTI"]));
        for _ in 0..self.rng.usize(0..8) {
            let next = match self.rng.usize(0..40) {
                0 => Cmd::new(&["MULTI"]),
                1 => self.expand("WATCH %k"),
                2 => Cmd::new(&["UNWATCH"]),
                3 => self.expand("HELLO ( 2 | 3 )"),
                4 => self.expand("CLIENT ( GETNAME | SETNAME tx )"),
                5 => self.expand("SELECT %i"),
                _ => self.command(),
            };
            cmds.push(next);
            if self.rng.usize(0..6) == 0 {
                self.burst(conn, std::mem::take(&mut cmds));
                let other = self.conn();
                if other != conn {
                    let between = self.commands(1..3);
                    self.burst(other, between);
                }
            }
        }
        let end = match self.rng.usize(0..20) {
            0 => "RESET",
            1 | 2 => "DISCARD",
            3 => "QUIT",
            _ => "EXEC",
        };
        cmds.push(Cmd::new(&[end]));
        if self.rng.usize(0..8) == 0 && end != "QUIT" {
            cmds.push(self.expand("( EXEC | DISCARD | UNWATCH )"));
        }
        self.burst(conn, cmds);
    }

    fn about_the_connection(&mut self, conn: usize) {
        let mut cmds = Vec::new();
        for _ in 0..self.rng.usize(1..5) {
            let pattern = CONNECTION[self.rng.usize(..CONNECTION.len())];
            let cmd = self.expand(pattern);
            let is_end = cmd.name() == "QUIT";
            cmds.push(cmd);
            if is_end {
                break;
            }
            if self.rng.bool() {
                cmds.push(self.command());
            }
        }
        self.burst(conn, cmds);
    }

    fn subscriptions(&mut self, conn: usize) {
        if self.rng.bool() {
            let hello = self.expand("HELLO ( 2 | 3 )");
            self.burst(conn, vec![hello]);
        }
        for _ in 0..self.rng.usize(1..6) {
            let pattern = PUBSUB[self.rng.usize(..PUBSUB.len())];
            let cmds = vec![self.expand(pattern)];
            self.burst(conn, cmds);
            if self.rng.bool() {
                let other = self.conn();
                let publish = self.expand("( PUBLISH %c %v | SPUBLISH %c %v )");
                self.burst(other, vec![publish]);
            }
        }
        if self.rng.usize(0..4) > 0 {
            let last = self.expand("( UNSUBSCRIBE | PUNSUBSCRIBE | RESET | RESET | QUIT )");
            self.burst(conn, vec![last]);
        }
    }

    fn blocked(&mut self, conn: usize) {
        const PAIRS: [(&str, &str); 10] = [
            ("BLPOP {w}l {w}m 4", "RPUSH {w}l +( %v )"),
            ("BRPOP {w}l 4", "RPUSH {w}l %v %v %v"),
            ("BLPOP {w}l 4", "RPUSH {w}l %v"),
            ("BLMOVE {w}l {w}m LEFT RIGHT 4", "LPUSH {w}l %v"),
            ("BRPOPLPUSH {w}l {w}l 4", "RPUSH {w}l %v"),
            ("BLMPOP 4 2 {w}m {w}l RIGHT COUNT 2", "RPUSH {w}l %v %v %v"),
            ("BZPOPMIN {w}z 4", "ZADD {w}z %i a 7 b"),
            ("BZMPOP 4 1 {w}z MAX", "ZADD {w}z 1 a 2 b"),
            ("XREAD BLOCK 4000 STREAMS {w}x $", "XADD {w}x 100-1 f %v"),
            ("XREAD BLOCK 4000 COUNT 1 STREAMS {w}x 0", "XADD {w}x 1-1 f %v"),
        ];
        let waker = (conn + 1) % CONNECTIONS;
        // Both have to be in a state where these commands do what they say.
        let reset = Cmd::new(&["RESET"]);
        let hello = self.expand("( HELLO 2 | HELLO 3 | PING )");
        self.burst(conn, vec![reset.clone(), hello]);
        self.burst(waker, vec![reset, Cmd::new(&["DEL", "{w}l", "{w}m", "{w}z", "{w}x"])]);
        let (blocks, wakes) = PAIRS[self.rng.usize(..PAIRS.len())];
        let cmd = self.expand(blocks);
        let mut wakers = vec![self.expand(wakes)];
        if self.rng.usize(0..3) == 0 {
            wakers.insert(0, Cmd::new(&["MULTI"]));
            wakers.push(self.expand("LPUSH {w}m %v"));
            wakers.push(Cmd::new(&["EXEC"]));
        }
        self.steps.push(Step::Blocked { conn, cmd, waker, wakers });
        let after = self.commands(0..3);
        self.burst(conn, after);
    }

    fn together(&mut self) {
        let mut bursts = Vec::new();
        for (conn, prefix) in ["p0", "p1", "p2", "p3"].into_iter().enumerate() {
            // Before the others begin: what one tracks or blocks must not depend on who is first.
            self.burst(conn, vec![Cmd::new(&["RESET"])]);
            let mut cmds = Vec::new();
            for _ in 0..self.rng.usize(1..40) {
                // Only what looks at its own keys alone.
                let group = ALL[self.rng.usize(..8)];
                let pattern = group[self.rng.usize(..group.len())];
                cmds.push(self.expand_for(pattern, prefix));
            }
            // Keys without the prefix are everybody's.
            cmds.retain(|cmd| !cmd.args().iter().any(|arg| is_common(arg)));
            bursts.push((conn, cmds));
        }
        self.steps.push(Step::Together(bursts));
    }

    fn silent(&mut self, conn: usize) {
        let mut cmds = vec![Cmd::new(&["RESET"])];
        if self.rng.bool() {
            cmds.push(Cmd::new(&["CLIENT", "REPLY", "OFF"]));
            cmds.extend(self.commands(1..5));
            if self.rng.bool() {
                cmds.push(Cmd::new(&["CLIENT", "REPLY", "SKIP"]));
            }
            cmds.push(Cmd::new(&["CLIENT", "REPLY", "ON"]));
        } else {
            cmds.push(Cmd::new(&["CLIENT", "REPLY", "SKIP"]));
            cmds.push(self.command());
        }
        cmds.push(Cmd::new(&["PING"]));
        self.burst(conn, cmds);
    }

    fn inline(&mut self) -> Cmd {
        const LINES: [(&str, usize); 12] = [
            ("PING\r\n", 1),
            ("ping hello\n", 1),
            ("\r\n", 0),
            ("\n", 0),
            ("   \r\n", 0),
            ("SET {s}0 \"a b\\x41\\n\"\r\n", 1),
            ("  GET   {s}0  \r\n", 1),
            ("set '{s}1' 'it\\'s'\r\n", 1),
            ("MGET {s}0 {s}1 ''\r\n", 1),
            ("nonsense a b\r\n", 1),
            ("*0\r\n", 0),
            ("*-2147483649\r\n", 0),
        ];
        let (line, replies) = LINES[self.rng.usize(..LINES.len())];
        Cmd::Raw { bytes: line.into(), replies, closes: false }
    }

    /// Bytes that end the connection, behind some that don't.
    fn broken(&mut self, conn: usize) {
        const LINES: [(&str, usize); 12] = [
            ("*1\r\n:4\r\n", 1),
            ("*1\r\n$-1\r\n", 1),
            ("*1\r\n$x\r\n", 1),
            ("*x\r\n", 1),
            ("*9999999999\r\n", 1),
            ("*1\r\n$9999999999\r\n", 1),
            ("*2147483648\r\n", 1),
            ("SET a \"unbalanced\r\n", 1),
            ("SET a 'x'y\r\n", 1),
            ("*1\r\n+PING\r\n", 1),
            ("*2\r\n$4\r\nECHO\r\n$-5\r\n", 1),
            ("POST / HTTP/1.1\r\n", 0),
        ];
        let mut cmds = self.commands(0..4);
        cmds.insert(0, Cmd::new(&["RESET"]));
        cmds.retain(|cmd| cmd.name() != "QUIT");
        let (bytes, replies) = LINES[self.rng.usize(..LINES.len())];
        if replies == 0 {
            // A connection closed without a word may lose what was answered just before.
            self.burst(conn, std::mem::take(&mut cmds));
        }
        cmds.push(Cmd::Raw { bytes: bytes.into(), replies, closes: true });
        self.burst(conn, cmds);
    }

    fn burst(&mut self, conn: usize, mut cmds: Vec<Cmd>) {
        if self.kind.one_slot {
            cmds.retain(|cmd| !differs_in_a_cluster(cmd));
        }
        if !cmds.is_empty() {
            self.steps.push(Step::Burst(conn, cmds));
        }
    }

    fn commands(&mut self, count: std::ops::Range<usize>) -> Vec<Cmd> {
        (0..self.rng.usize(count)).map(|_| self.command()).collect()
    }

    /// Mostly a right one.
    fn command(&mut self) -> Cmd {
        let group = self.groups[self.rng.usize(..self.groups.len())];
        let group = if self.rng.usize(0..30) == 0 { SERVER } else { group };
        let pattern = group[self.rng.usize(..group.len())];
        let mut cmd = self.expand(pattern);
        let Cmd::Args(args) = &mut cmd else { return cmd };
        match self.rng.usize(0..100) {
            0..10 => args[0].make_ascii_lowercase(),
            10..13 if args.len() > 1 && args[0] != b"SPOP" => args.truncate(args.len() - 1),
            13..16 => args
                .push(if self.kind.one_slot { b"{t}extra" } else { b"extra".as_slice() }.to_vec()),
            16..18 => args[0] = b"nonsense".to_vec(),
            18 => args[0] = Vec::new(),
            19 => args[0] = b"bad\r\nname".to_vec(),
            _ => {}
        }
        cmd
    }

    fn expand(&mut self, pattern: &str) -> Cmd {
        self.expand_for(pattern, "")
    }

    fn expand_for(&mut self, pattern: &str, prefix: &str) -> Cmd {
        let one_slot = if self.kind.one_slot { "{t}" } else { "" };
        let prefix = &format!("{one_slot}{prefix}");
        let mut words = Words { rng: &mut self.rng, prefix, dumps: self.dumps };
        let mut args = Vec::new();
        expand(pattern, &mut words, &mut args);
        Cmd::Args(args)
    }

    fn conn(&mut self) -> usize {
        // The first does most.
        if self.rng.bool() { 0 } else { self.rng.usize(..CONNECTIONS) }
    }
}

/// Has to do with the connection, or may wait.
fn is_sticky(cmd: &Cmd) -> bool {
    const NAMES: [&str; 9] =
        ["SELECT", "AUTH", "HELLO", "WAIT", "READONLY", "READWRITE", "ASKING", "QUIT", "SWAPDB"];
    let (name, args) = (cmd.name(), cmd.args());
    let waits = ["BL", "BR", "BZ"].iter().any(|start| name.starts_with(start))
        || args.iter().any(|arg| arg.eq_ignore_ascii_case(b"block"));
    waits || NAMES.contains(&name.as_str())
}

/// Is about the node, about databases or about keys that need not be of the same slot?
fn differs_in_a_cluster(cmd: &Cmd) -> bool {
    const NAMES: [&str; 22] = [
        "DEBUG",
        "SELECT",
        "SWAPDB",
        "MOVE",
        "INFO",
        "CLUSTER",
        "SCAN",
        "READONLY",
        "READWRITE",
        "ASKING",
        "ROLE",
        "RANDOMKEY",
        "EVALSHA",
        "EVALSHA_RO",
        "CONFIG",
        "HELLO",
        "LATENCY",
        "MEMORY",
        "SLOWLOG",
        "PUBSUB",
        "WAIT",
        "PUBLISH",
    ];
    let has = |word: &str| cmd.args().iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    NAMES.contains(&cmd.name().as_str())
        || (cmd.name() == "CLIENT" && has("LIST"))
        || (cmd.name() == "COPY" && has("DB"))
        || (cmd.name() == "SORT" && has("BY"))
}

/// One of the few keys that are the same for everybody.
fn is_common(arg: &[u8]) -> bool {
    [b"".as_slice(), b"\0bin\r\n key", b"{", b"nobody", b"{}x"].contains(&arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_makes_the_same() {
        for seed in 0..200 {
            let text = format!("{:?}", sequence(seed, &[], Kind::default()));
            assert_eq!(text, format!("{:?}", sequence(seed, &[], Kind::default())));
        }
    }
}
