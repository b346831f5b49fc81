//! Which arguments of a command are keys.

use std::ops::{ControlFlow, Range};

use super::{Begin, Command, Find, Flags, KeyFlags, KeySpec};

/// A key among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which argument it is; 0 is the command's name.
    pub index: usize,
    /// What becomes of it.
    pub flags: KeyFlags,
}

/// The arguments do not allow to tell the keys. The server refuses to execute such a command, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid arguments: the keys cannot be told")]
pub struct KeyError;

impl Command {
    /// Whether this is as many arguments as it takes; its name (and subcommand) counted.
    pub fn takes(&self, argc: usize) -> bool {
        match usize::try_from(self.arity) {
            Ok(exactly) => argc == exactly,
            Err(_) => usize::try_from(self.arity.unsigned_abs()).is_ok_and(|least| argc >= least),
        }
    }

    /// Which argument is its first key; `None` too where that cannot be told. It may be told where [`keys`](Self::keys) fails.
    #[inline]
    pub fn first_key<'a>(
        &self,
        argc: usize,
        arg: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Option<usize> {
        let mut first = None;
        let _ = self.visit_keys(argc, arg, |key| {
            first = Some(key.index);
            ControlFlow::Break(())
        });
        first
    }

    /// Which argument says to which slot of a cluster it goes: its first key, or its first sharded channel.
    #[inline]
    pub fn first_routed<'a>(
        &self,
        argc: usize,
        arg: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Option<usize> {
        self.first_key(argc, arg).or_else(|| self.shard_channels(argc).next())
    }

    /// Whether it has one key, whatever its arguments are, as most commands have.
    #[inline]
    pub(crate) fn has_one_key(&self) -> bool {
        let [KeySpec { begin: Begin::Index(_), find: Find::Range { last: 0, .. }, flags, .. }] =
            self.keys
        else {
            return false;
        };
        !flags.intersects(KeyFlags::NOT_KEY.or(KeyFlags::INCOMPLETE))
    }

    /// Which arguments are keys, in the order of `COMMAND GETKEYS`. A key that is named twice is there twice.
    pub fn keys(&self, args: &[&[u8]]) -> Result<Vec<usize>, KeyError> {
        let mut keys = Vec::new();
        self.visit_keys(
            args.len(),
            |at| args.get(at).copied(),
            |key| {
                keys.push(key.index);
                ControlFlow::Continue(())
            },
        )?;
        Ok(keys)
    }

