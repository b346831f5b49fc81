//! Where the requests of a client go that has a connection for itself, where there are several shards or clusters.

use wiremesh::correlation::{Access, Target, View};

use super::{Attached, is_harmless};
use crate::{
    Message,
    command::Class,
    spread::{self, CROSSSLOT, Place},
};

/// At most so many commands without a key are kept until one with a key tells where to.
const UNSENT_MAX: usize = 1000;

/// Where keys are: in a cluster, and in one that is sharded by this slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) cluster: usize,
    pub(super) slot: Option<u16>,
}

impl Spot {
    pub(super) fn target(self, access: Access) -> Target {
        self.slot.map_or(Target::Shard(0, access), |slot| Target::Slot(slot, access))
    }
}

/// What becomes of a request in the place of being sent on the connection.
pub(super) enum To {
    /// It is answered by this.
    Said(Message),
    /// It goes to another shard, on a connection that is shared.
    Aside(Spot),
    /// It is looked at again when all before it is answered.
    Wait,
}

impl Attached {
    /// Where a request goes, or what becomes of it in the place of being sent on the connection.
    pub(super) fn target(
        &mut self,
        view: &View<'_>,
        sharded: bool,
        request: &Message,
    ) -> Result<Target, To> {
        if !sharded {
            return Ok(Target::Shard(0, Access::Write));
        }
        let fresh = self.spot.is_none()
            && self.pending.is_empty()
            && !self.in_multi
            && !self.subscribed.any();
        let name = request.command().map_or("", |command| command.name);
        let in_multi = self.in_multi;
        let slot = match spread::place(request) {
            Place::Anywhere => None,
            Place::Slot(slot) => Some((view.shards > 0).then_some(slot)),
            Place::Several if view.shards == 0 => Some(None),
            Place::Several => {
                self.spoilt |= in_multi;
                self.over = fresh;
                return Err(To::Said(Message::error(CROSSSLOT)));
            }
        };
        if let Some(slot) = slot {
            let spot = Spot { cluster: view.cluster, slot };
            let known = self.spot.is_none_or(|own| own == spot);
            if known && (self.spot.is_some() || fresh || self.unsent.is_some()) {
                self.spot = Some(spot);
            } else if in_multi {
                self.spoilt = true;
                return Err(To::Said(Message::error(self.crossed(spot))));
            } else if request
                .command()
                .is_some_and(|c| matches!(c.class, Class::Plain | Class::Script))
            {
                return Err(To::Aside(spot));
            } else if !self.pending.is_empty() {
                // Perhaps the connection is not needed any more by then.
                return Err(To::Wait);
            } else {
                return Err(To::Said(Message::error(self.crossed(spot))));
            }
        }
        // When all is answered the connection may be given back, and this transaction go elsewhere.
        if name == "multi" && !in_multi && self.spot.is_some() && !self.pending.is_empty() {
            return Err(To::Wait);
        }
        // Where a transaction goes its first key tells.
        if name == "multi" && !in_multi && self.spot.is_none() && fresh {
            (self.in_multi, self.unsent) = (true, Some(Vec::new()));
            return Err(To::Said(Message::simple("OK")));
        }
        if let Some(unsent) = &mut self.unsent
            && self.spot.is_none()
        {
            match name {
                "discard" => {
                    self.over = true;
                    return Err(To::Said(Message::simple("OK")));
                }
                "multi" => {
                    return Err(To::Said(Message::error("ERR MULTI calls can not be nested")));
                }
                // An error that only a server can tell, or the end: any will do.
                "exec" | "quit" | "reset" => {}
                // What it does to the connection is to be followed.
                _ if request.command().is_some_and(|command| {
                    !matches!(command.class, Class::Plain | Class::Script)
                        && !is_harmless(command.name)
                        && name != "unwatch"
                }) => {}
                _ if request.command().is_none_or(|command| !command.takes(request.argc())) => {}
                _ if unsent.len() >= UNSENT_MAX => {
                    self.spoilt = true;
                    return Err(To::Said(Message::error(
                        "ERR wiremesh: too many commands without a key before the first with one",
                    )));
                }
                _ => {
                    unsent.push(request.clone());
                    return Err(To::Said(Message::simple("QUEUED")));
                }
            }
        }
        Ok(self.spot.map_or(Target::Any, |spot| spot.target(Access::Write)))
    }

    /// What is said to a command whose keys are not where those before it were.
    fn crossed(&self, spot: Spot) -> &'static str {
        match self.spot {
            Some(own) if own.cluster != spot.cluster => spread::CROSSCLUSTER,
            _ => CROSSSLOT,
        }
    }
}
