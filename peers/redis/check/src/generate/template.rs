//! Commands by pattern: `SET %s %v ?( EX %t )`.
//!
//! Words stand for themselves. `( A | B )` is one of them, `?( A )` is A or nothing, `+( A )` is A one
//! to three times. `%x` is something random, see [`Words::fill`].

use fastrand::Rng;

/// Appends a command made from a pattern.
pub(super) fn expand(pattern: &str, words: &mut Words<'_>, out: &mut Vec<Vec<u8>>) {
    let tokens: Vec<_> = pattern.split_whitespace().collect();
    sequence(&tokens, words, out);
}

fn sequence(mut tokens: &[&str], words: &mut Words<'_>, out: &mut Vec<Vec<u8>>) {
    while let Some((token, rest)) = tokens.split_first() {
        tokens = rest;
        if !matches!(*token, "(" | "?(" | "+(") {
            out.push(words.fill(token));
            continue;
        }
        let (choices, rest) = group(rest);
        tokens = rest;
        let times = match *token {
            "?(" => words.rng.usize(0..2),
            "+(" => words.rng.usize(1..4),
            _ => 1,
        };
        for _ in 0..times {
            let choice = choices[words.rng.usize(..choices.len())];
            sequence(choice, words, out);
        }
    }
}

/// What stands up to the closing bracket, split at its bars, and what follows.
fn group<'a, 'b>(tokens: &'b [&'a str]) -> (Vec<&'b [&'a str]>, &'b [&'a str]) {
    let (mut depth, mut start, mut choices) = (0, 0, Vec::new());
    for (n, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "?(" | "+(" => depth += 1,
            "|" if depth == 0 => {
                choices.push(&tokens[start..n]);
                start = n + 1;
            }
            ")" if depth == 0 => {
                choices.push(&tokens[start..n]);
                return (choices, &tokens[n + 1..]);
            }
            ")" => depth -= 1,
            _ => {}
        }
    }
    panic!("a group without an end: {tokens:?}");
}

/// Where random words come from.
pub(super) struct Words<'a> {
    pub(super) rng: &'a mut Rng,
    /// Before every key, so that connections can keep out of each other's way.
    pub(super) prefix: &'a str,
    /// What DUMP made of some values.
    pub(super) dumps: &'a [Vec<u8>],
}

