use bytes::BytesMut;
use wiremesh::{
    DecodeError, Failure, Limits, Peer, Wanted,
    correlation::{
        Access, Attachment, Cancel, Cancelled, Digester, Hold, Legs, Ready, SessionMachine,
    },
};

use crate::{
    Mysql, MysqlFrame,
    pooled::{Place, Pooled},
    transparent::Transparent,
};

/// Follows one client, in either mode.
#[derive(Debug)]
pub enum Machine {
    /// It has an upstream connection for itself.
    Transparent(Box<Transparent>),
    /// It is lent one while it must have one.
    Pooled(Box<Pooled>),
}

/// The one of the mode there is.
macro_rules! either {
    ($self:ident, $machine:ident => $what:expr) => {
        match $self {
            Machine::Transparent($machine) => $what,
            Machine::Pooled($machine) => $what,
        }
    };
}

impl SessionMachine<Mysql> for Machine {
    fn on_request(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Attachment {
        either!(self, machine => machine.on_request(mysql, request))
    }

    fn on_reply(&mut self, mysql: &Mysql, reply: &MysqlFrame) -> Hold<Mysql> {
        either!(self, machine => machine.on_reply(mysql, reply))
    }

    fn take(
        &mut self,
        mysql: &Mysql,
        from: Peer,
        state: &mut (),
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<MysqlFrame>, DecodeError> {
        either!(self, machine => machine.take(mysql, from, state, limits, input))
    }

    fn watch(&mut self, wanted: Wanted) -> bool {
        either!(self, machine => SessionMachine::<Mysql>::watch(&mut **machine, wanted))
    }

    fn secure(&mut self, legs: Legs) {
        either!(self, machine => SessionMachine::<Mysql>::secure(&mut **machine, legs));
    }

    fn start_tls(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Option<MysqlFrame> {
        either!(self, machine => machine.start_tls(mysql, request))
    }

    fn is_open(&self) -> bool {
        either!(self, machine => SessionMachine::<Mysql>::is_open(&**machine))
    }

    fn on_failed(&mut self, mysql: &Mysql) {
        either!(self, machine => machine.on_failed(mysql));
    }

    fn lane(&self) -> u64 {
        either!(self, machine => SessionMachine::<Mysql>::lane(&**machine))
    }

    fn attach(&mut self, place: Place) {
        either!(self, machine => SessionMachine::<Mysql>::attach(&mut **machine, place));
    }

    fn detach(&mut self) -> Place {
        either!(self, machine => SessionMachine::<Mysql>::detach(&mut **machine))
    }

    fn access(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Access {
        either!(self, machine => machine.access(mysql, request))
    }

    fn shadow(&mut self, mysql: &Mysql, request: &MysqlFrame) -> Option<Self> {
        match self {
            Self::Transparent(_) => None,
            Self::Pooled(machine) => Some(Self::Pooled(Box::new(machine.shadow(mysql, request)?))),
        }
    }

    fn digester(&self, request: &MysqlFrame) -> Option<Box<dyn Digester<Mysql>>> {
        either!(self, machine => SessionMachine::<Mysql>::digester(&**machine, request))
    }

    fn needs_same(&self) -> bool {
        either!(self, machine => machine.needs_same())
    }

    fn begins_to_hold(&self) -> bool {
        either!(self, machine => machine.begins_to_hold())
    }

    fn prepare(&mut self, mysql: &Mysql, request: &mut MysqlFrame) -> Ready<Mysql> {
        either!(self, machine => machine.prepare(mysql, request))
    }

    fn let_go(&mut self, mysql: &Mysql) -> Hold<Mysql> {
        either!(self, machine => machine.let_go(mysql))
    }

    fn owner(&self) -> &[u8] {
        either!(self, machine => SessionMachine::<Mysql>::owner(&**machine))
    }

    fn cancelled(&mut self, cancel: &Cancel, outcome: Cancelled) -> Option<MysqlFrame> {
        either!(self, machine => SessionMachine::<Mysql>::cancelled(&mut **machine, cancel, outcome))
    }

    fn leave(&mut self, mysql: &Mysql) -> Hold<Mysql> {
        either!(self, machine => machine.leave(mysql))
    }

    fn answer(&mut self) -> Option<MysqlFrame> {
        either!(self, machine => SessionMachine::<Mysql>::answer(&mut **machine))
    }

    fn farewell(&mut self, mysql: &Mysql, failure: &Failure) -> Option<MysqlFrame> {
        either!(self, machine => machine.farewell(mysql, failure))
    }
}
