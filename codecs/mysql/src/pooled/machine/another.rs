//! A session that becomes another one: `COM_CHANGE_USER`, `COM_RESET_CONNECTION`.

use wiremesh::correlation::{Attachment, Handshake, Progress};

use super::{Becoming, Pooled};
use crate::{
    Mysql, MysqlFrame,
    collation::Collations,
    error,
    pooled::{Entrance, statements::Problem},
};

impl Pooled {
    /// It wants to log in again.
    pub(super) fn change_user(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Attachment {
        let Some(admitted) = self.admitted.as_deref().cloned() else {
            return self.refuse(&Problem::unsupported("a login before the first"));
        };
        let (entrance, progress) = Entrance::change_user(mysql.accounts.clone(), admitted, request);
        self.enter(mysql, entrance, progress)
    }

    /// More of what it has to say for that.
    pub(super) fn go_on_entering(&mut self, mysql: &Mysql, said: &MysqlFrame) -> Attachment {
        let Some(mut entrance) = self.entrance.take() else { return Attachment::Continue };
        let progress = entrance.on_frame(mysql, said.clone());
        self.enter(mysql, *entrance, progress)
    }

    fn enter(
        &mut self,
        mysql: &Mysql,
        entrance: Entrance,
        progress: Progress<Mysql>,
    ) -> Attachment {
        match progress {
            Progress::Continue(frame) => {
                self.answer = frame.map(|frame| frame.bytes);
                self.entrance = Some(Box::new(entrance));
                Attachment::Answered
            }
            Progress::Done(frame) => {
                let Some(admitted) = entrance.into_admitted() else { return Attachment::Refused };
                self.becoming = Becoming::Another(Box::new(Self::new(&admitted, mysql.version())));
                self.answer = frame.map(|frame| frame.bytes);
                self.answered_anew(false)
            }
            Progress::Refused(frame, _) => {
                self.answer = frame.map(|frame| frame.bytes);
                Attachment::Refused
            }
            Progress::StartTls(_) => Attachment::Refused,
        }
    }
    /// A request that ends the session as it was has passed.
    pub(super) fn become_it(&mut self) {
        match std::mem::take(&mut self.becoming) {
            Becoming::Same => return,
            Becoming::Anew => {
                self.begin_anew();
                self.answer = Some(error::done_in(1, self.status.lasting()));
            }
            Becoming::Another(another) => self.become_another(*another),
        }
        (self.reset, self.ended) = (self.place.is_some(), self.place.is_some());
    }

    fn become_another(&mut self, another: Self) {
        let before = std::mem::replace(self, another);
        (self.answer, self.place) = (before.answer, before.place);
        (self.transcoder, self.spoilt) = (before.transcoder, before.spoilt);
        (self.lent, self.causal) = (before.lent, before.causal);
        self.statements.begin_after(&before.statements);
        self.multi = before.multi;
        if before.met {
            self.meets(before.server);
        }
        if self.server != Collations::Mysql8 {
            // MariaDB ignores spaces after the first login only.
            self.begun = self.begun.clone().ignoring_spaces(false);
            self.is_now(self.state.clone().ignoring_spaces(false));
        }
    }
}