impl Words<'_> {
    /// Of the pattern's `%s` a key that mostly holds a string, and so on for `l`ists, `h`ashes, s`e`ts,
    /// sorted sets (`z`), streams (`x`), `g`eo sets, `b`itmaps, h`y`perloglogs and `k`: any.
    /// `v`alue, hash `f`ield, set `m`ember, small `i`nteger, any i`n`teger, `d`ecimal, sc`o`re bound,
    /// le`X` bound, stream `S` id, `c`hannel, `p`attern, seconds `t` and milliseconds `T` far off,
    /// `A`bsolute second and `B` millisecond, `D`ump, bit offse`O`t, latitude and longitude `L`, `M`.
    fn fill(&mut self, token: &str) -> Vec<u8> {
        let token = token.replace('·', " ").replace('¶', "\n");
        let mut rest = token.as_str();
        let mut word = Vec::new();
        while let Some((before, after)) = rest.split_once('%') {
            word.extend_from_slice(before.as_bytes());
            let mut after = after.chars();
            let kind = after.next().unwrap_or_default();
            word.extend_from_slice(&self.word(kind));
            rest = after.as_str();
        }
        word.extend_from_slice(rest.as_bytes());
        word
    }

    fn word(&mut self, kind: char) -> Vec<u8> {
        match kind {
            's' | 'l' | 'h' | 'e' | 'z' | 'x' | 'g' | 'b' | 'y' | 'k' => self.key(kind),
            'v' => self.value(),
            'f' => format!("f{}", self.rng.usize(0..6)).into(),
            'm' => self.pick(&["a", "b", "c", "d", "e", "1", "2", "3", "10", ""]),
            'i' => self.rng.usize(0..5).to_string().into(),
            'n' => self.pick(&[
                "0",
                "1",
                "-1",
                "2",
                "-2",
                "3",
                "5",
                "10",
                "100",
                "-100",
                "4294967296",
                "01",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775808",
                "x",
                "",
            ]),
            'd' => {
                self.pick(&["0", "1", "-1", "1.5", "-2.25", "3.0e2", "1e20", "inf", "nan", "1,5"])
            }
            'o' => self.pick(&["0", "1", "(1", "2", "(3", "-inf", "+inf", "-1.5", "10", "(x"]),
            'X' => self.pick(&["-", "+", "[a", "(a", "[c", "(d", "c", "["]),
            'S' => self
                .pick(&["0", "0-0", "1-1", "1-2", "2-1", "3-3", "5", "7-0", "100-1", "x", "5-*"]),
            'c' => self.pick(&["c1", "c2", "c3"]),
            'p' => self.pick(&["c*", "c[12]", "*", "x?"]),
            't' => self.pick(&["100000", "200000", "9000000"]),
            'T' => self.pick(&["100000000", "200000000"]),
            'A' => self.pick(&["4000000000", "4000000001", "1", "5000000000"]),
            'B' => self.pick(&["4000000000000", "1", "5000000000000"]),
            'O' => self.pick(&["0", "1", "7", "8", "20", "100", "-1", "4294967296"]),
            'L' => self.pick(&["13.361389", "15.087269", "2.35", "-0.12", "181", "0"]),
            'M' => self.pick(&["38.115556", "37.502669", "48.85", "51.5", "-90", "0"]),
            'D' if self.dumps.is_empty() => b"x".to_vec(),
            'D' => self.dumps[self.rng.usize(..self.dumps.len())].clone(),
            _ => panic!("no word for %{kind}"),
        }
    }

    /// Of its own type most of the time, so that something can be found there.
    fn key(&mut self, kind: char) -> Vec<u8> {
        const KINDS: [char; 9] = ['s', 'l', 'h', 'e', 'z', 'x', 'g', 'b', 'y'];
        let odd = self.rng.usize(0..100);
        if odd < 2 && self.prefix.starts_with('{') {
            return format!("{}\0bin\r\n key", self.prefix).into();
        }
        if odd < 2 {
            return self.pick(&["", "\0bin\r\n key", "{", "nobody", "{}x"]);
        }
        let any = kind == 'k' || odd < 10;
        let kind = if any { KINDS[self.rng.usize(..KINDS.len())] } else { kind };
        format!("{}{{{kind}}}{}", self.prefix, self.rng.usize(0..3)).into()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.usize(0..100) {
            0..30 => self.rng.i64(-20..100).to_string().into(),
            30..60 => format!("v{}", self.rng.usize(0..20)).into(),
            60..70 => vec![0, b'\r', b'\n', 0xff, b' ', b'$', b'-', b'1'],
            70..75 => Vec::new(),
            75..80 => self.pick(&["1.5", "abc 123", "é€", "+OK", "$5", "*1", "\"q\"", "foobar"]),
            80..97 => vec![b'x'; self.rng.usize(1..200)],
            97..99 => vec![b'y'; self.rng.usize(1000..20_000)],
            _ => vec![b'z'; self.rng.usize(20_000..300_000)],
        }
    }

    fn pick(&mut self, from: &[&str]) -> Vec<u8> {
        from[self.rng.usize(..from.len())].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_a_command() {
        let mut rng = Rng::with_seed(1);
        let mut words = Words { rng: &mut rng, prefix: "p", dumps: &[] };
        for _ in 0..100 {
            let mut out = Vec::new();
            expand("A ( B | C ?( D ) ) +( E%i )", &mut words, &mut out);
            let text = String::from_utf8(out.join(&b' ')).unwrap();
            let rest = ["A B E", "A C E", "A C D E"].iter().any(|p| text.starts_with(p));
            assert!(rest && out.len() <= 6, "{text}");
        }
    }
}
