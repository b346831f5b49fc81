//! `testdata/redis/acl.txt` and `globs.txt`: what the server lets users do, and what it takes patterns to match.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{bail, ensure};

use super::client::{Client, Value};

/// For every set of rules a line `RULES<tab>`, and behind it one for every judgement: `<tab>VERDICT<tab>ERROR` and, behind
/// tabs, the command lines that it is about. The verdict is that of `ACL DRYRUN`, the error the one with which the commands
/// themselves are refused, if they are; `'%'` is the command's name. Or a line `RULES<tab>ERROR`, where they are no rules.
pub(super) fn acl(client: &mut Client, port: u16) -> anyhow::Result<String> {
    let mut out = String::new();
    for rules in RULES.lines().map(str::trim) {
        client.call(&["ACL", "DELUSER", "u"])?;
        let mut set = vec!["ACL", "SETUSER", "u", "on", "nopass"];
        set.extend(rules.split_ascii_whitespace());
        match client.call(&set)? {
            Value::Error(text) => {
                writeln!(out, "{rules}\t{text}")?;
                continue;
            }
            answer => ensure!(answer.text()? == "OK", "{answer:?}"),
        }
        writeln!(out, "{rules}\t")?;
        let mut judged: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut user = Client::connect(port)?;
        ensure!(user.call(&["AUTH", "u", "x"])?.text()? == "OK");
        for line in LINES.lines().map(str::trim) {
            let args: Vec<_> =
                line.split(' ').map(|arg| if arg == "\"\"" { "" } else { arg }).collect();
            let dryrun = [&["ACL", "DRYRUN", "u"], args.as_slice()].concat();
            let (verdict, mut refused) = match client.call(&dryrun)? {
                Value::Text(text) if text == "OK" => (text, String::new()),
                Value::Text(text) => {
                    let Value::Error(error) = user.call(&args)? else { bail!("{rules}: {line}") };
                    (text, error)
                }
                other => bail!("{line}: {other:?}"),
            };
            if refused.is_empty()
                && line.starts_with("sort")
                && let Value::Error(error) = user.call(&args)?
            {
                refused = error;
            }
            // So that those that differ in the command's name only make one line.
            let name = verdict.split('\'').nth(1).filter(|_| verdict.ends_with(" command"));
            let name = name.map(|name| format!("'{name}'"));
            let general = |text: String| match &name {
                Some(name) => text.replace(name.as_str(), "'%'"),
                None => text,
            };
            let judgement = (general(verdict.clone()), general(refused));
            judged.entry(judgement).or_default().push(line);
        }
        for ((verdict, refused), lines) in judged {
            writeln!(out, "\t{verdict}\t{refused}\t{}", lines.join("\t"))?;
        }
    }
    Ok(out)
}

