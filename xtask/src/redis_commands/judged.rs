//! `testdata/redis/getkeys.txt` and `slots.txt`: how the server itself judged command lines and keys.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::bail;

use super::client::{Client, Value};

/// A line `COMMAND<tab>KEYS` for every command line: each key with its flags, or `!` and the error.
pub(super) fn getkeys(client: &mut Client) -> anyhow::Result<String> {
    let mut lines: BTreeSet<String> = LINES.lines().map(|line| line.trim().to_owned()).collect();
    lines.remove("");
    let commands = client.call(&["COMMAND"])?;
    for fields in commands.list()? {
        of_every_length(&mut lines, fields.list()?)?;
    }
    let mut out = String::new();
    for line in lines {
        let words = line.split(' ').map(|word| if word == "\"\"" { "" } else { word });
        let args: Vec<_> = ["COMMAND", "GETKEYSANDFLAGS"].into_iter().chain(words).collect();
        let answer = match client.call(&args)? {
            Value::Error(text) => format!("!{}", text.trim_start_matches("ERR ")),
            keys => keys.list()?.iter().map(key).collect::<anyhow::Result<Vec<_>>>()?.join(" "),
        };
        writeln!(out, "{line}\t{answer}")?;
    }
    Ok(out)
}

/// `KEY:FLAG,FLAG`
fn key(key: &Value) -> anyhow::Result<String> {
    let [key, flags] = key.list()? else { bail!("{key:?}") };
    Ok(format!("{}:{}", key.text()?, flags.texts()?.join(",")))
}

/// The command with the fewest arguments it takes, some more, and one too few; where a number of keys has to stand, 2.
fn of_every_length(lines: &mut BTreeSet<String>, fields: &[Value]) -> anyhow::Result<()> {
    let (name, arity) = (fields[0].text()?, fields[1].int()?);
    for subcommand in fields[9].list()? {
        of_every_length(lines, subcommand.list()?)?;
    }
    let specs = fields[8].list()?;
    if specs.is_empty() {
        return Ok(());
    }
    let mut counts = Vec::new();
    for spec in specs {
        if spec.get("find_keys")?.get("type")?.text()? == "keynum" {
            let begin = spec.get("begin_search")?.get("spec")?.get("index")?.int()?;
            counts.push(begin + spec.get("find_keys")?.get("spec")?.get("keynumidx")?.int()?);
        }
    }
    for argc in arity.abs() - 1..arity.abs() + 4 {
        let mut words: Vec<_> = name.split('|').map(str::to_owned).collect();
        for at in words.len()..usize::try_from(argc)? {
            let count =
                counts.iter().any(|count| usize::try_from(*count).is_ok_and(|count| count == at));
            words.push(if count { "2".to_owned() } else { format!("k{at}") });
        }
        lines.insert(words.join(" "));
    }
    Ok(())
}

