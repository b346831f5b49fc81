//! Names for people.

use std::sync::LazyLock;

use crate::command::{COMMANDS, Command};

/// The command's name in upper case, `CONFIG GET` for a subcommand.
pub(crate) fn title(command: &'static Command) -> &'static str {
    let titles = &*TITLES;
    let found = titles.binary_search_by_key(&address(command), |(address, _)| *address);
    found.ok().and_then(|at| titles.get(at)).map_or(command.name, |(_, title)| title)
}

/// By the commands' addresses, in order.
static TITLES: LazyLock<Vec<(usize, String)>> = LazyLock::new(|| {
    let all =
        COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands));
    let title = |command: &Command| command.name.replace('|', " ").to_ascii_uppercase();
    let mut titles: Vec<_> = all.map(|command| (address(command), title(command))).collect();
    titles.sort_unstable();
    titles
});

fn address(command: &Command) -> usize {
    std::ptr::from_ref(command).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::find;

    #[test]
    fn titles() {
        let title = |name: &str, sub: Option<&str>| {
            title(find(name.as_bytes(), sub.map(str::as_bytes)).unwrap())
        };
        assert_eq!(title("get", None), "GET");
        assert_eq!(title("config", Some("get")), "CONFIG GET");
        assert_eq!(title("config", Some("nosuch")), "CONFIG");
        for command in COMMANDS.iter().flat_map(|command| command.subcommands) {
            assert_eq!(super::title(command), command.name.to_uppercase().replace('|', " "));
        }
    }
}
