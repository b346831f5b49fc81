//! A configuration file's text with the environment filled in, and where each part of it came from.

use super::report::Mistake;

/// What stands for the value of a variable that there is not: what it would make of its surroundings is not known.
pub(super) const MISSING: char = '\u{e000}';

/// The text that is parsed, and the way back from an offset in it to a line and column of the file.
pub(super) struct Source<'a> {
    file: &'a str,
    original: &'a str,
    expanded: String,
    /// For every replacement, in order: where it begins and ends in `expanded`, and where it began and ended in
    /// `original`.
    edits: Vec<Edit>,
}

struct Edit {
    to: std::ops::Range<usize>,
    from: std::ops::Range<usize>,
}

impl<'a> Source<'a> {
    /// Replaces `${NAME}` and `${NAME:-default}` by the variable's value and `$$` by `$`, except in lines that are
    /// comments. A `$` before anything else stays as it is.
    pub(super) fn expand(
        file: &'a str,
        original: &'a str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Vec<Mistake>) {
        let mut source = Self { file, original, expanded: String::new(), edits: Vec::new() };
        let mut failures = Vec::new();
        let mut done = 0;
        for line in original.split_inclusive('\n') {
            let end = done + line.len();
            if line.trim_start().starts_with('#') {
                source.copy(done..end);
                done = end;
                continue;
            }
            while let Some(at) = original[done..end].find('$').map(|found| done + found) {
                source.copy(done..at);
                done = match variable(&original[at..end], env) {
                    Ok((len, value)) => {
                        source.replace(at..at + len, &value);
                        at + len
                    }
                    Err((len, message)) => {
                        failures.push((at, message));
                        source.replace(at..at + len, MISSING.encode_utf8(&mut [0; 4]));
                        at + len
                    }
                };
            }
            source.copy(done..end);
            done = end;
        }
        let mistakes = failures
            .into_iter()
            .map(|(at, message)| source.mistake_in_original(at, message))
            .collect();
        (source, mistakes)
    }

    /// The text to parse.
    pub(super) fn text(&self) -> &str {
        &self.expanded
    }

    /// The offset of a line and column, both from 1, of [`text`](Self::text).
    pub(super) fn offset(&self, line: u64, column: u64) -> usize {
        let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
        let before: usize =
            self.expanded.split_inclusive('\n').take(index(line)).map(str::len).sum();
        let line = self.expanded.get(before..).unwrap_or_default();
        before + line.chars().take(index(column)).map(char::len_utf8).sum::<usize>()
    }

    /// A mistake at an offset of [`text`](Self::text).
    pub(super) fn mistake(&self, offset: usize, message: impl Into<String>) -> Mistake {
        let before = self.edits.partition_point(|edit| edit.to.start <= offset);
        let original = match before.checked_sub(1).and_then(|last| self.edits.get(last)) {
            None => offset,
            Some(edit) if offset < edit.to.end => edit.from.start,
            Some(edit) => edit.from.end + (offset - edit.to.end),
        };
        self.mistake_in_original(original, message.into())
    }

    fn mistake_in_original(&self, offset: usize, message: String) -> Mistake {
        let before = self.original.get(..offset).unwrap_or(self.original);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Mistake { file: self.file.to_owned(), position: Some((line, column)), message }
    }

    fn copy(&mut self, from: std::ops::Range<usize>) {
        self.expanded.push_str(&self.original[from]);
    }

    fn replace(&mut self, from: std::ops::Range<usize>, by: &str) {
        let start = self.expanded.len();
        self.expanded.push_str(by);
        self.edits.push(Edit { to: start..self.expanded.len(), from });
    }
}

/// What stands at the `$` that `text` begins with: how long it is, and its value or what is wrong.
fn variable(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(usize, String), (usize, String)> {
    let Some(rest) = text.strip_prefix("${") else {
        return Ok((if text.starts_with("$$") { 2 } else { 1 }, "$".into()));
    };
    let Some(close) = rest.find('}') else {
        return Err((2, "\"${\" is not closed; write ${NAME}, or $$ for a dollar sign".into()));
    };
    let len = close + 3;
    let inside = &rest[..close];
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let first_is_letter = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first_is_letter || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let message =
            format!("{name:?} is not a variable's name; write ${{NAME}}, or $$ for a dollar sign");
        return Err((len, message));
    }
    match (env(name), default) {
        (Some(value), None) => Ok((len, value)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((len, value)),
        (_, Some(default)) => Ok((len, default.to_owned())),
        (None, None) => {
            let message = format!(
                "the environment has no {name}; set it, or give a default: ${{{name}:-value}}"
            );
            Err((len, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("127.0.0.1".into()),
            "EMPTY" => Some(String::new()),
            "LINES" => Some("a\nb\nc".into()),
            _ => None,
        }
    }

    #[test]
    fn fills_in_the_environment() {
        for (text, expanded) in [
            ("a: ${HOST}:1", "a: 127.0.0.1:1"),
            ("${NONE:-x}${EMPTY:-y}${EMPTY}${HOST:-z}", "xy127.0.0.1"),
            ("${NONE:-}", ""),
            ("cost: $$5, ^a$, $5, $${HOST}", "cost: $5, ^a$, $5, ${HOST}"),
            ("  # ${NONE}\nb: ${HOST}", "  # ${NONE}\nb: 127.0.0.1"),
        ] {
            let (source, mistakes) = Source::expand("f", text, &env);
            assert_eq!(source.text(), expanded);
            assert_eq!(mistakes, []);
        }
    }

    #[test]
    fn reports_every_variable_that_is_missing() {
        let text = "é: ${NONE}\nb: ${1X} ${HOST}\nc: ${HOST";
        let (_, mistakes) = Source::expand("f", text, &env);
        let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "f:1:4: the environment has no NONE; set it, or give a default: ${NONE:-value}",
                "f:2:4: \"1X\" is not a variable's name; write ${NAME}, or $$ for a dollar sign",
                "f:3:4: \"${\" is not closed; write ${NAME}, or $$ for a dollar sign",
            ]
        );
    }

    #[test]
    fn positions_are_those_of_the_file() {
        let text = "a: ${LINES} x\nb: ${HOST} y\nc: z";
        let (source, _) = Source::expand("f", text, &env);
        for (needle, position) in
            [("a: ", (1, 1)), ("b\nc", (1, 4)), ("x", (1, 13)), ("y", (2, 12)), ("z", (3, 4))]
        {
            let offset = source.text().find(needle).unwrap();
            assert_eq!(source.mistake(offset, "").position, Some(position), "{needle}");
        }
    }
}
