//! Messages whose bytes are known, and everything that can be asked of them.

use std::borrow::Cow;

use bytes::BytesMut;
use wiremesh::{
    EditError, Failure, Frame, HeaderView, Kind, Peer, Protocol, Reason, Status,
    correlation::{Expect, Pipelined},
};
use wiremesh_redis::{
    Message, Redis,
    resp::{Shape, Value, Version},
};

use crate::common::{Decoder, encoded, message, reply, request};

/// The arguments of a line.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    request(line).args().map(<[u8]>::to_vec).collect()
}

/// As redis-server 7.0.15 reads them.
#[test]
fn lines() {
    let want = |line: &[u8], want: &[&[u8]]| assert_eq!(words(line), want, "{line:?}");
    want(b"PING\r\n", &[b"PING"]);
    want(b"PING\n", &[b"PING"]);
    want(b"PING\r\r\n", &[b"PING"]);
    want(b" \tset  a\t b \r\n", &[b"set", b"a", b"b"]);
    want(b"\x0bPING\x0b\r\n", &[b"PING\x0b"]);
    want(b"set a b\x0bc\x0cd\r\n", &[b"set", b"a", b"b\x0bc\x0cd"]);
    want(b"set a \"\" ''\r\n", &[b"set", b"a", b"", b""]);
    want(b"\"\"\r\n", &[b""]);
    want(b"\"PING\"\r\n", &[b"PING"]);
    want(b"a x\"y z\" 'q'\r\n", &[b"a", b"xy z", b"q"]);
    want(b"a \"b\"\x0b\r\n", &[b"a", b"b"]);
    want(b"a 'b\\'c' 'd\\n\"'\r\n", &[b"a", b"b'c", b"d\\n\""]);
    want(b"a \"\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\n", &[b"a", b"\n\r\t\x08\x07\\\"q"]);
    want(b"a \"\\x00\\xfF\\x4\\xzz\\x\"\r\n", &[b"a", b"\0\xffx4xzzx"]);
    want(b"a \\x41 $5 *1\r\n", &[b"a", b"\\x41", b"$5", b"*1"]);
    want(b"$5\r\n", &[b"$5"]);
}

