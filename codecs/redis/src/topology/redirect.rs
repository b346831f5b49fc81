//! Errors that say to ask elsewhere, or again.

use wiremesh::topology::Redirect;

use super::join;
use crate::{Message, Redis};

/// What this error says about where to go.
///
/// `MOVED` and `ASK` name a slot and where it is; without a host, at the host that says so. `TRYAGAIN`, `CLUSTERDOWN` and
/// `LOADING` pass. `READONLY` and `MASTERDOWN` come from a replica.
pub(crate) fn redirect(error: &[u8]) -> Option<Redirect<Redis>> {
    let mut words = error.split(|byte| *byte == b' ');
    match words.next()? {
        word @ (b"MOVED" | b"ASK") => {
            let slot = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
            let to = std::str::from_utf8(words.next()?).ok()?.trim_end();
            let (host, port) = to.rsplit_once(':')?;
            let to = join(host, port.parse::<u16>().ok()?);
            Some(match word {
                // It has no name where names are told; the topology has its address.
                b"MOVED" if host == "?" => Redirect::Stale,
                b"MOVED" => Redirect::Moved { slot, to },
                _ => Redirect::Ask { to, before: Message::request(["ASKING"]) },
            })
        }
        b"TRYAGAIN" | b"CLUSTERDOWN" | b"LOADING" => Some(Redirect::Later),
        b"READONLY" | b"MASTERDOWN" => Some(Redirect::Stale),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wiremesh::correlation::Pipelined;

    use super::*;
    use crate::topology::tests::{decoded, recorded};

    fn told(reply: &Message) -> String {
        match Redis::default().redirect(reply) {
            None => "nothing".into(),
            Some(Redirect::Later) => "later".into(),
            Some(Redirect::Stale) => "stale".into(),
            Some(Redirect::Moved { slot, to }) => format!("{slot} at {to}"),
            Some(Redirect::Ask { to, before }) => {
                let before = before.args().map(|arg| String::from_utf8_lossy(arg).into_owned());
                format!("{} at {to}", before.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn as_servers_say_it() {
        for (name, says) in [
            ("error-moved", "12182 at 127.0.0.1:27402"),
            ("error-moved-hostname", "866 at node27400.example:27400"),
            ("error-moved-unknown-endpoint", "12182 at :27402"),
            ("error-ask", "ASKING at 127.0.0.1:27400"),
            ("error-tryagain", "later"),
            ("error-clusterdown", "later"),
            ("error-readonly", "stale"),
            ("cluster-disabled", "nothing"),
            ("cluster-slots", "nothing"),
        ] {
            assert_eq!(told(&recorded(&format!("{name}.resp2"))), says, "{name}");
        }
    }

    #[test]
    fn in_other_words() {
        for (reply, says) in [
            ("-MOVED 3999 ::1:6381\r\n", "3999 at [::1]:6381"),
            ("-MOVED 3999 ?:6381\r\n", "stale"),
            ("!21\r\nMOVED 1 10.0.0.1:6381\r\n", "1 at 10.0.0.1:6381"),
            ("-LOADING Redis is loading the dataset in memory\r\n", "later"),
            ("-MASTERDOWN Link with MASTER is down\r\n", "stale"),
            ("-MOVED\r\n", "nothing"),
            ("-MOVED 3999\r\n", "nothing"),
            ("-MOVED 70000 a:1\r\n", "nothing"),
            ("-MOVED 1 a\r\n", "nothing"),
            ("-ASK 1 a:70000\r\n", "nothing"),
            ("-CROSSSLOT Keys in request don't hash to the same slot\r\n", "nothing"),
            ("+MOVED 1 a:1\r\n", "nothing"),
        ] {
            assert_eq!(told(&decoded(reply.as_bytes())), says, "{reply}");
        }
    }
}
