//! Copies of what a client reads.

use wiremesh::correlation::Access;

use super::{Follows, Pooled};
use crate::{
    Command, MysqlFrame,
    frame::What,
    reply::{ReplySum, Shape},
};

impl Pooled {
    /// A session like this one for a copy of the request in progress, if that certainly reads, and nothing that only this
    /// session has.
    pub(super) fn shadow_of(&mut self, request: &MysqlFrame) -> Option<Self> {
        let traits = self.doing.traits;
        let own = traits.connection_id || traits.sets_last_insert_id || traits.takes_value;
        if own || !traits.asks_at_all.is_empty() || self.judge(request) != Access::Read {
            return None;
        }
        let mut shadow = Self::begin(Follows::Copy, self.lane, self.session.clone());
        if self.doing.command == Some(Command::StmtExecute) {
            let id = self.statements.id_of(&request.bytes)?;
            shadow.statements = self.statements.of_one(&request.bytes)?;
            shadow.prepared.insert(id, self.prepared.get(&id)?.clone());
        }
        Some(shadow)
    }

    /// What sums up the answer to a request.
    pub(super) fn sum(&self, request: &MysqlFrame) -> Option<ReplySum> {
        let What::Command(command) = request.what else { return None };
        Some(ReplySum::new(self.session.capabilities, Shape::of(command)))
    }
}

#[cfg(test)]
mod tests {
    use wiremesh::correlation::{Attachment, Hold, SessionMachine};

    use super::super::{
        Step,
        tests::{Talk, let_in, ok},
    };
    use super::*;
    use crate::{Mysql, pooled::Place};

    /// The client says this: whether there can be a copy.
    fn has_copy(talk: &mut Talk, text: &str) -> bool {
        let (_, frame) = talk.says(Command::Query, text.as_bytes());
        let copy = talk.machine.shadow(&talk.mysql, &frame);
        talk.machine.on_failed(&talk.mysql);
        copy.is_some()
    }

    #[test]
    fn only_what_reads_is_copied() {
        let mut talk = Talk::new(b"shop");
        for text in ["SELECT a FROM t", "select 1", "SELECT NOW(), RAND()"] {
            assert!(has_copy(&mut talk, text), "{text}");
        }
        for text in [
            "INSERT INTO t VALUES (1)",
            "SELECT a FROM t FOR UPDATE",
            "SELECT a FROM t; SELECT 2",
            "SELECT LAST_INSERT_ID()",
            "SELECT CONNECTION_ID()",
            "SELECT GET_LOCK('a', 1)",
            "SHOW WARNINGS",
            "SELECT @@sql_mode",
            "SET @a = 1",
            "BEGIN",
            "/* wiremesh: route=primary */ SELECT a FROM t",
        ] {
            assert!(!has_copy(&mut talk, text), "{text}");
        }
        let (_, frame) = talk.says(Command::StmtPrepare, b"SELECT 1");
        assert!(talk.machine.shadow(&talk.mysql, &frame).is_none());
    }

    #[test]
    fn nothing_is_copied_while_the_session_holds_a_connection() {
        let mut talk = Talk::new(b"shop");
        let mut begun = ok(0, 0, b"");
        begun[3] = 3;
        assert!(matches!(talk.asks("BEGIN", &begun), Hold::Held));
        assert!(!has_copy(&mut talk, "SELECT a FROM t"));
        assert!(matches!(talk.asks("COMMIT", &ok(0, 0, b"")), Hold::Release { .. }));
        talk.machine.detach();
        assert!(has_copy(&mut talk, "SELECT a FROM t"));
        // One that lingers holds nothing.
        assert!(matches!(talk.asks("INSERT INTO t VALUES (1)", &ok(7, 0, b"")), Hold::Linger));
        assert!(has_copy(&mut talk, "SELECT a FROM t"));
        assert!(!has_copy(&mut talk, "SELECT LAST_INSERT_ID()"));
    }

    #[test]
    fn the_copys_session_is_the_clients() {
        let mut talk = Talk::new(b"shop");
        let changes = b"\x01\x06\x05other";
        assert!(matches!(talk.asks("USE other", &ok(0, 0, changes)), Hold::Release { .. }));
        talk.machine.detach();
        let (_, mut frame) = talk.says(Command::Query, b"SELECT a FROM t");
        let shadow = talk.machine.shadow(&talk.mysql, &frame).expect("it reads");
        let mut shadow = Talk { mysql: Mysql::default(), machine: shadow };
        assert_eq!(shadow.machine.on_request(&shadow.mysql, &frame), Attachment::Upstream);
        assert_eq!(shadow.machine.lane(), talk.machine.lane());
        shadow.lend(false);
        let first = shadow.first(&mut frame).expect("the schema");
        assert_eq!(first, (Command::InitDb, "other".to_owned()));
        assert!(matches!(shadow.hears(&ok(0, 0, b"")), Hold::Prepared));
        assert_eq!(shadow.first(&mut frame), None);
        assert!(matches!(shadow.hears(&ok(0, 0, b"")), Hold::Release { reset: None }));
        // Of all that its client knows nothing.
        assert!(talk.machine.lent.place.is_none());
        assert_eq!(talk.machine.doing.before.step, Step::None);
    }

    #[test]
    fn what_was_not_set_is_as_the_other_server_has_it() {
        // utf8mb4_0900_ai_ci, which MariaDB does not know.
        let mode = b"\x00\x0a\x08sql_mode\x00";
        for (text, changes) in [("SELECT 1", &b""[..]), ("SET sql_mode=''", mode)] {
            let mut talk = let_in("8.0.33", 255);
            talk.asks(text, &ok(0, 0, changes));
            talk.machine.detach();
            let (_, mut frame) = talk.says(Command::Query, b"SELECT a FROM t");
            let shadow = talk.machine.shadow(&talk.mysql, &frame).expect("it reads");
            let mut shadow = Talk { mysql: Mysql::default(), machine: shadow };
            shadow.machine.on_request(&shadow.mysql, &frame);
            let agreed = talk.machine.session.capabilities;
            let place = Place::new(agreed, b"5.5.5-10.11.19-MariaDB", 7, true, true);
            shadow.machine.attach(place);
            let first = shadow.first(&mut frame).map(|(_, text)| text).unwrap_or_default();
            assert!(!first.contains("0900"), "{first}");
            assert_eq!(first.contains("sql_mode"), !changes.is_empty(), "{first}");
        }
    }
}
