//! Keys and slots, as a server told them.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use wiremesh_redis::command::{COMMANDS, Flags, KeyError, KeyFlags, find};
use wiremesh_redis::slot::slot;

fn lines(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/redis").join(name);
    let text = fs::read_to_string(path).unwrap();
    let split = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
    text.lines().map(|line| split(line).unwrap()).collect()
}

#[test]
fn the_keys_are_the_server_s() {
    let lines = lines("getkeys.txt");
    assert!(lines.len() > 400, "{}", lines.len());
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, answer) in &lines {
        let args: Vec<_> =
            line.split(' ').map(|arg| if arg == "\"\"" { b"" } else { arg.as_bytes() }).collect();
        let Some(command) = find(args[0], args.get(1).copied()) else { panic!("{line}") };
        let mut keys = Vec::new();
        let result = command.visit_keys(
            args.len(),
            |at| args.get(at).copied(),
            |key| {
                let flags: Vec<_> = key.flags.names().collect();
                let name = std::str::from_utf8(args[key.index]).unwrap();
                keys.push(format!("{name}:{}", flags.join(",")));
                ControlFlow::Continue(())
            },
        );
        let (got, takes) = (keys.join(" "), command.takes(args.len()));
        let right = match answer.strip_prefix('!') {
            // It is executed, and creates its only key.
            Some(_) if line.starts_with("pfmerge") && args.len() == 2 => {
                got == format!("{}:RW,access,insert", line.split(' ').next_back().unwrap())
            }
            // GETKEYS tells of no keys, or of wrong ones, where EVAL itself refuses the number.
            None if result == Err(KeyError) => {
                command.flags.contains(Flags::NO_MANDATORY_KEYS)
                    && ["", "k:"].contains(&answer.as_str())
            }
            None => {
                seen.insert(command.name);
                takes && result == Ok(()) && got == *answer
            }
            Some("Invalid arguments specified for command") => takes && result == Err(KeyError),
            Some("The command has no key arguments") => result == Ok(()) && got.is_empty(),
            // The container itself has a table entry, too, and a name of one word only is GETKEYS's own mistake.
            Some(text) if text.contains("number of arguments") => !takes || args.len() == 1,
            Some(_) => false,
        };
        if !right {
            wrong.push(format!("{line}: {answer}; here {takes} {result:?} {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let with_keys =
        COMMANDS.iter().flat_map(|command| [command].into_iter().chain(command.subcommands));
    let with_keys = with_keys
        .filter(|command| command.keys.iter().any(|spec| !spec.flags.contains(KeyFlags::NOT_KEY)));
    let missing: Vec<_> =
        with_keys.map(|command| command.name).filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_slots_are_the_server_s() {
    let lines = lines("slots.txt");
    assert!(lines.len() > 150, "{}", lines.len());
    for (key, expected) in lines {
        assert_eq!(slot(key.as_bytes()).to_string(), expected, "{key:?}");
    }
}