    /// Shows `visit` the keys, one by one, until it breaks off.
    ///
    /// Patterns of `SORT`'s `BY` and `GET` are no keys, though they lead to some.
    pub fn visit_keys<'a>(
        &self,
        argc: usize,
        arg: impl Fn(usize) -> Option<&'a [u8]>,
        mut visit: impl FnMut(Key) -> ControlFlow<()>,
    ) -> Result<(), KeyError> {
        if self.name == "migrate" {
            let flags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
            for index in migrate_keys(argc, &arg)? {
                if visit(Key { index, flags }).is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let optional = self.flags.contains(Flags::NO_MANDATORY_KEYS);
        let mut found = false;
        for spec in self.keys {
            if spec.flags.contains(KeyFlags::NOT_KEY) {
                continue;
            }
            let (first, last, step) = match spec.span(argc, &arg) {
                Span::Keys { first, last, step } => (first, last, step),
                Span::Nothing => continue,
                Span::Empty if found => continue,
                Span::Zero if optional => continue,
                Span::Empty | Span::Zero | Span::Invalid => return Err(KeyError),
            };
            found = true;
            let flags = if spec.flags.contains(KeyFlags::VARIABLE_FLAGS) {
                actual_flags(self.name, &arg)
            } else {
                spec.flags
            };
            for index in (first..=last).step_by(step.max(1)) {
                if visit(Key { index, flags }).is_break() {
                    return Ok(());
                }
            }
        }
        if self.name == "sort"
            && let Some(index) = sort_options(argc, &arg).store
        {
            let _ = visit(Key { index, flags: KeyFlags::OW.or(KeyFlags::UPDATE) });
        }
        // Of those in the table it is known where the others are.
        if self.is_learnt() && !self.tells_keys() {
            return Err(KeyError);
        }
        let needed = |spec: &KeySpec| !spec.flags.contains(KeyFlags::NOT_KEY);
        if found || optional || !self.keys.iter().any(needed) { Ok(()) } else { Err(KeyError) }
    }

    /// Whether all of its keys can be told by its specifications.
    fn tells_keys(&self) -> bool {
        self.keys.iter().all(|spec| {
            let unknown = spec.begin == Begin::Unknown || spec.find == Find::Unknown;
            !unknown && !spec.flags.contains(KeyFlags::INCOMPLETE)
        })
    }

    /// Which arguments are channels that belong to slots, as keys do, though they are none.
    pub fn shard_channels(&self, argc: usize) -> impl Iterator<Item = usize> + use<> {
        let mut channels = 0..0;
        if let [KeySpec { flags, begin: Begin::Index(first), find: Find::Range { last, .. } }] =
            self.keys
            && flags.contains(KeyFlags::NOT_KEY)
        {
            channels =
                if *last < 0 { *first..argc } else { *first..argc.min(first.saturating_add(1)) };
        }
        channels
    }
}

/// What a key specification comes to.
#[derive(Clone, Copy)]
enum Span {
    Keys {
        first: usize,
        last: usize,
        step: usize,
    },
    /// The keys' place is there, and nothing is in it.
    Empty,
    /// The number of keys is 0.
    Zero,
    /// The keyword is not there.
    Nothing,
    Invalid,
}

impl KeySpec {
    #[inline]
    fn span<'a>(&self, argc: usize, arg: &impl Fn(usize) -> Option<&'a [u8]>) -> Span {
        let Some(first) = self.begin.position(argc, arg) else { return Span::Nothing };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let Some(end) = range_end(argc, first, last, limit) else { return Span::Invalid };
                (first, end, step)
            }
            Find::Count { at, first: offset, step } => {
                let number = match arg(first.saturating_add(at)).and_then(number) {
                    None => return Span::Invalid,
                    Some(0) => return Span::Zero,
                    Some(number) => number,
                };
                let others = number.saturating_sub(1).saturating_mul(step);
                let first = first.saturating_add(offset);
                (first, first.saturating_add(others), step)
            }
            Find::Unknown => return Span::Nothing,
        };
        if first == argc && last < first {
            return Span::Empty;
        }
        if last < first || last >= argc { Span::Invalid } else { Span::Keys { first, last, step } }
    }
}

/// The last argument of a range that begins at `first`.
fn range_end(argc: usize, first: usize, last: i32, limit: usize) -> Option<usize> {
    match usize::try_from(last) {
        Ok(last) => first.checked_add(last),
        Err(_) if limit <= 1 => argc.checked_add_signed(isize::try_from(last).ok()?),
        Err(_) => {
            let some = argc.checked_sub(first)?.checked_div(limit)?;
            first.checked_add(some)?.checked_add_signed(isize::try_from(last).ok()?)
        }
    }
}

impl Begin {
    /// Where the search for keys begins.
    #[inline]
    fn position<'a>(&self, argc: usize, arg: &impl Fn(usize) -> Option<&'a [u8]>) -> Option<usize> {
        let is = |at: usize, word: &str| {
            arg(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        match *self {
            Self::Index(at) => Some(at),
            Self::Keyword { word, from } => {
                let at = match usize::try_from(from) {
                    // A word behind which nothing follows is none.
                    Ok(from) => (from..argc.saturating_sub(1)).find(|at| is(*at, word)),
                    Err(_) => {
                        let from = argc.checked_add_signed(isize::try_from(from).ok()?)?;
                        (2..=from).rev().find(|at| is(*at, word))
                    }
                };
                at.map(|at| at.saturating_add(1))
            }
            Self::Unknown => None,
        }
    }
}

/// A number of keys, as the server reads numbers.
fn number(text: &[u8]) -> Option<usize> {
    let plain =
        text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0'));
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// What becomes of the key of a command whose arguments decide on that.
fn actual_flags<'a>(name: &str, arg: &impl Fn(usize) -> Option<&'a [u8]>) -> KeyFlags {
    let mut options = (3..).map_while(arg);
    let is = |option: &[u8], word: &str| option.eq_ignore_ascii_case(word.as_bytes());
    let change = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);
    if name == "set" {
        let gets = options.any(|option| is(option, "get"));
        return if gets { change } else { KeyFlags::OW.or(KeyFlags::UPDATE) };
    }
    // BITFIELD: only GETs read only.
    let mut at: usize = 2;
    while let Some(option) = arg(at) {
        if !is(option, "get") {
            return change;
        }
        at = at.saturating_add(3);
    }
    KeyFlags::RO.or(KeyFlags::ACCESS)
}