/// Command lines whose keys depend on what is said in them.
const LINES: &str = "\
    ping
    ping k
    publish c m
    config get x
    cluster keyslot k
    debug object k
    subscribe a b
    script load s
    client id
    get k
    GET k
    set k v
    set k v get
    set k v ex 10 get
    set k v get nx
    set k v nx
    set k get
    SET k v GET
    set k v ex get
    mset a 1
    mset a 1 b 2 c 3
    mset a 1 b
    msetnx a 1 b 2
    bitfield k
    bitfield k get u8 0
    bitfield k get u8 0 get i5 100
    bitfield k get u8 0 set u8 0 1
    bitfield k set u8 0 1
    bitfield k overflow sat incrby u2 1 1
    bitfield k GET u8 0
    bitfield k get get 0
    bitfield_ro k get u8 0
    bitop and d a
    bitop not d a
    bitop xor d a b c
    sort k
    sort k store d
    sort k STORE d
    sort k store
    sort k store d store e
    sort k by w*
    sort k by w*->f get # get x* limit 0 10 asc alpha store d
    sort k by nosort
    sort k by store store d
    sort k by store
    sort k get store
    sort k get store store d
    sort k get store get store store d
    sort k limit store 3 store d
    sort k limit 1 store d
    sort k limit store store store d
    sort k desc store d alpha
    sort store
    sort store store store
    sort k alpha asc
    sort k store d store
    sort_ro k
    sort_ro k by w* get x* limit 0 10
    sort_ro k store d
    eval s 0
    eval s 0 a
    eval s 1 k
    eval s 1 k a b
    eval s 2 k l a
    eval s 2 k
    eval s 3 a b c
    eval s -1 k
    eval s x k
    eval s 01 k
    eval s +1 k
    eval s 1.0 k
    eval s 99999999999999999999 k
    eval s 9223372036854775807 k
    eval_ro s 1 k
    eval_ro s 0
    evalsha s 1 k
    evalsha s 2 k l
    evalsha s 0 a b
    evalsha_ro s 1 k
    evalsha_ro s 2 a b c
    fcall f 0
    fcall f 2 a b c
    fcall f 1 1
    fcall_ro f 1 k
    fcall_ro f 0 a
    xread streams a 0
    xread streams a b 0 0
    xread streams a b c 0 0 0
    xread STREAMS a b 0 0
    xread count 2 streams a b 0 0
    xread count 2 block 0 streams a b 0 0
    xread block 0 streams a $
    xread block 0 count streams streams a 0
    xread streams streams 0
    xread streams a b c
    xread streams a
    xread streams
    xread count 2 a b
    xread count 2 streams
    xreadgroup group g c streams a >
    xreadgroup group g c streams a b > >
    xreadgroup group g c count 1 block 5 noack streams a b 0 >
    xreadgroup group streams c streams a 0
    xreadgroup group g streams streams a 0
    xreadgroup group g c noack a >
    xreadgroup streams a b c d e f
    georadius k 1 2 3 m
    georadius k 1 2 3 m store d
    georadius k 1 2 3 m STORE d
    georadius k 1 2 3 m storedist d
    georadius k 1 2 3 m store d storedist e
    georadius k 1 2 3 m storedist e count 1 store d
    georadius k 1 2 3 m withcoord withdist count 5 any asc store d
    georadius k 1 2 3 m store
    georadius k 1 2 3 m store store
    georadius k 1 2 3 m asc
    georadius k 1 2 3 store store d
    georadiusbymember k m 3 m
    georadiusbymember k m 3 m store d
    georadiusbymember k m 3 km desc storedist d
    georadiusbymember k m 3 m store d storedist e
    georadiusbymember k store store store d
    georadius_ro k 1 2 3 m store d
    georadiusbymember_ro k m 3 m count 3
    geosearchstore d s fromlonlat 1 2 byradius 3 m
    geosearchstore d s frommember m bybox 1 2 m storedist
    geosearch k frommember m byradius 3 m
    migrate h 1 k 0 10
    migrate h 1 k 0 10 copy
    migrate h 1 k 0 10 copy replace auth p
    migrate h 1 k 0 10 auth2 u p
    migrate h 1 \"\" 0 10 keys a
    migrate h 1 \"\" 0 10 keys a b c
    migrate h 1 \"\" 0 10 KEYS a b
    migrate h 1 \"\" 0 10 copy replace keys a b
    migrate h 1 \"\" 0 10 auth p keys a b
    migrate h 1 \"\" 0 10 auth2 u p keys a
    migrate h 1 \"\" 0 10 auth keys keys a b
    migrate h 1 \"\" 0 10 auth2 keys keys keys a b
    migrate h 1 \"\" 0 10 keys keys
    migrate h 1 \"\" 0 10 keys a keys b
    migrate h 1 \"\" 0 10
    migrate h 1 \"\" 0 10 copy
    migrate h 1 \"\" 0 10 keys
    migrate h 1 k 0 10 keys
    migrate h 1 k 0 10 keys a b
    migrate h 1 keys 0 10
    migrate h 1 k 0 10 auth keys
    zunionstore d 1 a
    zunionstore d 2 a b
    zunionstore d 2 a b weights 1 2 aggregate max
    zunionstore d 3 a b
    zunionstore d 0 a
    zunionstore d -1 a
    zunionstore d x a
    zinterstore d 2 a b
    zinterstore d 2 a b aggregate min
    zdiffstore d 2 a b
    zunion 1 a
    zunion 2 a b withscores
    zinter 2 a b
    zinter 0 a
    zintercard 2 a b limit 1
    zdiff 3 a b c
    zmpop 1 a min
    zmpop 2 a b max count 2
    zmpop 5 a b
    bzmpop 0 1 a min
    bzmpop 0 2 a b max count 3
    bzmpop 0 x a min
    lmpop 1 a left
    lmpop 2 a b right count 2
    lmpop 3 a b
    blmpop 0 1 a left
    blmpop 0 2 a b left count 3
    sintercard 1 a
    sintercard 2 a b limit 1
    sintercard 5 a b
    sintercard 0 a
    memory usage k
    memory usage k samples 5
    memory doctor
    object encoding k
    object freq k
    object idletime k
    object refcount k
    object help
    object ENCODING k
    xgroup create s g 0 mkstream
    xgroup createconsumer s g c
    xgroup destroy s g
    xgroup setid s g 0
    xgroup delconsumer s g c
    xgroup help
    xinfo stream s full
    xinfo groups s
    xinfo consumers s g
    xinfo help
    xadd s maxlen ~ 10 * f v
    xautoclaim s g c 0 0 count 1
    xclaim s g c 0 1-1 justid
    blpop a 0
    blpop a b c 0
    brpop a b 0
    brpoplpush a b 0
    blmove a b left right 0
    bzpopmin a b 0
    bzpopmax a 0
    lmove a b left right
    rpoplpush a b
    copy a b
    copy a b db 3 replace
    rename a b
    renamenx a b
    smove a b m
    lcs a b
    lcs a b len
    restore k 0 v replace
    restore-asking k 0 v
    dump k
    pfadd k
    pfadd k a b
    pfcount a b c
    pfmerge d
    pfmerge d a
    pfmerge d a b
    pfdebug encoding k
    sdiffstore d a b c
    sinterstore d a b
    sunionstore d a
    zrangestore d s 0 1 rev
    watch a
    watch a b
    touch a b c
    unlink a b
    exists a a
    spublish c m
    ssubscribe a b
    sunsubscribe a b