/// Behind `on nopass`.
const RULES: &str = "\
    \n\
    allcommands allkeys allchannels
    +@all
    +@all ~*
    +@all ~a &c*
    +@all ~a* ~b? &c* &[xyz]
    +@all %R~r* %W~w*
    +@all %R~a %W~a
    +@all %R~* ~a
    +@all %W~* ~a
    +@all ~**
    +@all ~[^a]* &\\*
    +@all allkeys resetkeys ~b
    +@all allchannels resetchannels &c1
    +@read ~*
    +@read -get ~a ~b
    +@write +@fast -@dangerous ~*
    +@all -@dangerous ~* &*
    +@all -@slow ~* &*
    +@all -@admin -@blocking -@pubsub -@scripting ~*
    +@string +@hash +@list +@set +@sortedset +@geo +@bitmap +@hyperloglog +@stream ~*
    +@keyspace +@transaction +@connection ~*
    +get +set ~a
    +GET +Set ~a
    +config
    +config -config|set
    +config|get
    +config|get +config|set -config|get
    +config|get -@all
    +@all -config|set -client
    +@all -get -@all +get ~*
    nocommands +mget ~*
    +get|a +blpop|b ~*
    +get|a +get ~*
    +get +get|a -get ~*
    +select|0 +object|encoding ~*
    +@slow ~*
    +get ~a (+set ~b)
    +mget ~a (+mget ~b) (+publish &c1)
    (+get ~a) (+set ~b) (%R~w +@read)
    (+get ~a) clearselectors
    (+@all ~a) (+@all ~b) (+@all &c1)
    +sort ~a (+@all %R~*)
    +@all ~a (+sort %R~*)
    +@all ~a (+sort_ro allkeys)
    +subscribe +psubscribe &c1 (+subscribe &c*) (+psubscribe &c*)
    +mset ~a (+publish &d) (+mset ~b ~a)
    ( +get ) (  ) ~a
    +@all ~a sanitize-payload
    +get ~a reset on nopass +set ~b
    foo
    +nosuch
    -nosuch
    +@nosuch
    -@nosuch
    +
    -
    +@
    +|
    +|x
    +config|nosuch
    -config|nosuch
    +config|
    +get|
    -get|a
    +select|0|1
    +config|get|x
    +config|nosuch|x
    -config|get|x
    #abc
    #5E884898DA28047151D0E56F8DC6292773603D0D6AABBDD62A11EF721D1542D8
    !5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
    !x
    <x
    <
    >x <x <x
    ~* ~a
    allkeys %R~a
    &* &a
    allchannels &a
    %~a
    %X~a
    %RR~a
    %
    (on)
    (+get >x)
    (foo)
    ((+get))
    (+nosuch)
    (~* ~a)
    (+get ~a
    +(get)
    a|b
    +@all|x
    +@all ~";

/// None of them may have an effect, or wait, where it is refused; `SORT`s are executed.
const LINES: &str = "\
    get a
    get A
    get b
    get ab
    get c
    get rx
    get wx
    mget a b
    mget b a
    mget a b d
    set a 1
    set b 1
    set a 1 get
    set wx 1
    set wx 1 get
    set rx 1
    mset a 1 b 2
    mset b 1 a 2
    append wx v
    append rx v
    incr a
    incr wx
    getset rx 1
    del a b
    del wx
    exists rx
    exists wx
    exists d
    touch a d
    copy rx wx
    copy wx rx
    rename rx wx
    rename a b
    lpush wx v
    lpop wx
    blpop a b 1
    blpop b a 1
    bitfield rx get u8 0
    bitfield wx get u8 0
    bitfield rx set u8 0 1
    bitfield wx set u8 0 1
    bitop and a b d
    hset wx f v
    hget rx f
    sintercard 2 a b
    zunionstore wx 2 rx b
    zunionstore a 1 b
    geoadd b 1 2 m
    georadius rx 1 2 3 m
    georadius rx 1 2 3 m store wx
    georadius rx 1 2 3 m store rx
    xadd wx * f v
    xread streams rx 0
    xread streams a b 0 0
    xreadgroup group g c streams b >
    pfadd b v
    pfcount rx
    pfcount wx
    pfmerge a b
    sort a
    sort b
    sort a by w*
    sort a by w
    sort a get #
    sort a get x
    sort a by w* store b
    sort a store b
    sort_ro a by w*
    sort_ro a get x
    sort_ro b
    eval s 0
    eval s 1 a
    eval s 1 b
    eval s 2 a b
    eval s x b
    eval_ro s 1 rx
    fcall f 1 wx
    object encoding a
    object encoding b
    object help
    memory usage b
    memory doctor
    migrate h 1 b 0 10
    migrate h 1 \"\" 0 10 keys a b
    migrate h 1 \"\" 0 10
    watch b
    dump rx
    restore wx 0 v
    type rx
    ttl wx
    expire rx 1
    keys *
    scan 0
    randomkey
    dbsize
    flushall
    publish c1 m
    publish d m
    publish x m
    publish * m
    spublish c1 m
    spublish d m
    subscribe c1 c2
    subscribe c1 d
    subscribe d c1
    psubscribe c*
    psubscribe c1
    psubscribe c1*
    psubscribe [xyz]
    psubscribe *
    ssubscribe c2
    ssubscribe d
    unsubscribe d
    punsubscribe d
    sunsubscribe d
    pubsub channels
    ping
    echo a
    auth x y
    hello
    reset
    quit
    select 0
    select 1
    multi
    exec
    discard
    client id
    client kill 1.2.3.4:5
    client setname x
    config get x
    config set x y
    config help
    info
    shutdown
    acl whoami
    acl list
    command count
    slowlog get
    script load s
    function list
    cluster keyslot b
    time
    wait 0 0
    monitor
    sync
    lmpop 0 b left
    zunionstore b x a
    pfmerge b";

/// A line `PATTERN<tab>STRINGS` for every pattern: the strings it matches, of all that are in the first line.
pub(super) fn globs(client: &mut Client) -> anyhow::Result<String> {
    client.call(&["FLUSHALL"])?;
    let strings: Vec<_> = STRINGS.split_ascii_whitespace().collect();
    for string in &strings {
        client.call(&["SET", string, ""])?;
    }
    let mut out = format!("\t{}\n", strings.join(" "));
    for pattern in PATTERNS.split_ascii_whitespace() {
        let keys = client.call(&["KEYS", pattern])?;
        let keys = keys.texts()?;
        let matched: Vec<_> =
            strings.iter().copied().filter(|string| keys.contains(string)).collect();
        writeln!(out, "{pattern}\t{}", matched.join(" "))?;
    }
    client.call(&["FLUSHALL"])?;
    Ok(out)
}

const STRINGS: &str = "\
    a b c A ab abc abcd aab aaab ba bab acb a-c a.c a*c a?c a[c a]c a\\c a^c [ ] [a] [a-c] - -- ^ ^a \\ \\\\ * ** ? ?? \
    user:1 user:10 user:1:name user:2:name app:user:1 hello hallo hxllo hllo heello hbllo h*llo foobar barfoo foobarfoo \
    0 5 9 a1 a9 z Z - a-z x]y";

const PATTERNS: &str = "\
    * ** *** ? ?? ??? a a* *a a*b a*b* *a*b* a?c a??d ?a? *? ?* user:* user:? user:?? user:*:name *:1 *user* *:*:* \
    h?llo h*llo h[ae]llo h[^e]llo h[a-b]llo h[b-a]llo h[^a-e]llo h\\*llo h\\?llo [abc] [a-c] [^a-c] [a-cA] [a] [^a] [] [] \
    []a [^] [^]a [a [^a [a- [a-c a[ a[b a[b] a[bc]* a[*]c a[?]c a[\\]]c a[[]c a[]]c a\\\\c a[\\\\]c a[\\^]c a[^b]c a\\[c \
    \\ \\\\ \\* \\? \\a \\[a\\] a[-]c a[a-]c [a-]z [--] [-] [-a] [a-z [0-9] a[0-9] [0-9a-z] [^0-9] [z-a] [5-] x[]]y x\\]y \
    foo*foo *foo*bar* foo*o *o*o*o* a*a*a*b abc? abc* ^a [\\a] [a\\-c] [a\\ *\\ *[ [^^] [^-a]";