/// The keys of a `MIGRATE`: the third argument, or, where that is empty, those behind the word `KEYS`. The options are read
/// one after the other, since passwords may be any word.
fn migrate_keys<'a>(
    argc: usize,
    arg: &impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<Range<usize>, KeyError> {
    let mut at: usize = 6;
    while let Some(option) = arg(at) {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        at = at.saturating_add(1);
        if is("keys") {
            return match arg(3) {
                _ if at >= argc => Ok(3..4),
                Some(b"") => Ok(at..argc),
                _ => Err(KeyError),
            };
        }
        let values = if is("auth") {
            1
        } else if is("auth2") {
            2
        } else {
            0
        };
        at = at.saturating_add(values);
    }
    if argc > 3 { Ok(3..4) } else { Err(KeyError) }
}

/// What a `SORT` or `SORT_RO` has among its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SortOptions {
    /// Where the key is that the result goes to: of several, the last.
    pub(crate) store: Option<usize>,
    /// The first option that may make it read other keys.
    pub(crate) foreign: Option<SortOption>,
}

/// An option of `SORT` that may make it read keys which are not among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortOption {
    /// `BY`, with a pattern.
    By,
    /// `GET`, even of `#`.
    Get,
}

/// Reads the options of a `SORT` or `SORT_RO`.
pub(crate) fn sort_options<'a>(
    argc: usize,
    arg: &impl Fn(usize) -> Option<&'a [u8]>,
) -> SortOptions {
    let mut options = SortOptions::default();
    let mut at: usize = 2;
    while let Some(option) = arg(at) {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        let next = at.saturating_add(1);
        let (values, foreign) = if is("limit") {
            (2, None)
        } else if is("store") {
            options.store = (next < argc).then_some(next).or(options.store);
            (1, None)
        } else if is("by") {
            let pattern = arg(next).is_some_and(|pattern| pattern.contains(&b'*'));
            (1, pattern.then_some(SortOption::By))
        } else if is("get") {
            (1, Some(SortOption::Get))
        } else {
            (0, None)
        };
        options.foreign = options.foreign.or(foreign);
        at = next.saturating_add(values);
    }
    options
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::find;
    use super::*;

    fn args(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(|arg| if arg == "\"\"" { b"" } else { arg.as_bytes() }).collect()
    }

    fn keys(line: &str) -> Result<Vec<usize>, KeyError> {
        let args = args(line);
        let command = find(args[0], args.get(1).copied()).unwrap();
        let keys = command.keys(&args);
        let first = command.first_key(args.len(), |at| args.get(at).copied());
        if let Ok(keys) = &keys {
            assert_eq!(first, keys.first().copied(), "{line}");
        }
        keys
    }

    #[test]
    fn of_every_kind() {
        for (line, expected) in [
            ("ping", Ok(&[][..])),
            ("get k", Ok(&[1])),
            ("del a b c", Ok(&[1, 2, 3])),
            ("mset a 1 b 2", Ok(&[1, 3])),
            ("blpop a b 0", Ok(&[1, 2])),
            ("bitop and d a b", Ok(&[2, 3, 4])),
            ("object encoding k", Ok(&[2])),
            ("xgroup create s g 0", Ok(&[2])),
            ("memory usage k", Ok(&[2])),
            ("zunionstore d 2 a b weights 1 2", Ok(&[1, 3, 4])),
            ("zunionstore d 3 a b", Err(KeyError)),
            ("lmpop 2 a b left", Ok(&[2, 3])),
            ("blmpop 0 2 a b left", Ok(&[3, 4])),
            ("lmpop -1 a b left", Err(KeyError)),
            ("lmpop +1 a b left", Err(KeyError)),
            ("lmpop 99999999999999999999 a b left", Err(KeyError)),
            ("lmpop 18446744073709551615 a b left", Err(KeyError)),
            ("eval s 0 a", Ok(&[])),
            ("eval s 2 a b c", Ok(&[3, 4])),
            ("eval s x a", Err(KeyError)),
            ("eval s 2 a", Err(KeyError)),
            ("xread count 2 block 0 streams a b 0 0", Ok(&[6, 7])),
            ("xread count 2", Err(KeyError)),
            ("xreadgroup group streams c streams a 0", Ok(&[5])),
            ("georadius k 1 2 3 m asc store d storedist e", Ok(&[1, 8, 10])),
            ("sort k by w* limit 0 1 get # get x* store d", Ok(&[1, 12])),
            ("sort k get store", Ok(&[1])),
            ("sort k store d store e", Ok(&[1, 5])),
            ("sort_ro k by w*", Ok(&[1])),
            ("migrate h 1 k 0 10", Ok(&[3])),
            ("migrate h 1 k 0 10 auth keys", Ok(&[3])),
            ("migrate h 1 \"\" 0 10 copy auth2 keys keys keys a keys", Ok(&[11, 12])),
            ("migrate h 1 \"\" 0 10 keys keys", Ok(&[7])),
            // The key whose name is empty.
            ("migrate h 1 \"\" 0 10", Ok(&[3])),
            ("migrate h 1 k 0 10 keys a", Err(KeyError)),
            // COMMAND GETKEYS says that this is invalid; the server executes it.
            ("pfmerge d", Ok(&[1])),
        ] {
            assert_eq!(keys(line), expected.map(<[usize]>::to_vec), "{line}");
        }
    }

    #[test]
    fn channels_of_shards_are_no_keys() {
        for (line, expected) in [
            ("ssubscribe a b", &[1, 2][..]),
            ("spublish c m", &[1]),
            ("sunsubscribe", &[]),
            ("sunsubscribe a", &[1]),
            ("subscribe a b", &[]),
            ("publish c m", &[]),
            ("get k", &[]),
        ] {
            let args = args(line);
            let command = find(args[0], None).unwrap();
            assert_eq!(command.shard_channels(args.len()).collect::<Vec<_>>(), expected, "{line}");
            let routed = command.first_routed(args.len(), |at| args.get(at).copied());
            assert_eq!(
                routed,
                expected.first().copied().or_else(|| (line == "get k").then_some(1))
            );
            assert_eq!(command.keys(&args).unwrap().len(), usize::from(line == "get k"));
        }
    }

    #[test]
    fn arity() {
        let takes = |name: &str, argc| find(name.as_bytes(), None).unwrap().takes(argc);
        assert!(takes("get", 2) && !takes("get", 1) && !takes("get", 3));
        assert!(takes("del", 2) && takes("del", 200) && !takes("del", 1));
    }

    #[test]
    fn patterns_of_sort() {
        for (line, expected) in [
            ("sort k by w* get #", Some(SortOption::By)),
            ("sort k by nosort get #", Some(SortOption::Get)),
            ("sort k get x by w*", Some(SortOption::Get)),
            ("sort k limit get by alpha", None),
        ] {
            let args = args(line);
            let options = sort_options(args.len(), &|at| args.get(at).copied());
            assert_eq!(options.foreign, expected, "{line}");
        }
    }

    fn any_arg() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "0",
            "1",
            "2",
            "3",
            "-1",
            "99999999999999999999",
            "18446744073709551615",
            "",
            "k",
            "streams",
            "keys",
            "store",
            "storedist",
            "by",
            "get",
            "limit",
            "auth",
            "auth2",
            "group",
            "block",
            "count",
        ])
    }

    proptest! {
        #[test]
        fn keys_are_arguments(
            command in 0..super::super::COMMANDS.len(),
            sub in 0_usize..20,
            rest in prop::collection::vec(any_arg(), 0..12),
        ) {
            let command = &super::super::COMMANDS[command];
            let command = command.subcommands.get(sub).unwrap_or(command);
            let names = command.name.split('|');
            let args: Vec<_> = names.chain(rest).map(str::as_bytes).collect();
            let mut keys = Vec::new();
            let result = command.visit_keys(args.len(), |at| args.get(at).copied(), |key| {
                keys.push(key.index);
                ControlFlow::Continue(())
            });
            prop_assert!(keys.iter().all(|key| (1..args.len()).contains(key)), "{:?}", keys);
            if result.is_ok() {
                prop_assert_eq!(command.keys(&args), Ok(keys.clone()));
            }
            let first = command.first_key(args.len(), |at| args.get(at).copied());
            prop_assert_eq!(first, keys.first().copied());
            prop_assert!(command.shard_channels(args.len()).all(|at| (1..args.len()).contains(&at)));
        }
    }
}
