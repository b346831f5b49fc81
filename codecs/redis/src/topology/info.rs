//! What a server tells of its replication.

use super::{join, value};
use crate::{Message, resp::Value};

/// The question.
pub(super) fn question() -> Message {
    Message::request(["INFO", "replication"])
}

/// How long a replica may have heard nothing of its primary, in seconds. It hears of it every 10 at least
/// (`repl-ping-replica-period`).
const MAX_LAG: i64 = 15;

/// A server's part in replication.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Replication {
    /// It takes writes; these follow it, as far as it knows.
    Primary { replicas: Vec<String> },
    /// It follows this one. `in_step`: it does now.
    Replica { of: String, in_step: bool },
}

impl Replication {
    /// What the answer says.
    pub(super) fn parse(reply: Option<&Message>) -> Result<Self, String> {
        let value = value(reply)?;
        let text = Value::as_str(&value).ok_or("its answer to INFO is not text")?;
        let field =
            |name: &str| text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'));
        match field("role") {
            Some("master") => {
                let replicas = text.lines().filter_map(follower).collect();
                Ok(Self::Primary { replicas })
            }
            Some("slave") => {
                let of = field("master_host").zip(field("master_port"));
                let (host, port) = of.ok_or("it follows nobody")?;
                let heard = field("master_last_io_seconds_ago").and_then(|ago| ago.parse().ok());
                let in_step = field("master_link_status") == Some("up")
                    && heard.is_none_or(|ago: i64| ago <= MAX_LAG);
                Ok(Self::Replica { of: join(host, port), in_step })
            }
            Some(other) => Err(format!("its role is {other:?}")),
            None => Err("it tells no role; a sentinel does not (see topology: sentinel)".into()),
        }
    }
}

/// `slave0:ip=127.0.0.1,port=6380,state=online,offset=1,lag=0`
fn follower(line: &str) -> Option<String> {
    let (name, fields) = line.strip_prefix("slave")?.split_once(':')?;
    name.parse::<u32>().ok()?;
    let field =
        |name| fields.split(',').find_map(|it| it.split_once('=').filter(|it| it.0 == name));
    Some(join(field("ip")?.1, field("port")?.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{decoded, recorded};

    fn parse(reply: &Message) -> Result<Replication, String> {
        Replication::parse(Some(reply))
    }

    #[test]
    fn primaries_and_replicas() {
        for version in ["resp2", "resp3"] {
            let primary = parse(&recorded(&format!("info-primary.{version}")));
            let replicas = vec!["127.0.0.1:27411".to_owned(), "127.0.0.1:27412".to_owned()];
            assert_eq!(primary, Ok(Replication::Primary { replicas }));
            let replica = parse(&recorded(&format!("info-replica.{version}")));
            let of = "127.0.0.1:27410".to_owned();
            assert_eq!(replica, Ok(Replication::Replica { of, in_step: true }));
        }
    }

    #[test]
    fn replicas_out_of_step() {
        let text = String::from_utf8(recorded("info-replica.resp2").bytes().to_vec()).unwrap();
        for (was, is) in [("link_status:up", "link_status:dn"), ("ago:1", "ago:99999")] {
            let text = text.split_once("\r\n").unwrap().1.trim_end().replace(was, is);
            let replica = parse(&decoded(format!("${}\r\n{text}\r\n", text.len()).as_bytes()));
            assert!(
                matches!(replica, Ok(Replication::Replica { in_step: false, .. })),
                "{was}: {replica:?}"
            );
        }
    }

    #[test]
    fn what_is_neither() {
        let sentinel = parse(&recorded("info-sentinel.resp2"));
        assert!(sentinel.is_err_and(|why| why.contains("topology: sentinel")));
        assert_eq!(parse(&decoded(b"-NOAUTH no\r\n")), Err("NOAUTH no".to_owned()));
        assert!(parse(&decoded(b":1\r\n")).is_err());
        assert_eq!(Replication::parse(None), Err("no answer".to_owned()));
    }
}
