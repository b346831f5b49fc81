//! A primary and its replicas, as they tell it themselves.

use wiremesh::topology::{Found, Shard, Shards, Topology};

use super::info::{Replication, question};
use crate::{Message, Redis};

/// Asks everybody that is known and whoever they name, and takes the one primary that there is.
///
/// A replica belongs to it if it says so itself, directly or through another replica, and is in step. Of several primaries
/// (one that has come back and has not been told that it was replaced) it is the one that more replicas follow.
#[derive(Default)]
pub(super) struct Replicated {
    primaries: Vec<String>,
    replicas: Vec<Replica>,
}

struct Replica {
    address: String,
    of: String,
    in_step: bool,
}

impl Topology<Redis> for Replicated {
    fn questions(&self, _asked: &str) -> Vec<Message> {
        vec![question()]
    }

    fn learn(&mut self, asked: &str, replies: &[Message]) -> Result<Found, String> {
        let address = asked.to_owned();
        Ok(Found::Ask(match Replication::parse(replies.first())? {
            Replication::Primary { replicas } => {
                self.primaries.push(address);
                replicas
            }
            Replication::Replica { of, in_step } => {
                self.replicas.push(Replica { address, of: of.clone(), in_step });
                vec![of]
            }
        }))
    }

    fn conclude(&mut self) -> Option<Result<Shards, String>> {
        let mut known: Vec<Shard> =
            self.primaries.iter().map(|primary| self.shard(primary)).collect();
        known.sort_by_key(|shard| std::cmp::Reverse(shard.replicas.len()));
        Some(match &mut known[..] {
            [] if self.replicas.is_empty() => return None,
            [] => Err("none of those that answer is a primary".to_owned()),
            [one, two, ..] if one.replicas.len() == two.replicas.len() => {
                let mut names = self.primaries.clone();
                names.sort_unstable();
                Err(format!("there is more than one primary: {}", names.join(", ")))
            }
            [shard, ..] => Ok(Shards { shards: vec![std::mem::take(shard)], slots: Vec::new() }),
        })
    }
}

impl Replicated {
    fn shard(&self, primary: &str) -> Shard {
        let mut replicas: Vec<String> = Vec::new();
        // A primary and a replica may call each other by other names than those they were asked by; where there is only
        // one primary, that does not matter.
        let only = self.primaries.len() == 1;
        loop {
            let before = replicas.len();
            for it in self.replicas.iter().filter(|it| it.in_step) {
                let of = |followed: &String| it.of == *followed;
                let follows = only || it.of == primary || replicas.iter().any(of);
                if follows && !replicas.contains(&it.address) {
                    replicas.push(it.address.clone());
                }
            }
            if replicas.len() == before {
                break;
            }
        }
        replicas.sort_unstable();
        Shard { primary: Some(primary.to_owned()), replicas }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{decoded, recorded};

    fn bulk(text: &str) -> Message {
        decoded(format!("${}\r\n{text}\r\n", text.len()).as_bytes())
    }

    fn primary() -> Message {
        bulk("role:master\r\n")
    }

    fn replica(of: &str, link: &str) -> Message {
        let (host, port) = of.rsplit_once(':').expect("an address");
        bulk(&format!(
            "role:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\nmaster_link_status:{link}\r\n"
        ))
    }

    /// What follows when these answer, in this order.
    fn conclude(answers: &[(&str, Message)]) -> Option<Result<Shards, String>> {
        let mut machine = Replicated::default();
        for (asked, reply) in answers {
            machine.learn(asked, std::slice::from_ref(reply)).expect("an answer");
        }
        machine.conclude()
    }

    fn shards(primary: &str, replicas: &[&str]) -> Option<Result<Shards, String>> {
        let replicas = replicas.iter().map(|it| (*it).to_owned()).collect();
        let shard = Shard { primary: Some(primary.to_owned()), replicas };
        Some(Ok(Shards { shards: vec![shard], slots: vec![] }))
    }

    #[test]
    fn whoever_is_named_is_asked() {
        let mut machine = Replicated::default();
        let found = machine.learn("127.0.0.1:27411", &[recorded("info-replica.resp2")]);
        assert_eq!(found, Ok(Found::Ask(vec!["127.0.0.1:27410".to_owned()])));
        let found = machine.learn("127.0.0.1:27410", &[recorded("info-primary.resp3")]);
        let named = ["127.0.0.1:27411", "127.0.0.1:27412"].map(str::to_owned);
        assert_eq!(found, Ok(Found::Ask(named.to_vec())));
        assert_eq!(machine.conclude(), shards("127.0.0.1:27410", &["127.0.0.1:27411"]));
    }

    #[test]
    fn replicas_that_are_not_in_step_are_left_out() {
        let answers =
            [("c:1", replica("a:1", "up")), ("a:1", primary()), ("b:1", replica("a:1", "down"))];
        assert_eq!(conclude(&answers), shards("a:1", &["c:1"]));
    }

    #[test]
    fn replicas_of_replicas_count() {
        let answers = [
            ("c:1", replica("b:1", "up")),
            ("a:1", primary()),
            ("b:1", replica("a:1", "up")),
            ("old:1", primary()),
        ];
        assert_eq!(conclude(&answers), shards("a:1", &["b:1", "c:1"]));
    }

    #[test]
    fn of_two_primaries_the_one_that_is_followed() {
        let lone = [("a:1", primary()), ("b:1", primary()), ("c:1", replica("b:1", "up"))];
        assert_eq!(conclude(&lone), shards("b:1", &["c:1"]));
        let even = conclude(&[("b:1", primary()), ("a:1", primary())]);
        assert_eq!(even, Some(Err("there is more than one primary: a:1, b:1".to_owned())));
    }

    #[test]
    fn no_primary() {
        assert_eq!(conclude(&[]), None);
        let left = conclude(&[("b:1", replica("a:1", "up"))]);
        assert_eq!(left, Some(Err("none of those that answer is a primary".to_owned())));
    }
}
