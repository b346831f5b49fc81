//! The scripts that clients have brought, for servers that do not have them: where a client sees one server, what it has
//! brought to one must not be unknown to the next.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use sha1::{Digest, Sha1};

use crate::Message;

/// So many scripts are kept, those that came last.
const COUNT_MAX: usize = 256;

/// And none that is longer.
const LEN_MAX: usize = 64 * 1024;

/// And all together are no longer than this.
const BYTES_MAX: usize = 1 << 20;

/// What servers call a script.
type Sum = [u8; 20];

/// The scripts that were brought. They are looked up without a lock, since most are brought again and again.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    bodies: ArcSwap<HashMap<Sum, Arc<[u8]>>>,
    /// In the order of their coming, with their lengths.
    order: Mutex<VecDeque<(Sum, usize)>>,
}

impl Scripts {
    /// Takes note of a request about scripts: of one that brings one, or has all forgotten.
    pub(crate) fn note(&self, request: &Message) {
        let body = match request.command().map(|command| command.name) {
            Some("eval" | "eval_ro") => request.arg(1),
            Some("script|load") => request.arg(2),
            Some("script|flush") => {
                let mut order = self.order();
                order.clear();
                return self.bodies.store(Arc::default());
            }
            _ => None,
        };
        let Some(body) = body.filter(|body| body.len() <= LEN_MAX) else { return };
        let sum = Sha1::digest(body).into();
        if !self.bodies.load().contains_key(&sum) {
            self.keep(sum, body);
        }
    }

    #[cold]
    fn keep(&self, sum: Sum, body: &[u8]) {
        let mut order = self.order();
        let mut bodies = HashMap::clone(&self.bodies.load());
        if bodies.insert(sum, body.into()).is_some() {
            // Another thread was first.
            return;
        }
        order.push_back((sum, body.len()));
        let mut bytes: usize = order.iter().map(|(_, len)| len).sum();
        while order.len() > COUNT_MAX || bytes > BYTES_MAX {
            let Some((oldest, len)) = order.pop_front() else { break };
            bytes = bytes.saturating_sub(len);
            bodies.remove(&oldest);
        }
        self.bodies.store(Arc::new(bodies));
    }

    /// The request that brings the script which this one wants executed.
    pub(crate) fn load(&self, request: &Message) -> Option<Message> {
        let command = request.command()?;
        if !matches!(command.name, "evalsha" | "evalsha_ro") {
            return None;
        }
        let sum = sum(request.arg(1)?)?;
        let bodies = self.bodies.load();
        let body: &[u8] = bodies.get(&sum)?;
        let mut load = Message::request([&b"SCRIPT"[..], b"LOAD", body]);
        load.set_lane(request.lane());
        Some(load)
    }

    fn order(&self) -> MutexGuard<'_, VecDeque<(Sum, usize)>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of forty digits in any case.
fn sum(text: &[u8]) -> Option<Sum> {
    let (digits, []) = text.as_chunks::<2>() else { return None };
    let mut sum = Sum::default();
    if digits.len() != sum.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, [high, low]) in sum.iter_mut().zip(digits) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Message {
        Message::request(line.split(' '))
    }

    fn hex(body: &str) -> String {
        Sha1::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn loads(scripts: &Scripts, line: &str) -> Option<String> {
        let load = scripts.load(&request(line))?;
        let words = load.args().map(|word| String::from_utf8_lossy(word).into_owned());
        Some(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_was_brought_is_known_by_its_sum() {
        let scripts = Scripts::default();
        // As servers call it.
        assert_eq!(hex("return 1"), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        for (bring, body) in
            [("EVAL one 0", "one"), ("EVAL_RO two 1 k", "two"), ("SCRIPT LOAD three", "three")]
        {
            let line = format!("EVALSHA {} 1 k", hex(body));
            assert_eq!(loads(&scripts, &line), None);
            scripts.note(&request(bring));
            let load = Some(format!("SCRIPT LOAD {body}"));
            assert_eq!(loads(&scripts, &line), load);
            assert_eq!(
                loads(&scripts, &line.to_uppercase().replace("EVALSHA", "evalsha_ro")),
                load
            );
        }
        for line in ["GET one", "EVAL one 0", "EVALSHA one 0", "EVALSHA", "FCALL one 0"] {
            assert_eq!(loads(&scripts, line), None, "{line}");
        }
        scripts.note(&request("SCRIPT FLUSH ASYNC"));
        assert_eq!(loads(&scripts, &format!("EVALSHA {} 1 k", hex("one"))), None);
        scripts.note(&request("EVAL one 0"));
        assert!(loads(&scripts, &format!("EVALSHA {} 1 k", hex("one"))).is_some());
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let scripts = Scripts::default();
        let known = |body: &str| loads(&scripts, &format!("EVALSHA {} 0", hex(body))).is_some();
        for n in 0..COUNT_MAX {
            scripts.note(&request(&format!("EVAL s{n} 0")));
        }
        assert!(known("s0"));
        scripts.note(&request("EVAL new 0"));
        assert!(!known("s0") && known("s1") && known("new"));
        let long = |n: usize| format!("{n:04}{}", "x".repeat(LEN_MAX - 4));
        for n in 0..BYTES_MAX / LEN_MAX {
            scripts.note(&request(&format!("EVAL {} 0", long(n))));
        }
        assert!(!known("new") && known(&long(0)));
        scripts.note(&request(&format!("EVAL {}x 0", long(0))));
        assert!(!known(&(long(0) + "x")), "too long");
    }
}
