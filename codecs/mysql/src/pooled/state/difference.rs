use super::variables::{MAX_JOIN_SIZE, SQL_BIG_SELECTS};
use super::{Charset, SPACES, State};

/// What makes an upstream connection fit for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Nothing: it fits.
    Fits,
    /// This.
    First(Difference),
    /// Nothing does: it has a schema, and the session has none. `COM_RESET_CONNECTION` keeps it; `COM_CHANGE_USER` without a
    /// schema would not.
    Unfit,
}

/// What is to be sent, and answered by OK, before a session's statements mean on a connection what they should: the schema
/// first, then the statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What `COM_INIT_DB` has to name.
    pub schema: Option<Box<[u8]>>,
    /// A `SET` statement, in ASCII.
    pub set: Option<String>,
    /// The statement comes before the schema, whose name is in UTF-8 and not in ASCII.
    pub set_first: bool,
}

impl State {
    /// What is to be done on a connection that `has` this, so that it fits a session of this state. It costs nothing where the
    /// two are the same.
    pub fn replay_on(&self, has: &Self) -> Replay {
        if self == has {
            return Replay::Fits;
        }
        let other = self.schema() != has.schema() || has.parts.stale;
        let schema = other.then(|| self.schema());
        if schema.is_some_and(<[u8]>::is_empty) {
            return Replay::Unfit;
        }
        let set = self.statement(has);
        let set_first =
            schema.is_some_and(|name| !name.is_ascii()) && !has.charset().starts_with(b"utf8");
        Replay::First(Difference { schema: schema.map(Into::into), set, set_first })
    }

    fn statement(&self, has: &Self) -> Option<String> {
        let mut set = Statement::default();
        if self.parts.charset != has.parts.charset {
            set.charset(&self.parts.charset);
        }
        let join = [MAX_JOIN_SIZE, SQL_BIG_SELECTS];
        for (name, _) in &has.parts.variables {
            if self.variable(name).is_none() && !join.contains(name) {
                set.variable(name, None);
            }
        }
        for (name, value) in &self.parts.variables {
            if has.variable(name) != Some(value) && !join.contains(name) {
                set.variable(name, Some(value));
            }
        }
        if join.into_iter().any(|name| self.variable(name) != has.variable(name)) {
            set.variable(MAX_JOIN_SIZE, self.variable(MAX_JOIN_SIZE));
            if let Some(selects) = self.variable(SQL_BIG_SELECTS) {
                set.variable(SQL_BIG_SELECTS, Some(selects));
            }
        }
        (!set.0.is_empty()).then_some(set.0)
    }
}

/// A `SET` in the making. All that is put in is a name of ours or a plain value.
#[derive(Default)]
struct Statement(String);

impl Statement {
    fn charset(&mut self, charset: &Charset) {
        let Charset { client, results, connection, collation } = charset;
        if client == results && client == connection {
            self.next("NAMES ");
            self.quoted(client);
            if let Some(collation) = collation {
                self.0.push_str(" COLLATE ");
                self.quoted(collation);
            }
            return;
        }
        self.variable("character_set_client", Some(client));
        match results.is_empty() {
            true => self.next("@@session.character_set_results=NULL"),
            false => self.variable("character_set_results", Some(results)),
        }
        self.variable("character_set_connection", Some(connection));
        if let Some(collation) = collation {
            self.variable("collation_connection", Some(collation));
        }
    }

    /// Without the scope `transaction_isolation` would be the next transaction's alone.
    fn variable(&mut self, name: &str, value: Option<&[u8]>) {
        self.next("@@session.");
        self.0.push_str(name);
        self.0.push('=');
        match value {
            // `DEFAULT` should be the same; MySQL 8.0 takes it for OFF with `foreign_key_checks` and `unique_checks`.
            None => {
                self.0.push_str("@@global.");
                self.0.push_str(name);
            }
            Some(SPACES) => self.0.push_str("CONCAT(@@global.sql_mode,',IGNORE_SPACE')"),
            // Servers tell numbers as they are, and take no quotes for them; no word looks like one.
            Some(number) if is_number(number) => self.push(number),
            Some(word) => self.quoted(word),
        }
    }

    fn next(&mut self, what: &str) {
        self.0.push_str(if self.0.is_empty() { "SET " } else { ", " });
        self.0.push_str(what);
    }

    fn quoted(&mut self, word: &[u8]) {
        self.0.push('\'');
        self.push(word);
        self.0.push('\'');
    }

    fn push(&mut self, ascii: &[u8]) {
        self.0.extend(ascii.iter().map(|byte| char::from(*byte)));
    }
}

fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}
