//! What the upstream says.

use bytes::BytesMut;
use wiremesh::DecodeError;

use super::{
    Pooled,
    access::{Prepared, gtid},
    client::Sending,
    doing::Doing,
    prepare::Step,
};
use crate::{
    Command, Mysql, MysqlFrame,
    classify::Diagnostics,
    frame::What,
    pooled::{
        state::State,
        statements::PrepareReply,
        transcode::{Renumber, Told},
    },
    session::{Change, Changes},
    wire::{HEAD, Head, Scanner},
};

type Taken = Result<Option<MysqlFrame>, DecodeError>;

impl Pooled {
    pub(super) fn take_upstream(&mut self, mysql: &Mysql, input: &mut BytesMut) -> Taken {
        if self.transcoder.is_done() {
            return Err(DecodeError::Malformed { what: "packet: nobody has asked for it" });
        }
        if self.transcoder.is_turn() {
            let Some(head) = Head::read(input) else { return Ok(None) };
            let body = input.get(HEAD).filter(|_| head.len > 0).copied();
            if body.is_none() && head.len > 0 {
                return Ok(None);
            }
            // With number 0 servers begin what nobody has asked for: that an idle connection is closed, say (4031).
            if head.seq == 0 && !self.transcoder.has_begun() {
                return Err(DecodeError::Malformed { what: "packet: nobody has asked for it" });
            }
            let over = self.sending.is_over();
            let right = match self.doing.before.step {
                Step::None => self.turn.is_answered_by(head, body, over),
                _ => head.seq == 1,
            };
            if !right {
                return Err(DecodeError::Malformed { what: "packet: it is out of sequence" });
            }
        }
        let before = self.transcoder.outcome().rows;
        let step = self.doing.before.step != Step::None;
        let mariadb = self.session.is_mariadb();
        let mut next = self.session.state().clone();
        let Doing { command, set, heard, .. } = &mut self.doing;
        let lent = &mut self.lent;
        let mut causal = mysql.causal_reads.map(|_| &mut self.causal);
        let mut listen = |told: Told<'_>| match told {
            Told::State(changes) if !step => {
                for change in changes.clone().flatten() {
                    match change {
                        Change::Transaction(now) => lent.transactions.now = Some(now),
                        Change::Characteristics(text) => {
                            lent.transactions.characteristics = !text.is_empty();
                        }
                        change => {
                            if let Some(gtid) = gtid(&change, mariadb) {
                                lent.past = lent.past.and(Diagnostics::LAST_GTID);
                                if let Some(causal) = &mut causal {
                                    causal.wrote(gtid);
                                }
                            }
                        }
                    }
                }
                if let Err(why) = follow(&mut next, changes, set.as_deref(), *command) {
                    heard.pin = Some(why);
                }
            }
            Told::Ok(ok) => {
                if ok.insert_id != 0 {
                    lent.makes_id();
                }
                heard.warned |= ok.warnings > 0 && !step;
            }
            Told::State(_) => {}
        };
        let mut taken: Option<BytesMut> = None;
        while let Some(more) = self.transcoder.take(input, &mut listen)? {
            match &mut taken {
                None => taken = Some(more),
                Some(bytes) => bytes.extend_from_slice(&more),
            }
            // What the server has not said comes with what it has: nobody asks where nothing has come.
            if !input.is_empty() || self.transcoder.is_done() {
                break;
            }
        }
        let Some(mut bytes) = taken else { return Ok(None) };
        self.session.is_now(next);
        let outcome = *self.transcoder.outcome();
        let last = self.transcoder.is_done();
        if step {
            self.look(&mut bytes, outcome.error.is_some());
        } else {
            self.name_statement(&mut bytes);
            if outcome.files > self.doing.heard.files {
                self.doing.heard.files = outcome.files;
                let (ahead, next) = (self.transcoder.ahead(), self.transcoder.next_seq());
                self.sending = Sending::File(Scanner::default(), Renumber::new(ahead));
                self.turn.begin(next.wrapping_sub(ahead));
                // What comes has another number, whether the file is over by then or not.
                self.transcoder.resume(next);
            }
        }
        let frame = MysqlFrame::new(What::Reply { last }, bytes);
        let rows = outcome.rows.saturating_sub(before);
        Ok(Some(MysqlFrame { error: outcome.error.filter(|_| last), rows, ..frame }))
    }

    /// The id of a statement that was prepared is the client's own.
    fn name_statement(&mut self, bytes: &mut BytesMut) {
        if self.doing.command != Some(Command::StmtPrepare) || self.doing.heard.named {
            return;
        }
        self.doing.heard.named = true;
        let (Some(place), Some(body)) = (&mut self.lent.place, bytes.get_mut(HEAD..)) else {
            return;
        };
        let reply = self.statements.on_prepare_reply(body, &mut place.prepared);
        if let (PrepareReply::Pass, [0, a, b, c, d, ..]) = (reply, &*body) {
            let id = u32::from_le_bytes([*a, *b, *c, *d]);
            let (traits, state, dialect) =
                (self.doing.traits, self.session.state().clone(), self.session.dialect());
            self.prepared.insert(id, Prepared { traits, state, dialect, access: None });
        }
    }
}

fn follow(
    state: &mut State,
    changes: Changes<'_>,
    set: Option<&[u8]>,
    command: Option<Command>,
) -> Result<(), String> {
    let followed = match (set, command) {
        (Some(text), _) => state.follow_text(changes, text),
        (None, Some(Command::InitDb)) => state.follow_set(changes, []),
        _ => state.follow(changes),
    };
    followed.map_err(|why| why.to_string())
}