";

/// A line `KEY<tab>SLOT` for every key.
pub(super) fn slots(client: &mut Client) -> anyhow::Result<String> {
    let mut keys: Vec<String> =
        (0..60).map(|number| format!("key:{}", number * number * 977)).collect();
    keys.extend((0..40).map(|length| "x".repeat(length)));
    keys.extend((0..40).map(|number| format!("user:{{{number}}}:name:{{no}}")));
    keys.extend(KEYS.map(str::to_owned));
    let mut out = String::new();
    for key in keys {
        writeln!(out, "{key}\t{}", client.call(&["CLUSTER", "KEYSLOT", &key])?.int()?)?;
    }
    Ok(out)
}

/// Tags, and what is none.
const KEYS: [&str; 24] = [
    "123456789",
    "{}",
    "{",
    "}",
    "}{",
    "{a",
    "a}",
    "{a}",
    "{a}b",
    "b{a}",
    "b{a}c{d}",
    "{{a}}",
    "{}{a}",
    "a{}b",
    "{a}{",
    "a{b{c}d}e",
    "}a{b}",
    "{ }",
    " ",
    "foo{}{bar}",
    "foo{{bar}}zap",
    "foo{bar}{zap}",
    "gr\u{fc}\u{df}e{\u{20ac}}",
    "{\u{20ac}}",
];
