//! The rule language of `ACL SETUSER`.

use sha2::{Digest, Sha256};

use super::selector::{KeyPattern, Patterns, Selector};
use super::{AclError, Reason, User};
use crate::command::{Categories, Command, find};

impl User {
    /// A user with these rules, separated by white space, as in `ACL SETUSER` and in an ACL file: `on >secret ~app:* +@read`.
    ///
    /// Rules add up from left to right. A user that is told nothing is off, has no password, and may do nothing.
    /// `sanitize-payload` and `skip-sanitize-payload` are accepted and mean nothing here.
    pub fn parse(name: &str, rules: &str) -> Result<Self, AclError> {
        let mut user = Self::new(name);
        let mut words = rules.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let mut rule = word.to_owned();
            if word.starts_with('(') {
                while !rule.ends_with(')') {
                    let Some(word) = words.next() else {
                        return Err(AclError::new(&rule, Reason::Unmatched));
                    };
                    rule = format!("{rule} {word}");
                }
            }
            user.apply(&rule).map_err(|reason| AclError::new(&rule, reason))?;
        }
        Ok(user)
    }

    fn apply(&mut self, rule: &str) -> Result<(), Reason> {
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.on = true,
            "off" => self.on = false,
            "sanitize-payload" | "skip-sanitize-payload" => {}
            "nopass" => {
                self.passwords.clear();
                self.nopass = true;
            }
            "resetpass" => {
                self.passwords.clear();
                self.nopass = false;
            }
            "clearselectors" => self.selectors.clear(),
            "reset" => *self = Self::new(&self.name),
            _ => match rule.split_at_checked(1).unwrap_or_default() {
                (">", password) => self.add_password(Sha256::digest(password).into()),
                ("#", hash) => self.add_password(parse_hash(hash)?),
                ("<", password) => self.remove_password(Sha256::digest(password).into())?,
                ("!", hash) => self.remove_password(parse_hash(hash)?)?,
                ("(", _) => {
                    let rules = rule.strip_prefix('(').and_then(|rules| rules.strip_suffix(')'));
                    let mut selector = Selector::default();
                    for rule in rules.ok_or(Reason::Unmatched)?.split_ascii_whitespace() {
                        selector.apply(rule)?;
                    }
                    self.selectors.push(selector);
                }
                _ => self.root.apply(rule)?,
            },
        }
        Ok(())
    }

    fn add_password(&mut self, hash: [u8; 32]) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, hash: [u8; 32]) -> Result<(), Reason> {
        let before = self.passwords.len();
        self.passwords.retain(|password| *password != hash);
        if self.passwords.len() == before { Err(Reason::NoSuchPassword) } else { Ok(()) }
    }
}

fn parse_hash(text: &str) -> Result<[u8; 32], Reason> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => Err(Reason::BadHash),
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut hash = [0; 32];
    if pairs.len() != hash.len() || !rest.is_empty() {
        return Err(Reason::BadHash);
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(hash)
}

impl Selector {
    fn apply(&mut self, rule: &str) -> Result<(), Reason> {
        match rule.to_ascii_lowercase().as_str() {
            "allkeys" | "~*" => self.keys = Patterns::All,
            "resetkeys" => self.keys = Patterns::default(),
            "allchannels" | "&*" => self.channels = Patterns::All,
            "resetchannels" => self.channels = Patterns::default(),
            "allcommands" | "+@all" => self.set_all_commands(true),
            "nocommands" | "-@all" => self.set_all_commands(false),
            _ => match rule.split_at_checked(1).unwrap_or_default() {
                ("~", pattern) => self.add_key(pattern, true, true)?,
                ("%", rest) => {
                    let (permissions, pattern) = rest.split_once('~').ok_or(Reason::Syntax)?;
                    let (read, write) = match permissions.to_ascii_lowercase().as_str() {
                        "r" => (true, false),
                        "w" => (false, true),
                        "rw" | "wr" => (true, true),
                        _ => return Err(Reason::Syntax),
                    };
                    self.add_key(pattern, read, write)?;
                }
                ("&", pattern) => match &mut self.channels {
                    Patterns::All => return Err(Reason::AfterAllChannels),
                    Patterns::These(patterns) => patterns.push(no_nul(pattern)?),
                },
                ("+", name) if name.starts_with('@') => self.set_category(category(name)?, true),
                ("-", name) if name.starts_with('@') => self.set_category(category(name)?, false),
                ("+", name) if is_of_module(name) => {
                    self.set_learnt(name.to_ascii_lowercase(), true);
                }
                ("-", name) if is_of_module(name) => {
                    self.set_learnt(name.to_ascii_lowercase(), false);
                }
                ("+", name) => self.permit(name)?,
                ("-", name) => self.set_command(exactly(name).ok_or(Reason::Unknown)?, false),
                _ => return Err(Reason::Syntax),
            },
        }
        Ok(())
    }

    fn add_key(&mut self, pattern: &str, read: bool, write: bool) -> Result<(), Reason> {
        let Patterns::These(patterns) = &mut self.keys else { return Err(Reason::AfterAllKeys) };
        let pattern = no_nul(pattern)?;
        if let Some(same) = patterns.iter_mut().find(|other| other.pattern == pattern) {
            same.read |= read;
            same.write |= write;
        } else {
            patterns.push(KeyPattern { pattern, read, write });
        }
        Ok(())
    }

    /// `get`, `config`, `config|get`, or `select|0`: a command with this first argument only.
    fn permit(&mut self, name: &str) -> Result<(), Reason> {
        let Some((container, rest)) = name.split_once('|') else {
            self.set_command(exactly(name).ok_or(Reason::Unknown)?, true);
            return Ok(());
        };
        let command = exactly(container).ok_or(Reason::Unknown)?;
        if rest.is_empty() {
            return Err(Reason::Syntax);
        }
        let (first, more) = rest.split_once('|').map_or((rest, false), |(first, _)| (first, true));
        if command.subcommands.is_empty() {
            if more {
                return Err(Reason::Unknown);
            }
            self.permit_first_arg(command, first.as_bytes());
            return Ok(());
        }
        let subcommand = exactly(&format!("{container}|{first}")).ok_or(Reason::Unknown)?;
        if more {
            return Err(Reason::FirstArgOfSubcommand);
        }
        self.set_command(subcommand, true);
        Ok(())
    }
}

/// The command of this name, or the subcommand where there is a `|`.
fn exactly(name: &str) -> Option<&'static Command> {
    let (container, sub) = match name.split_once('|') {
        Some((container, sub)) => (container, Some(sub.as_bytes())),
        None => (name, None),
    };
    find(container.as_bytes(), sub).filter(|command| command.name.eq_ignore_ascii_case(name))
}

/// Whether this can only be the name of a module's command: they have dots in them, no others have. Which there are is
/// not known before a server has told.
fn is_of_module(name: &str) -> bool {
    let mut parts = name.split('|');
    let command = parts.next().unwrap_or_default();
    command.contains('.') && parts.clone().count() <= 1 && parts.all(|sub| !sub.is_empty())
}

fn category(name: &str) -> Result<Categories, Reason> {
    let name = name.strip_prefix('@').unwrap_or(name);
    Categories::from_name(name.as_bytes()).ok_or(Reason::Unknown)
}

fn no_nul(pattern: &str) -> Result<Box<[u8]>, Reason> {
    if pattern.contains('\0') { Err(Reason::Syntax) } else { Ok(pattern.as_bytes().into()) }
}
