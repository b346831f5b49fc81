//! What a command is made on a connection.

use bytes::{Buf, BufMut, BytesMut};

use super::{
    Plan, Prepared, Problem, Request, Setting, Statements, Subject, execute::Execution, problem,
    recut::Recut, statement::LongData,
};
use crate::{
    Capabilities, Command,
    frame::BODY,
    wire::{HEAD, Head, put_packet},
};

impl Statements {
    /// What is to be done with the command that [needs](Self::on_request) a connection, on this one.
    ///
    /// `frame` are the bytes that `on_request` was shown. On [`Plan::Send`] they are changed for the connection, and may
    /// have commands before them that have no reply. What was changed may come here again, for the same connection or another.
    pub fn plan(
        &mut self,
        frame: &mut BytesMut,
        setting: &Setting<'_>,
        place: &mut Prepared,
    ) -> Plan {
        self.again = false;
        let Subject { command, own, .. } = match &mut self.request {
            None => return Plan::Refuse(Problem::malformed(self.mariadb)),
            Some(Request::Prepare { key, before, .. }) => {
                frame.advance(std::mem::take(before));
                let mut packets = BytesMut::new();
                place.make_room(key);
                place.put_closes(&mut packets);
                if !packets.is_empty() {
                    *before = packets.len();
                    packets.put_slice(frame);
                    *frame = packets;
                }
                return Plan::Send;
            }
            Some(Request::Of(subject)) => *subject,
        };
        if command == Command::StmtClose {
            return match place.forget(own) {
                Some(id) => {
                    put_id(frame, id);
                    Plan::Send
                }
                None => Plan::Drop,
            };
        }
        let taken = place.is_taken(own);
        let Some(statement) = self.statements.get_mut(&own) else { return Plan::Drop };
        match command {
            Command::StmtFetch if !taken => {
                return Plan::Refuse(Problem::no_cursor(own, self.mariadb));
            }
            Command::StmtExecute | Command::StmtBulkExecute => {
                return self.execute(frame, setting, place);
            }
            Command::StmtSendLongData if !taken && statement.long_data != LongData::None => {
                statement.long_data = LongData::Lost;
                return Plan::Drop;
            }
            Command::StmtSendLongData if !taken && place.is_used(own, statement) => {
                return self.prepare_again(setting, place);
            }
            _ => {}
        }
        let Some(entry) = place.find(own, &statement.key) else {
            return self.prepare_again(setting, place);
        };
        put_id(frame, entry.id);
        if command == Command::StmtSendLongData {
            statement.long_data = LongData::Sent;
            place.take(own, &statement.key);
        }
        Plan::Send
    }

    fn execute(
        &mut self,
        frame: &mut BytesMut,
        setting: &Setting<'_>,
        place: &mut Prepared,
    ) -> Plan {
        let Some(Request::Of(subject)) = &mut self.request else { return Plan::Drop };
        let Subject { command, own, named, .. } = *subject;
        let Some(statement) = self.statements.get_mut(&own) else { return Plan::Drop };
        if command == Command::StmtBulkExecute
            && !place.capabilities.has(Capabilities::MARIADB_STMT_BULK)
        {
            return Plan::Refuse(Problem::unknown_command());
        }
        if statement.long_data != LongData::None && !place.is_taken(own) {
            statement.long_data = LongData::None;
            return Plan::Refuse(Problem::long_data_lost());
        }
        let body = frame.get(BODY..).unwrap_or_default();
        let parameters = statement.parameters;
        let execution = match Execution::parse(command, body, parameters, named) {
            Ok(execution) => execution,
            Err(wrong) => return Plan::Refuse(problem(wrong, self.mariadb)),
        };
        let to_named = place.capabilities.has(Capabilities::QUERY_ATTRIBUTES);
        let Some(entry) = place.find(own, &statement.key) else {
            return self.prepare_again(setting, place);
        };
        let (id, particular) = (entry.id, entry.opened || !entry.nulls.is_empty());
        let nulls = execution.nulls(body, parameters);
        let cursor = execution.wants_cursor();
        let others = parameters > 0 && entry.types != statement.types;
        // A cursor would be closed in any case; parts of parameters are where they are.
        let may_drop = statement.long_data == LongData::None && (others || particular);
        if may_drop && place.is_unlike(own, statement, cursor, nulls) {
            return self.prepare_again(setting, place);
        }
        if others || execution.differs(to_named) {
            let nulls = match nulls.iter().any(|byte| *byte != 0) {
                true => nulls.to_vec(),
                false => Vec::new(),
            };
            // What is cut anew may be kept back, and is not in the frame then.
            put_id(frame, id);
            let put_in = statement.types.as_ref().filter(|_| others && !execution.has_types());
            if put_in.is_some() || execution.differs(to_named) {
                let whole = statement.long_data == LongData::None && is_whole(frame);
                match execution.rewrite(frame, parameters, to_named, put_in, whole) {
                    Ok(None) => {}
                    Ok(Some(len)) => self.recut = recut(frame, len),
                    Err(wrong) => return Plan::Refuse(problem(wrong, self.mariadb)),
                }
                subject.named = to_named;
            }
            if others && let Some(entry) = place.find(own, &statement.key) {
                entry.bind(statement.types.as_ref(), nulls);
            }
        } else {
            put_id(frame, id);
        }
        if cursor {
            // Of one that asks for none the server opens none.
            if let Some(entry) = place.find(own, &statement.key) {
                entry.opened = true;
            }
            place.take(own, &statement.key);
        }
        subject.types = others;
        Plan::Send
    }

    /// What prepares the statement on this connection, instead of what there may be of it.
    fn prepare_again(&mut self, setting: &Setting<'_>, place: &mut Prepared) -> Plan {
        let Some(Request::Of(Subject { command, own, .. })) = self.request else {
            return Plan::Drop;
        };
        let Some(statement) = self.statements.get_mut(&own) else { return Plan::Drop };
        if statement.setting() != *setting {
            // Its text might mean something else now.
            if command == Command::StmtSendLongData {
                statement.long_data = LongData::Lost;
                return Plan::Drop;
            }
            return Plan::Refuse(Problem::prepare_again());
        }
        place.drop_all(own, statement);
        let key = &statement.key;
        let mut packets = BytesMut::new();
        place.make_room(key);
        place.put_closes(&mut packets);
        let mut body = Vec::with_capacity(key.text().len().saturating_add(1));
        body.put_u8(Command::StmtPrepare as u8);
        body.put_slice(key.text());
        put_packet(&mut packets, 0, &body);
        self.again = true;
        Plan::First(packets)
    }
}

fn put_id(frame: &mut BytesMut, id: u32) {
    if let Some(place) = frame.get_mut(BODY..).and_then(<[u8]>::first_chunk_mut) {
        *place = id.to_le_bytes();
    }
}

fn is_whole(frame: &[u8]) -> bool {
    Head::read(frame)
        .is_some_and(|head| frame.len() == head.len.saturating_add(HEAD) && !head.is_continued())
}

/// The first packet, which is `len` bytes long now, takes no more, or less than the next packet says: from here on the command is
/// cut anew.
fn recut(frame: &mut BytesMut, len: usize) -> Option<Recut> {
    let mut recut = Recut::new(Head::read(frame)?, len);
    let mut out = BytesMut::with_capacity(frame.len().saturating_add(HEAD));
    recut.put(frame.get(HEAD..).unwrap_or_default(), &mut out);
    *frame = out;
    Some(recut)
}