#[test]
fn a_line_stays_a_line_until_it_is_made_an_array() {
    let mut line = request(b"set k \"a b\"\r\n");
    assert!(line.is_inline());
    assert_eq!((line.argc(), line.method()), (3, Some(Cow::Borrowed("SET"))));
    assert_eq!(encoded(&line), b"set k \"a b\"\r\n");
    line.normalize();
    assert!(!line.is_inline());
    assert_eq!(encoded(&line), b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\na b\r\n");
    assert_eq!((line.arg(2), line.first_key()), (Some(&b"a b"[..]), Some(&b"k"[..])));
}

#[test]
fn empty_requests_stay_in_front_until_they_are_dropped() {
    for bytes in [&b"\r\n*0\r\n \n*-1\r\n*1\r\n$4\r\nPING\r\n"[..], b"*-9\r\n\nPING\r\n"] {
        let mut ping = request(bytes);
        assert_eq!(encoded(&ping), bytes);
        assert_eq!((ping.argc(), ping.arg(0)), (1, Some(&b"PING"[..])));
        ping.normalize();
        assert_eq!(encoded(&ping), b"*1\r\n$4\r\nPING\r\n");
        assert_eq!((ping.argc(), ping.arg(0)), (1, Some(&b"PING"[..])));
    }
}

/// A client that says nothing but empty lines costs nothing.
#[test]
fn many_empty_requests_are_thrown_away() {
    let mut decoder = Decoder::new(Peer::Client);
    for _ in 0..100 {
        assert!(decoder.feed(&b"\r\n".repeat(8 * 1024)).unwrap().is_empty());
        assert!(decoder.waiting() < 100_000, "{}", decoder.waiting());
    }
    assert_eq!(decoder.feed(b"PING\r\n").unwrap().len(), 1);
    assert_eq!(decoder.waiting(), 0);
}

#[test]
fn requests() {
    let set = Message::request([&b"SET"[..], b"k", b"\0\r\n\xff"]);
    assert_eq!(encoded(&set), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\0\r\n\xff\r\n");
    assert_eq!(set.kind(), Kind::Request);
    assert_eq!(set.status(), Status::Ok);
    assert_eq!(set.command().unwrap().name, "set");
    assert_eq!(set.command_name(), b"SET");
    assert_eq!((set.argc(), set.args().len()), (3, 3));
    assert_eq!(set.args().collect::<Vec<_>>(), [&b"SET"[..], b"k", b"\0\r\n\xff"]);
    assert_eq!((set.arg(1), set.arg(3)), (Some(&b"k"[..]), None));
    assert_eq!(set.service(), None);
    assert_eq!(Message::request(Vec::<&[u8]>::new()).argc(), 0);
    assert!(!set.is_error());

    let many = Message::request((0..100).map(|n| n.to_string()));
    assert_eq!(many.argc(), 100);
    for n in [0, 5, 50, 99] {
        assert_eq!(many.arg(n), Some(n.to_string().as_bytes()));
        assert_eq!(many.indexed().get(n), many.arg(n));
        assert_eq!(set.indexed().get(n), set.arg(n));
    }
    assert_eq!((many.arg(100), many.indexed().get(100)), (None, None));
}

#[test]
fn methods() {
    let method = |line: &str| {
        let request = Message::request(line.split(' '));
        request.method().unwrap().into_owned()
    };
    assert_eq!(method("get a"), "GET");
    assert_eq!(method("Config gEt a"), "CONFIG GET");
    assert_eq!(method("config nosuch"), "CONFIG");
    assert_eq!(method("config"), "CONFIG");
    assert_eq!(method("get get"), "GET");
    assert_eq!(method("nosuch"), "other");
    assert_eq!(reply("+OK\r\n").method(), None);
}

#[test]
fn first_keys() {
    let key = |line: &str| {
        let request = Message::request(line.split(' '));
        let key = request.header("key").map(Cow::into_owned);
        assert_eq!(key.as_deref().map(str::as_bytes), request.first_key());
        key
    };
    let some = |key: &str| Some(key.to_owned());
    assert_eq!(key("get a"), some("a"));
    assert_eq!(key("mset a 1 b 2"), some("a"));
    assert_eq!(key("bitop and dest a"), some("dest"));
    assert_eq!(key("eval x 2 a b c"), some("a"));
    assert_eq!(key("eval x 0 a"), None);
    assert_eq!(key("eval x many a"), None);
    assert_eq!(key("xread count 1 streams s t 0 0"), some("s"));
    assert_eq!(key("xread count 1 nosuch s 0"), None);
    assert_eq!(key("object encoding a"), some("a"));
    assert_eq!(key("zunion 2 a b"), some("a"));
    assert_eq!(key("spublish channel hello"), None);
    assert_eq!(key("ping"), None);
    assert_eq!(key("get"), None);
    assert_eq!(key("nosuch a"), None);
    assert_eq!(key("config get a"), None);
}

/// What asks for one argument after the other must not walk over all of them each time.
#[test]
fn a_key_is_found_among_very_many_arguments() {
    let args = std::iter::repeat_n("xread", 1 << 19).chain(["streams", "s", "0"]);
    let request = Message::request(args);
    assert_eq!(request.first_key(), Some(&b"s"[..]));
}

#[test]
fn headers_can_be_read_and_not_edited() {
    let mut get = Message::request(["CONFIG", "GET", "x"]);
    assert_eq!(get.header("command").as_deref(), Some("config|get"));
    assert_eq!(get.header("db"), None);
    assert_eq!(get.set_header("key", "x"), Err(EditError::Unsupported("a header")));
    let mut all = Vec::new();
    let get = Message::request(["GET", "x"]);
    get.for_each_header(&mut |name, value| all.push(format!("{name}={value}")));
    assert_eq!(all, ["key=x", "command=get"]);
}

#[test]
fn what_the_client_machine_sets() {
    let mut request = Message::request(["SUBSCRIBE", "a", "b"]);
    let redis = Redis::default();
    assert_eq!((redis.expects(&request), redis.lane(&request)), (Expect::One, 0));
    request.set_expect(Expect::Many(2));
    request.set_lane(7);
    assert_eq!((redis.expects(&request), redis.lane(&request)), (Expect::Many(2), 7));
    let mut reply = reply("*0\r\n");
    assert!(redis.is_last(&reply) && reply.kind() == Kind::Response);
    reply.set_more(true);
    assert!(!redis.is_last(&reply));
    reply.set_push();
    assert_eq!(reply.kind(), Kind::Push);
    let ping = redis.heartbeat(7).unwrap();
    assert_eq!((encoded(&ping), redis.lane(&ping)), (b"*1\r\n$4\r\nPING\r\n".to_vec(), 7));
}

#[test]
fn replies_that_are_built() {
    use Version::{Resp2, Resp3};
    let bytes = |message: Message| {
        assert_eq!((message.kind(), message.argc()), (Kind::Response, 0));
        String::from_utf8(encoded(&message)).unwrap()
    };
    assert_eq!(bytes(Message::simple("O\r\nK")), "+O  K\r\n");
    assert_eq!(bytes(Message::error("ERR no\nluck")), "-ERR no luck\r\n");
    for value in [0, 7, -1, i64::MIN, i64::MAX] {
        assert_eq!(bytes(Message::integer(value)), format!(":{value}\r\n"));
    }
    assert_eq!(bytes(Message::bulk(b"a\r\nb")), "$4\r\na\r\nb\r\n");
    assert_eq!([Resp2, Resp3].map(Message::null).map(bytes), ["$-1\r\n", "_\r\n"]);
    assert_eq!([Resp2, Resp3].map(Message::null_array).map(bytes), ["*-1\r\n", "_\r\n"]);
    let some = || [Message::bulk(b"a"), Message::integer(1)];
    assert_eq!(bytes(Message::array(some())), "*2\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(bytes(Message::array([])), "*0\r\n");
    let map = |version| bytes(Message::map([some().into()], version));
    assert_eq!([Resp2, Resp3].map(map), ["*2\r\n$1\r\na\r\n:1\r\n", "%1\r\n$1\r\na\r\n:1\r\n"]);
    assert_eq!(bytes(Message::raw(BytesMut::from("+hello\r\n"))), "+hello\r\n");
}

#[test]
fn values() {
    let value = |text: &'static str| {
        let reply = reply(text);
        format!("{:?}", reply.value())
    };
    let debug = |value: Value<'_>| format!("{value:?}");
    assert_eq!(value("+OK\r\n"), debug(Value::Simple(b"OK")));
    assert_eq!(value("-ERR x\r\n"), debug(Value::Error(b"ERR x")));
    assert_eq!(value("!5\r\nERR x\r\n"), debug(Value::Error(b"ERR x")));
    assert_eq!(value(":-5\r\n"), debug(Value::Integer(-5)));
    assert_eq!(value("$2\r\n\r\n\r\n"), debug(Value::Bulk(b"\r\n")));
    for null in ["_\r\n", "$-1\r\n", "*-1\r\n"] {
        assert_eq!(value(null), debug(Value::Null));
    }
    assert_eq!(value(",-inf\r\n"), debug(Value::Double(f64::NEG_INFINITY)));
    assert_eq!(value(",1.5e3\r\n"), debug(Value::Double(1500.0)));
    assert_eq!(value("#f\r\n"), debug(Value::Boolean(false)));
    assert_eq!(value("(-12\r\n"), debug(Value::BigNumber(b"-12")));
    assert_eq!(value("=5\r\nmkd:#\r\n"), debug(Value::Verbatim(b"mkd", b"#")));
    let (one, two) = (Value::Integer(1), Value::Integer(2));
    assert_eq!(
        value("|1\r\n+x\r\n+y\r\n*2\r\n:1\r\n|1\r\n+a\r\n|1\r\n:1\r\n:2\r\n+b\r\n:2\r\n"),
        debug(Value::Array(vec![one.clone(), two.clone()]))
    );
    assert_eq!(value("~1\r\n:1\r\n"), debug(Value::Set(vec![one.clone()])));
    assert_eq!(value(">1\r\n:1\r\n"), debug(Value::Push(vec![one.clone()])));
    assert_eq!(value("%1\r\n:1\r\n:2\r\n"), debug(Value::Map(vec![(one, two)])));
    let deep = "*1\r\n".repeat(60) + ":1\r\n";
    assert_eq!(reply(&deep).value().as_array().map(<[_]>::len), Some(1));

    for map in
        ["%2\r\n+a\r\n:1\r\n$1\r\nb\r\n$1\r\n2\r\n", "*4\r\n+a\r\n:1\r\n$1\r\nb\r\n$1\r\n2\r\n"]
    {
        let map = reply(map);
        let get = |key| map.value().get(key).and_then(Value::as_integer);
        assert_eq!([get("a"), get("b"), get("c")], [Some(1), Some(2), None]);
        assert_eq!(map.value().pairs().count(), 2);
        assert_eq!(map.items().count(), 4);
    }
    let nested = reply("*3\r\n*1\r\n:1\r\n|1\r\n+a\r\n+b\r\n+c\r\n$-1\r\n");
    let items: Vec<_> = nested.items().collect();
    assert_eq!(items, [&b"*1\r\n:1\r\n"[..], b"|1\r\n+a\r\n+b\r\n+c\r\n", b"$-1\r\n"]);
    assert_eq!(reply("+OK\r\n").items().count(), 0);
}

/// What is not decoded may be anything.
#[test]
fn what_is_no_value_reads_as_an_error() {
    for bytes in [
        "",
        "x",
        "+OK",
        "$5\r\nab",
        "*2\r\n:1\r\n",
        ":x\r\n",
        "|1\r\n+a\r\n",
        "*9999999999\r\n",
        "$x\r\n",
        "=1\r\nx\r\n",
    ] {
        let message = Message::raw(BytesMut::from(bytes));
        assert_eq!(message.value(), Value::Error(b"ERR not a value"), "{bytes}");
        message.items().for_each(drop);
        let mut translated = message.clone();
        translated.translate(Version::Resp2, &Shape::Flat);
        translated.translate(Version::Resp3, &Shape::Plain);
    }
    let deep = Message::raw(BytesMut::from(&*"*1\r\n".repeat(1_000_000)));
    assert_eq!(deep.value(), Value::Error(b"ERR not a value"));
}

#[test]
fn errors() {
    let error = reply("-WRONGTYPE Operation against\r\n");
    assert!(error.is_error());
    assert_eq!(error.error_code(), Some(&b"WRONGTYPE"[..]));
    assert_eq!(error.error_text(), Some(&b"WRONGTYPE Operation against"[..]));
    let bulk = reply("|1\r\n+a\r\n+b\r\n!8\r\nOOM\r\n no\r\n");
    assert_eq!((bulk.error_code(), bulk.status()), (Some(&b"OOM\r\n"[..]), Status::AppError));
    assert_eq!(reply("-\r\n").error_code(), Some(&b""[..]));
    assert_eq!((reply("+OK\r\n").error_code(), reply("+OK\r\n").error_text()), (None, None));
}

#[test]
fn statuses() {
    use Status::*;
    for (text, status) in [
        ("NOAUTH Authentication required.", Unauthenticated),
        ("WRONGPASS invalid username-password pair or user is disabled.", Unauthenticated),
        ("NOPERM this user has no permissions to run the 'set' command", Denied),
        ("DENIED Redis is running in protected mode", Denied),
        ("BUSY Redis is busy running a script.", Overloaded),
        ("OOM command not allowed when used memory > 'maxmemory'.", Overloaded),
        ("ERR max number of clients reached", Overloaded),
        ("LOADING Redis is loading the dataset in memory", Unavailable),
        ("MASTERDOWN Link with MASTER is down", Unavailable),
        ("CLUSTERDOWN The cluster is down", Unavailable),
        ("NOREPLICAS Not enough good replicas to write.", Unavailable),
        ("MISCONF Redis is configured to save RDB snapshots", Internal),
        ("ERR unknown command 'x', with args beginning with: ", BadRequest),
        ("ERR unknown subcommand 'x'. Try CONFIG HELP.", BadRequest),
        ("ERR wrong number of arguments for 'get' command", BadRequest),
        ("ERR syntax error", BadRequest),
        ("ERR Protocol error: invalid bulk length", BadRequest),
        ("ERR value is not an integer or out of range", AppError),
        ("ERR", AppError),
        ("", AppError),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", AppError),
        ("EXECABORT Transaction discarded because of previous errors.", AppError),
        ("NOSCRIPT No matching script. Please use EVAL.", AppError),
        ("MOVED 3999 127.0.0.1:6381", AppError),
        ("ASK 3999 127.0.0.1:6381", AppError),
        ("TRYAGAIN Multiple keys request during rehashing of slot", AppError),
        ("CROSSSLOT Keys in request don't hash to the same slot", AppError),
        ("READONLY You can't write against a read only replica.", AppError),
        ("OOMX", AppError),
        ("ERR wiremesh: no", AppError),
        ("ERR wiremesh XX: no", AppError),
        ("ERR wiremesh UT: too late", Timeout),
        ("BUSY wiremesh UO: full", Overloaded),
    ] {
        assert_eq!(reply(format!("-{text}\r\n")).status(), status, "{text}");
        assert_eq!(reply(format!("!{}\r\n{text}\r\n", text.len())).status(), status, "{text}");
    }
    assert_eq!(reply("$6\r\nNOAUTH\r\n").status(), Ok);
    assert_eq!(request("-NOAUTH x\r\n").status(), Ok, "a request is none");
}

#[test]
fn the_proxys_own_words() {
    let says = |failure: Failure| {
        let reply = Redis::default().reply(&None, &failure).unwrap();
        let arrived = message(Peer::Upstream, &encoded(&reply));
        assert_eq!((arrived.status(), arrived.kind()), (failure.status, Kind::Response));
        String::from_utf8(encoded(&reply)).unwrap()
    };
    let of = |reason| says(Failure::new(reason, "why"));
    assert_eq!(of(Reason::Timeout), "-ERR wiremesh UT: why\r\n");
    assert_eq!(of(Reason::Overloaded), "-BUSY wiremesh UO: why\r\n");
    assert_eq!(of(Reason::RateLimited), "-BUSY wiremesh RL: why\r\n");
    assert_eq!(of(Reason::Denied), "-NOPERM wiremesh DN: why\r\n");
    assert_eq!(of(Reason::UpstreamReset), "-ERR wiremesh UC: why\r\n");
    assert_eq!(of(Reason::Direct), "+why\r\n");
    let direct = |status| says(Failure { status, ..Failure::new(Reason::Direct, "a\r\nb") });
    assert_eq!(direct(Status::NotFound), "-ERR wiremesh DI not_found: a  b\r\n");
    assert_eq!(direct(Status::Unauthenticated), "-NOAUTH wiremesh DI unauthenticated: a  b\r\n");
}

#[test]
fn translation() {
    let resp2 = |text: &str, shape: Shape| {
        let mut message = reply(text);
        message.translate(Version::Resp2, &shape);
        let bytes = encoded(&message);
        // It is one whole value.
        assert_eq!(encoded(&self::reply(&bytes)), bytes);
        String::from_utf8(bytes).unwrap()
    };
    let plain = |text: &str| resp2(text, Shape::Plain);
    for same in ["+OK\r\n", "-ERR x\r\n", ":1\r\n", "$1\r\na\r\n", "*2\r\n:1\r\n*0\r\n", "$-1\r\n"]
    {
        assert_eq!(plain(same), same);
    }
    assert_eq!(plain("%1\r\n+a\r\n~1\r\n#t\r\n"), "*2\r\n+a\r\n*1\r\n:1\r\n");
    assert_eq!(
        plain("*4\r\n,1.5\r\n(12\r\n=7\r\ntxt:abc\r\n!3\r\nE\r\n\r\n"),
        "*4\r\n$3\r\n1.5\r\n$2\r\n12\r\n$3\r\nabc\r\n-E  \r\n"
    );
    assert_eq!(plain(">2\r\n+message\r\n#f\r\n"), "*2\r\n+message\r\n:0\r\n");
    assert_eq!(
        plain("|1\r\n+a\r\n+b\r\n*2\r\n_\r\n|1\r\n+c\r\n|0\r\n+d\r\n:1\r\n"),
        "*2\r\n$-1\r\n:1\r\n"
    );
    assert_eq!(plain("|1\r\n+a\r\n+b\r\n+OK\r\n"), "+OK\r\n");
    assert_eq!(resp2("_\r\n", Shape::NoArray), "*-1\r\n");
    assert_eq!(resp2("*2\r\n*1\r\n,1\r\n_\r\n", Shape::NoArray), "*2\r\n*1\r\n$1\r\n1\r\n*-1\r\n");
    assert_eq!(
        resp2("*2\r\n*2\r\n+a\r\n,1\r\n*2\r\n+b\r\n,2\r\n", Shape::Flat),
        "*4\r\n+a\r\n$1\r\n1\r\n+b\r\n$1\r\n2\r\n"
    );
    assert_eq!(resp2("*2\r\n+a\r\n,1\r\n", Shape::Flat), "*2\r\n+a\r\n$1\r\n1\r\n");
    assert_eq!(resp2("_\r\n", Shape::Flat), "$-1\r\n");
    assert_eq!(resp2("-WRONGTYPE\r\n", Shape::Flat), "-WRONGTYPE\r\n");
    assert_eq!(resp2("%1\r\n+s\r\n*1\r\n_\r\n", Shape::Pairs), "*1\r\n*2\r\n+s\r\n*1\r\n*-1\r\n");
    assert_eq!(resp2("_\r\n", Shape::Pairs), "*-1\r\n");
    assert_eq!(resp2("*2\r\n_\r\n_\r\n", Shape::LastArray), "*2\r\n$-1\r\n*-1\r\n");
    let each = || Shape::Each(vec![Shape::Plain, Shape::NoArray, Shape::Flat]);
    assert_eq!(resp2("_\r\n", each()), "*-1\r\n");
    assert_eq!(
        resp2("*4\r\n_\r\n_\r\n*1\r\n*1\r\n:1\r\n_\r\n", each()),
        "*4\r\n$-1\r\n*-1\r\n*1\r\n:1\r\n$-1\r\n"
    );

    let mut message = reply("*3\r\n$-1\r\n*-1\r\n*1\r\n$3\r\n$-1\r\n");
    message.translate(Version::Resp3, &Shape::Plain);
    assert_eq!(encoded(&message), b"*3\r\n_\r\n_\r\n*1\r\n$3\r\n$-1\r\n");
}
