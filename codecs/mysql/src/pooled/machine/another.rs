//! A session that becomes another one: `COM_CHANGE_USER`, `COM_RESET_CONNECTION`.

use std::mem;

use wiremesh::correlation::{Attachment, Handshake, Progress};

use super::{
    Pooled,
    doing::{Becoming, Doing},
    lent::Owed,
};
use crate::{
    Command, Mysql, MysqlFrame, error,
    pooled::{Entrance, statements::Problem},
};

impl Pooled {
    /// It wants to log in again.
    pub(super) fn change_user(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Attachment {
        self.doing = Doing::new(Some(Command::ChangeUser));
        let Some(admitted) = self.admitted.as_deref().cloned() else {
            return self.refuse(&Problem::unsupported("a login before the first"));
        };
        let (entrance, progress) = Entrance::change_user(mysql.accounts.clone(), admitted, request);
        self.enter(mysql, Box::new(entrance), progress)
    }

    /// More of what it has to say for that.
    pub(super) fn go_on_entering(&mut self, mysql: &Mysql, said: &MysqlFrame) -> Attachment {
        let Becoming::Unsure(mut entrance) = mem::take(&mut self.doing.own.becoming) else {
            return Attachment::Continue;
        };
        let progress = entrance.on_frame(mysql, said.clone());
        self.enter(mysql, entrance, progress)
    }

    fn enter(
        &mut self,
        mysql: &Mysql,
        entrance: Box<Entrance>,
        progress: Progress<Mysql>,
    ) -> Attachment {
        let own = &mut self.doing.own;
        match progress {
            Progress::Continue(frame) => {
                own.answer = frame.map(|frame| frame.bytes);
                own.becoming = Becoming::Unsure(entrance);
                Attachment::Answered
            }
            Progress::Done(frame) => {
                let Some(admitted) = entrance.into_admitted() else { return Attachment::Refused };
                own.answer = frame.map(|frame| frame.bytes);
                own.becoming = Becoming::Another(Box::new(Self::new(&admitted, mysql.version())));
                self.answered_anew(false)
            }
            Progress::Refused(frame, _) => {
                own.answer = frame.map(|frame| frame.bytes);
                Attachment::Refused
            }
            Progress::StartTls(_) => Attachment::Refused,
        }
    }

    /// A request that ends the session as it was has passed.
    pub(super) fn become_it(&mut self) {
        match mem::take(&mut self.doing.own.becoming) {
            same @ (Becoming::Same | Becoming::Unsure(_)) => {
                self.doing.own.becoming = same;
                return;
            }
            Becoming::Anew => {
                self.begin_anew();
                self.doing.own.answer = Some(error::done_in(1, self.session.status.lasting()));
            }
            Becoming::Another(another) => self.become_another(*another),
        }
        if self.lent.place.is_some() {
            self.lent.owes(Owed::Reset);
            self.lent.ended = true;
        }
    }

    fn become_another(&mut self, another: Self) {
        let before = mem::replace(self, another);
        self.lent = before.lent.of_another();
        (self.transcoder, self.causal) = (before.transcoder, before.causal);
        self.doing.own.answer = before.doing.own.answer;
        self.session.begin_after(&before.session);
        self.statements.begin_after(&before.statements);
        self.statements.speak_as_mariadb(self.session.is_mariadb());
    }
}
