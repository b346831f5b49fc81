//! The demo, as a person starts it: every request is answered while endpoints die and return.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

/// The number before this word on the summary's lines.
fn figure(out: &str, word: &str) -> u64 {
    let words: Vec<&str> = out
        .lines()
        .filter_map(|line| line.strip_prefix("summary:"))
        .flat_map(str::split_whitespace)
        .collect();
    let at = words.iter().position(|w| w.trim_matches([',', ';']) == word);
    let at = at.unwrap_or_else(|| panic!("no {word} in the summary of {out}"));
    words[at - 1].replace(',', "").parse().unwrap_or_else(|e| panic!("{word}: {e} in {out}"))
}

/// What the demo's Redis server answers to `SET` and `GET`.
fn redis(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(b"SET greeting hello\r\nGET greeting\r\nQUIT\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is closed behind QUIT");
    answer.strip_suffix("+OK\r\n").expect("QUIT is answered").to_owned()
}

#[test]
fn endpoints_die_and_return_and_no_request_fails() {
    let files = tempfile::tempdir().expect("a directory");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_wiremesh"))
        .args(["demo", "--for", "8s", "--rate", "500"])
        .env("TMPDIR", files.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let (mut out, mut from_outside, mut from_redis) = (String::new(), None, None);
    for line in BufReader::new(demo.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        // The command that it suggests does what it says, once there is traffic.
        if line.contains("requests/s   p50") && from_outside.is_none() {
            let command = out.lines().find(|line| line.starts_with("bash -c")).expect("suggested");
            let done = Command::new("sh").args(["-c", command]).output().expect("a shell");
            from_outside = Some(String::from_utf8_lossy(&done.stdout).into_owned());
            let port = out.lines().find_map(|line| line.strip_prefix("redis-cli -p "));
            let port = port.and_then(|rest| rest.split(' ').next()).expect("suggested");
            from_redis = Some(redis(port.parse().expect("a port")));
        }
        out.push_str(&line);
        out.push('\n');
    }
    assert_eq!(demo.wait().expect("it ends").code(), Some(0), "{out}");

    assert!(figure(&out, "requests") > 0, "{out}");
    for fault in ["failed", "wrong", "lost"] {
        assert_eq!(figure(&out, fault), 0, "{fault} in {out}");
    }
    assert_eq!(figure(&out, "requests"), figure(&out, "answered"), "{out}");
    assert!(figure(&out, "kills") >= 1, "{out}");
    assert!(figure(&out, "returns") >= 1, "{out}");
    for event in [" killed, ", " is back"] {
        assert!(out.contains(event), "{event:?} in {out}");
    }
    let answer = from_outside.expect("there was traffic");
    assert!(answer.contains(r#""nonce":"hello-from-outside""#), "{answer:?}");

    assert_eq!(from_redis.as_deref(), Some("+OK\r\n$5\r\nhello\r\n"));
    for command in ["GET", "INCR", "EXEC", "BLPOP", "PUBLISH", "SUBSCRIBE"] {
        let row = |line: &str| line.split_whitespace().take(2).eq(["redis", command]);
        assert!(out.lines().any(row), "no row of {command} in {out}");
    }

    // The file it ran with is there to be read, and is without mistakes.
    let file =
        out.lines().rev().find_map(|line| line.strip_prefix("the configuration it ran with: "));
    let check = Command::new(env!("CARGO_BIN_EXE_wiremesh"))
        .args(["check", file.expect("said")])
        .output()
        .expect("check runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
