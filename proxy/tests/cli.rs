//! The command line, as a person meets it: what the binary prints, and its exit codes.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

struct Done {
    code: i32,
    out: String,
    err: String,
}

fn wiremesh(args: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_wiremesh"))
        .args(args)
        .env_remove("HELLO")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Done {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// A file that is there as long as the directory.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wiremesh.yaml");
    fs::write(&path, text).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

const WRONG: &str = "\
listeners:
  - name: bolt
    address: 127.0.0.1:12220
    protocols: [bolt]
    routes:
      - name: all
        clutser: hello
clusters:
  - name: hello
    endpoints: [127.0.0.1]
";

#[test]
fn check_says_what_is_fine() {
    let mut examples: Vec<String> = fs::read_dir(docs().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        // It names files that are not there.
        .filter(|path: &String| !path.ends_with("everything.yaml"))
        .collect();
    examples.sort();
    let mut args = vec!["check"];
    args.extend(examples.iter().map(String::as_str));
    let done = wiremesh(&args);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(done.out.lines().count(), examples.len());
    assert!(done.out.contains("minimal.yaml: ok (1 listener, 1 cluster)\n"), "{}", done.out);
}

#[test]
fn check_reads_the_files_of_tls() {
    let path = docs().join("examples/everything.yaml").to_str().unwrap().to_owned();
    let done = wiremesh(&["check", &path]);
    let told =
        |what| format!("{path}: {what} cannot be read: No such file or directory (os error 2)");
    let expected = [
        told("listener bolt: tls.certificate: /etc/wiremesh/server.pem"),
        told("cluster hello: tls.ca: /etc/wiremesh/servers.pem"),
    ];
    assert_eq!(
        (done.code, done.err.lines().collect::<Vec<_>>()),
        (1, expected.iter().map(String::as_str).collect())
    );
}

#[test]
fn check_and_run_tell_every_mistake() {
    let (_dir, path) = file(WRONG);
    let expected = format!(
        "{path}:7:9: unknown field \"clutser\"; did you mean \"cluster\"?\n\
         {path}:10:17: \"127.0.0.1\" has no port; write 127.0.0.1:12200\n\
         {path}: 2 mistakes\n"
    );
    for args in [["check", &path].as_slice(), &["run", "-c", &path]] {
        let done = wiremesh(args);
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (1, "", expected.as_str()));
    }
}

#[test]
fn a_file_that_is_fine_beside_one_that_is_not() {
    let (_dir, path) = file(WRONG);
    let minimal = docs().join("examples/minimal.yaml");
    let done = wiremesh(&["check", &path, minimal.to_str().unwrap(), "/no/such/file"]);
    assert_eq!(done.code, 1);
    assert!(done.out.ends_with("minimal.yaml: ok (1 listener, 1 cluster)\n"), "{}", done.out);
    assert!(done.err.contains("/no/such/file: cannot be read: No such file"), "{}", done.err);
}

#[test]
fn schema_is_the_published_one() {
    let done = wiremesh(&["schema"]);
    assert_eq!(done.code, 0);
    assert_eq!(done.out, fs::read_to_string(docs().join("wiremesh.schema.json")).unwrap());
}

#[test]
fn protocols_are_listed() {
    let done = wiremesh(&["protocols"]);
    assert_eq!(done.code, 0);
    let mut rows = done.out.lines();
    let header: Vec<&str> = rows.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["PROTOCOL", "REPLIES", "HEADERS", "HEARTBEAT", "DETECTION"]);
    fn cells(row: &str) -> Vec<&str> {
        row.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }
    assert_eq!(cells(rows.next().unwrap()), ["bolt", "by id", "read, edit", "yes", "first bytes"]);
    let mysql = ["mysql", "session", "read", "no", "no: the server speaks first"];
    assert_eq!(cells(rows.next().unwrap()), mysql);
    assert_eq!(cells(rows.next().unwrap()), ["redis", "in order", "read", "yes", "first bytes"]);
}

#[test]
fn proxy_takes_seeds_of_a_cluster() {
    let args = ["proxy", "redis", "127.0.0.1:6380", "10.0.0.1:6379", "10.0.0.2:6379", "--cluster"];
    let done = wiremesh(&[&args[..], &["--print-config"]].concat());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert!(done.out.contains("topology: cluster"), "{}", done.out);
    let topology = wiremesh(&[&args[..5], &["--topology", "cluster", "--print-config"]].concat());
    assert_eq!(topology.out, done.out);
    assert_eq!(wiremesh(&[&args[..], &["--topology", "replicated"]].concat()).code, 2);
}

#[test]
fn proxy_prints_a_configuration_that_is_fine() {
    let done = wiremesh(&[
        "proxy",
        "bolt",
        "127.0.0.1:12220",
        "127.0.0.1:12200",
        "[::1]:12201",
        "--workers",
        "2",
        "--admin",
        "127.0.0.1:9901",
        "--balance",
        "peak_ewma",
        "--print-config",
    ]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(
        done.out,
        "\
workers: 2
admin: 127.0.0.1:9901
listeners:
- name: bolt
  address: 127.0.0.1:12220
  protocols:
  - bolt
  routes:
  - name: all
    cluster: upstream
clusters:
- name: upstream
  endpoints:
  - 127.0.0.1:12200
  - \"[::1]:12201\"
  balance: peak_ewma
"
    );
    let (_dir, path) = file(&done.out);
    assert_eq!(wiremesh(&["check", &path]).code, 0);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for (args, said) in [
        (
            ["proxy", "blot", "127.0.0.1:1", "a:1"].as_slice(),
            "unknown protocol \"blot\"; did you mean \"bolt\"?",
        ),
        (&["proxy", "bolt", "localhost:1", "a:1"], "not a name such as \"localhost\""),
        (
            &["proxy", "bolt", "127.0.0.1", "a:1"],
            "\"127.0.0.1\" has no port; write 127.0.0.1:12200",
        ),
        (
            &["proxy", "bolt", "127.0.0.1:1", "a:1", "--workers", "0"],
            "0 is too small; the least is 1",
        ),
        (&["proxy", "bolt", "127.0.0.1:1"], "<UPSTREAM>"),
        (&["demo", "--for", "10"], "\"10\" has no unit; write 10s or 10ms"),
        (&["check"], "<FILE>"),
        (&["run"], "--config <FILE>"),
        (&["chek"], "'check'"),
        (&["completions", "dos"], "zsh"),
        (&[], "Usage: wiremesh <COMMAND>"),
    ] {
        let done = wiremesh(args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.err.contains(said), "{args:?}: {}", done.err);
        assert_eq!(done.out, "");
    }
}

#[test]
fn help_teaches() {
    let done = wiremesh(&["--help"]);
    assert_eq!(done.code, 0);
    for command in ["run", "check", "schema", "protocols", "demo", "proxy", "completions"] {
        assert!(done.out.contains(&format!("\n  {command} ")), "{command}");
        let help = wiremesh(&["help", command]);
        assert_eq!(help.code, 0);
        let teaches = help.out.contains("Example") || help.out.contains("Columns:");
        assert!(teaches, "{command}: {}", help.out);
    }
}

#[test]
fn version_has_the_commit_where_there_is_one() {
    let done = wiremesh(&["--version"]);
    assert_eq!(done.code, 0);
    let version = done.out.strip_prefix(concat!("wiremesh ", env!("CARGO_PKG_VERSION"))).unwrap();
    let commit = version.trim().trim_start_matches('(').trim_end_matches(')');
    assert!(commit.bytes().all(|b| b.is_ascii_hexdigit()), "{}", done.out);
    assert!(commit.is_empty() || commit.len() >= 12, "{}", done.out);
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let done = wiremesh(&["completions", shell]);
        assert_eq!(done.code, 0);
        assert!(done.out.contains("protocols"), "{shell}");
    }
}

#[test]
fn runs_until_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("mesh.sock");
    let listen = format!("unix:{}", socket.display());
    let (_dir, path) = file(
        &WRONG
            .replace("clutser", "cluster")
            .replace("[127.0.0.1]", "[127.0.0.1:1]")
            .replace("127.0.0.1:12220", &listen),
    );
    for args in [["run", "-c", &path].as_slice(), &["proxy", "bolt", &listen, "127.0.0.1:1"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wiremesh"))
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "{args:?} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        let pid = child.id().to_string();
        // With or without a file, SIGHUP is no reason to end.
        for signal in ["-HUP", "-TERM"] {
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        }
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
        }
        let done = child.wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {log}");
    }
}

#[test]
fn options_of_the_protocol() {
    let redis = ["proxy", "redis", "127.0.0.1:6380", "127.0.0.1:6379", "--cluster"];
    let with = |option| wiremesh(&[&redis[..], &["--option", option, "--print-config"]].concat());
    let done = with("face=transparent");
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert!(done.out.contains("face: transparent\n"), "{}", done.out);
    let done = with("face=open");
    assert_eq!(done.code, 2);
    assert!(done.err.contains("redis option \"face\": "), "{}", done.err);
    assert_eq!(with("face").code, 2);
}
