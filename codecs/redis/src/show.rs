//! What people who look at the traffic are shown of a request: its arguments, shortened and without secrets, and its keys.

use std::ops::ControlFlow;

use wiremesh::{Subject, Summary};

use crate::{Message, command::Command, spread::access};

/// The first arguments of a request. What is or could be a password is not shown, and of commands that nobody knows
/// nothing but the name: one that was misspelt may have one.
pub(crate) fn summarize(request: &Message, summary: &mut Summary) {
    let shown = match request.command() {
        Some(command) => shown(command, request),
        None => 1,
    };
    for (n, arg) in request.args().enumerate() {
        if summary.is_full() {
            return summary.leave_out(request.argc().saturating_sub(n));
        }
        if n < shown {
            summary.word(arg);
        } else {
            // Not even how many there are.
            return summary.secret();
        }
    }
}

/// How many arguments may be shown, the command's name included.
fn shown(command: &Command, request: &Message) -> usize {
    match command.name {
        "auth" => 1,
        // `HELLO 3 AUTH user password`
        "hello" => 2,
        // The user's rules, passwords among them.
        "acl|setuser" => 3,
        // `requirepass`, `masterauth`, and whatever modules have.
        "config|set" => 3,
        // `MODULE LOAD path arguments`
        "module|load" | "module|loadex" => 3,
        // `MIGRATE host port key database timeout COPY REPLACE AUTH password KEYS ...`
        "migrate" => {
            let is = |arg: &[u8], word: &[u8]| arg.eq_ignore_ascii_case(word);
            let secret = |arg: &[u8]| is(arg, b"auth") || is(arg, b"auth2");
            let auth = request.args().skip(6).position(secret);
            auth.map_or(usize::MAX, |at| at.saturating_add(7))
        }
        // Containers of commands that a version not known here may have, and what was misspelt.
        _ if !command.subcommands.is_empty() => 2,
        _ => usize::MAX,
    }
}

/// The keys of a request.
pub(crate) fn subjects(request: &Message, visit: &mut dyn FnMut(Subject<'_>)) {
    let Some(command) = request.command() else { return };
    let access = access(command);
    let args = request.indexed();
    let arg = |n| args.get(n);
    // Where the keys of a command have a value each.
    let pairs = matches!(command.name, "mset" | "msetnx");
    let mut keys = Vec::new();
    let _ = command.visit_keys(request.argc(), arg, |key| {
        keys.push(key.index);
        ControlFlow::Continue(())
    });
    let alone = keys.len() == 1;
    for index in keys {
        let Some(name) = arg(index) else { continue };
        let bytes = match arg(index.saturating_add(1)) {
            _ if alone => request.bytes().len(),
            Some(value) if pairs => name.len().saturating_add(value.len()),
            _ => 0,
        };
        visit(Subject { name, access, bytes });
    }
}

#[cfg(test)]
mod tests {
    use wiremesh::correlation::Access;

    use super::*;
    use crate::command::COMMANDS;

    fn summary(line: &str) -> String {
        let mut summary = Summary::default();
        summarize(&Message::request(line.split(' ')), &mut summary);
        summary.to_string()
    }

    #[test]
    fn requests_are_shown_without_secrets() {
        for (line, shown) in [
            ("GET k", "GET k"),
            ("set k v EX 10", "set k v EX 10"),
            ("PING", "PING"),
            ("AUTH s3cret", "AUTH (redacted)"),
            ("auth user s3cret", "auth (redacted)"),
            ("HELLO", "HELLO"),
            ("HELLO 3", "HELLO 3"),
            ("HELLO 3 AUTH user s3cret SETNAME n", "HELLO 3 (redacted)"),
            ("ACL SETUSER bob on >s3cret ~*", "ACL SETUSER bob (redacted)"),
            ("ACL GETUSER bob", "ACL GETUSER bob"),
            ("ACL SETUSRE bob >s3cret", "ACL SETUSRE (redacted)"),
            ("CONFIG SET requirepass s3cret", "CONFIG SET requirepass (redacted)"),
            ("CONFIG SET maxmemory 1 masterauth s3cret", "CONFIG SET maxmemory (redacted)"),
            ("CONFIG GET maxmemory", "CONFIG GET maxmemory"),
            ("MIGRATE h 1 k 0 100 COPY", "MIGRATE h 1 k 0 100 COPY"),
            (
                "MIGRATE h 1 auth 0 100 COPY auth s3cret",
                "MIGRATE h 1 auth 0 100 COPY auth (redacted)",
            ),
            (
                "MIGRATE h 1  0 100 AUTH2 user s3cret KEYS a",
                "MIGRATE h 1 \"\" 0 100 AUTH2 (redacted)",
            ),
            ("MODULE LOAD /m.so s3cret", "MODULE LOAD /m.so (redacted)"),
            ("AUHT s3cret", "AUHT (redacted)"),
            ("SENTINEL SET m auth-pass s3cret", "SENTINEL (redacted)"),
        ] {
            assert_eq!(summary(line), shown, "{line}");
        }
    }

    /// In which way ever a command that takes a password is written, it is not there.
    #[test]
    fn secrets_are_never_shown() {
        let secret = "s3cret";
        for line in
            ["AUTH X", "AUTH u X", "HELLO 2 AUTH u X", "HELLO X", "HELLO 3 SETNAME n AUTH u X"]
        {
            // The version of HELLO is the one thing before the secret.
            if line != "HELLO X" {
                assert!(!summary(&line.replace('X', secret)).contains(secret), "{line}");
            }
        }
        let takes = ["auth", "hello", "acl|setuser", "config|set", "module|load", "module|loadex"];
        let all = COMMANDS.iter().flat_map(|it| std::iter::once(it).chain(it.subcommands));
        for command in all.filter(|command| takes.contains(&command.name)) {
            let first = if command.name == "auth" { 0 } else { 1 };
            for before in first..40 {
                let words: String = (0..before).map(|n| format!("w{n} ")).collect();
                let line = format!("{} {words}{secret}", command.name.replace('|', " "));
                assert!(!summary(&line).contains(secret), "{line}");
                assert!(!summary(&line.to_uppercase()).contains(&secret.to_uppercase()), "{line}");
            }
        }
        for option in ["AUTH", "auth2 u"] {
            for before in 0..20 {
                let words = "COPY ".repeat(before);
                let line = format!("MIGRATE h 1 k 0 9 {words}{option} {secret} KEYS a b");
                assert!(!summary(&line).contains(secret), "{line}");
            }
        }
    }

    #[test]
    fn the_keys_are_told_with_their_bytes() {
        let of = |line: &str| {
            let request = Message::request(line.split(' '));
            let mut seen = Vec::new();
            subjects(&request, &mut |subject| {
                let name = String::from_utf8(subject.name.to_vec()).unwrap();
                seen.push((name, subject.access == Access::Read, subject.bytes));
            });
            seen
        };
        let key = |name: &str, reads: bool, bytes: usize| (name.to_owned(), reads, bytes);
        assert_eq!(of("GET k"), [key("k", true, 20)]);
        assert_eq!(of("SET k vvv"), [key("k", false, 29)]);
        assert_eq!(of("MGET a b"), [key("a", true, 0), key("b", true, 0)]);
        assert_eq!(of("MSET a 1 b 22"), [key("a", false, 2), key("b", false, 3)]);
        assert_eq!(of("EVAL x 2 a b c"), [key("a", false, 0), key("b", false, 0)]);
        assert_eq!(of("PING"), []);
        assert_eq!(of("NOSUCH k"), []);
    }
}
