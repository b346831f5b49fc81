//! What the upstream says.

use bytes::BytesMut;
use wiremesh::DecodeError;

use super::{
    Pooled,
    access::{Prepared, is_gtid},
    client::Sending,
    prepare::Step,
};
use crate::{
    Command, Mysql, MysqlFrame,
    classify::Diagnostics,
    frame::What,
    pooled::{
        statements::PrepareReply,
        transcode::{Renumber, Told},
    },
    session::{Change, Changes},
    wire::{HEAD, Head},
};

type Taken = Result<Option<MysqlFrame>, DecodeError>;

/// For so many statements after the one that made an id `LAST_INSERT_ID()` is waited for.
const INSERT: u8 = 5;

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
            let over = self.sending == Sending::Nothing;
            let right = match self.step {
                Step::None => self.turn.is_answered_by(head, body, over),
                _ => head.seq == 1,
            };
            if !right {
                return Err(DecodeError::Malformed { what: "packet: it is out of sequence" });
            }
        }
        let before = self.transcoder.outcome().rows;
        let mut news = News::default();
        let step = self.step != Step::None;
        let (state, doing, transaction) = (&mut self.state, &mut self.doing, &mut self.transaction);
        let characteristics = &mut self.characteristics;
        let set = doing.set.as_deref();
        let mut causal = mysql.causal_reads.map(|_| &mut self.causal);
        let mariadb = self.server != crate::collation::Collations::Mysql8;
        let mut next = state.clone();
        let mut listen = |told: Told<'_>| match told {
            Told::State(changes) if !step => {
                for change in changes.clone().flatten() {
                    match change {
                        Change::Transaction(now) => *transaction = Some(now),
                        Change::Gtid(gtid) => {
                            news.gtid = true;
                            if let Some(causal) = &mut causal {
                                causal.wrote(gtid);
                            }
                        }
                        Change::Variable { name, value } if mariadb && is_gtid(name, value) => {
                            news.gtid = true;
                            if let Some(causal) = &mut causal {
                                causal.wrote(value);
                            }
                        }
                        Change::Characteristics(text) => *characteristics = !text.is_empty(),
                        _ => {}
                    }
                }
                let followed = follow(&mut next, changes, set, doing.command);
                if let Err(why) = followed {
                    news.pin = Some(why);
                }
            }
            Told::Ok(ok) => {
                news.insert |= ok.insert_id != 0;
                news.warned |= ok.warnings > 0;
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
        if news.pin.is_some() {
            self.doing.pin = news.pin;
        }
        self.doing.warned |= news.warned && !step;
        if news.insert {
            self.insert = INSERT.saturating_add(1);
            self.knows_id = true;
            self.past = self.past.and(Diagnostics::LAST_INSERT_ID);
        }
        if news.gtid {
            self.past = self.past.and(Diagnostics::LAST_GTID);
        }
        self.is_now(next);
        let outcome = *self.transcoder.outcome();
        let last = self.transcoder.is_done();
        if step {
            self.look(&mut bytes, outcome.error.is_some());
        } else {
            self.name_statement(&mut bytes);
            if outcome.files > self.files {
                self.files = outcome.files;
                self.sending = Sending::File;
                self.client.begin(None);
                let (ahead, next) = (self.transcoder.ahead(), self.transcoder.next_seq());
                self.renumber = Renumber::new(ahead);
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
        if self.doing.command != Some(Command::StmtPrepare) || self.doing.seen {
            return;
        }
        self.doing.seen = true;
        let (Some(place), Some(body)) = (&mut self.place, bytes.get_mut(HEAD..)) else { return };
        let reply = self.statements.on_prepare_reply(body, &mut place.prepared);
        if let (PrepareReply::Pass, [0, a, b, c, d, ..]) = (reply, &*body) {
            let id = u32::from_le_bytes([*a, *b, *c, *d]);
            let (traits, state, dialect) = (self.doing.traits, self.state.clone(), self.dialect());
            self.prepared.insert(id, Prepared { traits, state, dialect, access: None });
        }
    }
}

/// What a reply has said besides.
#[derive(Default)]
struct News {
    pin: Option<String>,
    insert: bool,
    warned: bool,
    gtid: bool,
}

fn follow(
    state: &mut crate::pooled::state::State,
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
