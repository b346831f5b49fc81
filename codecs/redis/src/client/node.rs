//! Commands about the cluster, where clients are shown a node of one.

use wiremesh::correlation::{Access, Part, Step, Target, View};

use super::{Client, attached::NOT_IN_MULTI};
use crate::{Message, Redis, face::NOWHERE, slot::SLOTS};

/// What a node of a cluster says to `SELECT`.
const NO_SELECT: &str = "ERR SELECT is not allowed in cluster mode";

impl Client {
    /// What becomes of a request that is about the cluster; any other is given back.
    pub(super) fn as_node(
        &mut self,
        redis: &Redis,
        view: &View<'_>,
        request: Message,
    ) -> Result<Step<Redis>, Message> {
        let Some(command) = request.command() else { return Err(request) };
        let selects = command.name == "select"
            && request.arg(1).and_then(number).is_some_and(|database| database != 0);
        if !selects && command.group != "cluster" {
            return Err(request);
        }
        if let Some(attached) = &mut self.attached {
            if attached.in_multi() {
                // What would be executed at the end tells of the server.
                attached.spoil();
                return Ok(Step::Answer(Message::error(NOT_IN_MULTI)));
            }
            if attached.is_to_be_refused(&self.setting) {
                return Err(request);
            }
            if attached.is_owed() {
                return Ok(Step::Wait(request));
            }
        }
        if !command.takes(request.argc()) {
            return Ok(self.beside(request, Target::Any));
        }
        let ok = || Ok(Step::Answer(Message::simple("OK")));
        match command.name {
            "select" => return Ok(Step::Answer(Message::error(NO_SELECT))),
            // The proxy follows ASK itself: whoever says this has no need to.
            "asking" => return ok(),
            "readonly" | "readwrite" => {
                self.primary_only = command.name == "readwrite";
                return ok();
            }
            _ => {}
        }
        let Some(node) = redis.face().node(view) else {
            return Ok(Step::Answer(Message::error(NOWHERE)));
        };
        Ok(match node.answer(command, &request, self.setting.version) {
            Some(answer) => Step::Answer(answer),
            None => {
                let target = slot_of(&request).filter(|_| view.shards > 0);
                let target = target.map(|slot| Target::Slot(slot, Access::Write));
                self.beside(request, target.unwrap_or(Target::Any))
            }
        })
    }

    /// Sends a request on a connection that is shared, behind what is on the client's own.
    fn beside(&self, request: Message, target: Target) -> Step<Redis> {
        if self.attached.is_some() {
            Step::Alone(request, target)
        } else {
            Step::Shared(request, target)
        }
    }
}

/// The slot that `CLUSTER COUNTKEYSINSLOT` or `GETKEYSINSLOT` asks for, if it is one.
fn slot_of(request: &Message) -> Option<u16> {
    u16::try_from(number(request.arg(2)?)?).ok().filter(|slot| *slot < SLOTS)
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The same, from the primary only.
pub(super) fn of_primary(step: Step<Redis>) -> Step<Redis> {
    let primary = |target| match target {
        Target::Slot(slot, _) => Target::Slot(slot, Access::Write),
        Target::Shard(shard, _) => Target::Shard(shard, Access::Write),
        other => other,
    };
    match step {
        Step::Shared(request, target) => Step::Shared(request, primary(target)),
        Step::Parts(mut parts, gather) => {
            parts.iter_mut().for_each(|part: &mut Part<Redis>| part.target = primary(part.target));
            Step::Parts(parts, gather)
        }
        other => other,
    }
}
