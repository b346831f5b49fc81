//! `SCAN` over all shards, of one cluster or of several, one after the other. The cursor that clients see holds the
//! shard's number and the shard's own cursor; 0 still begins and ends.

use wiremesh::{
    Failure, Protocol,
    correlation::{Access, Gather, Part, Portion, Step, Target, View},
};

use crate::{Message, Redis, resp::Value};

/// The lowest bits of a cursor are the shard's number.
const SHARD_BITS: u32 = 12;

/// Scans one shard.
pub(super) fn scan(view: &View<'_>, request: &Message) -> Step<Redis> {
    let cursor =
        request.arg(1).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    let Some(cursor) = cursor else { return Step::Answer(Message::error("ERR invalid cursor")) };
    let mask = (1u64 << SHARD_BITS).saturating_sub(1);
    let number = usize::try_from(cursor & mask).unwrap_or(usize::MAX);
    // A cluster that is not sharded is one.
    let of_portion = |(n, portion): (usize, &Portion)| {
        (0..portion.shards.max(1)).map(move |shard| (Some(n), shard))
    };
    let own = (0..view.shards).map(|shard| (None, shard)).filter(|_| view.portions.is_empty());
    let mut shards = view.portions.iter().enumerate().flat_map(of_portion).chain(own).skip(number);
    let Some((portion, shard)) = shards.next() else {
        // There are fewer shards than when the scan was begun; what is left is scanned already.
        return Step::Answer(answer(0, Message::array([])));
    };
    let own = (cursor >> SHARD_BITS).to_string();
    let args = request.args().enumerate().map(|(n, arg)| if n == 1 { own.as_bytes() } else { arg });
    let mut part = Message::request(args);
    part.set_lane(request.lane());
    let gather = Scan { shard: number as u64, last: shards.next().is_none(), reply: None };
    let target = Target::Shard(shard, Access::Write);
    Step::Parts(vec![Part { request: part, target, portion }], Box::new(gather))
}

/// A shard's answer, its cursor to be replaced.
struct Scan {
    shard: u64,
    last: bool,
    reply: Option<Message>,
}

impl Gather<Redis> for Scan {
    fn reply(&mut self, _protocol: &Redis, _part: usize, reply: Message) {
        self.reply = Some(reply);
    }

    fn failed(&mut self, protocol: &Redis, _part: usize, failure: &Failure) {
        self.reply = protocol.reply(&None, failure);
    }

    fn finish(&mut self, _protocol: &Redis) -> Message {
        let odd = || Message::error("ERR wiremesh UPE: a shard answered SCAN by something else");
        let Some(reply) = self.reply.take() else { return odd() };
        if reply.is_error() {
            return reply;
        }
        let mut items = reply.items();
        let (Some(cursor), Some(keys)) = (items.next(), items.next()) else { return odd() };
        let cursor = Value::parse(cursor).and_then(|value| value.as_integer());
        let cursor = match cursor.and_then(|cursor| u64::try_from(cursor).ok()) {
            Some(0) if self.last => 0,
            Some(0) => self.shard.saturating_add(1),
            // A shard would need 2^52 buckets for this not to fit.
            Some(own) if own >> (64 - SHARD_BITS) == 0 => (own << SHARD_BITS) | self.shard,
            _ => return odd(),
        };
        answer(cursor, Message::raw(keys.into()))
    }
}

fn answer(cursor: u64, keys: Message) -> Message {
    Message::array([Message::bulk(cursor.to_string().as_bytes()), keys])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View<'static> {
        View { client: 1, shards: 3, nodes: 3, ..View::default() }
    }

    /// Scans shards of so many pages each; answers what was asked of which shard.
    fn walk(pages: u64) -> Vec<(usize, String)> {
        let asked = walk_over(&view(), pages);
        asked.into_iter().map(|(_, shard, cursor)| (shard, cursor)).collect()
    }

    /// The same, with the portion.
    fn walk_over(view: &View<'_>, pages: u64) -> Vec<(Option<usize>, usize, String)> {
        let (mut cursor, mut asked) = ("0".to_owned(), Vec::new());
        let redis = Redis::default();
        loop {
            let request = Message::request(["SCAN", &cursor, "COUNT", "5"]);
            let Step::Parts(parts, mut gather) = scan(view, &request) else {
                panic!("{cursor} is not asked of a shard");
            };
            let [Part { request, target: Target::Shard(shard, _), portion }] = &parts[..] else {
                panic!("one part");
            };
            let own = String::from_utf8(request.arg(1).unwrap().to_vec()).unwrap();
            let page: u64 = own.parse::<u64>().unwrap() >> 40;
            let next = if page + 1 == pages { 0 } else { (page + 1) << 40 };
            asked.push((*portion, *shard, own));
            let keys = Message::array([Message::bulk(b"k")]);
            gather.reply(&redis, 0, answer(next, keys));
            let reply = gather.finish(&redis);
            let Value::Array(values) = reply.value() else { panic!("an array") };
            cursor = values[0].as_str().unwrap().to_owned();
            assert_eq!(values[1].as_array().unwrap().len(), 1);
            if cursor == "0" {
                return asked;
            }
        }
    }

    #[test]
    fn every_page_of_every_shard_is_asked_for_once() {
        let asked = walk(2);
        let page = (1u64 << 40).to_string();
        let want = [0, 1, 2].map(|shard| [(shard, "0".to_owned()), (shard, page.clone())]);
        assert_eq!(asked, want.concat());
        assert_eq!(walk(1).len(), 3);
    }

    #[test]
    fn clusters_are_scanned_one_after_the_other() {
        let portion = |shards| Portion { shards, ..Portion::default() };
        let portions = [portion(0), portion(2), portion(1)];
        let view = View { shards: 0, divided: true, portions: &portions, ..view() };
        let asked = walk_over(&view, 1);
        let asked: Vec<_> = asked.iter().map(|(portion, shard, _)| (*portion, *shard)).collect();
        assert_eq!(asked, [(Some(0), 0), (Some(1), 0), (Some(1), 1), (Some(2), 0)]);
    }

    #[test]
    fn a_cursor_of_a_shard_that_is_gone_ends_the_scan() {
        let request = Message::request(["SCAN", "7"]);
        let Step::Answer(reply) = scan(&view(), &request) else { panic!() };
        assert_eq!(reply.bytes(), b"*2\r\n$1\r\n0\r\n*0\r\n");
        let request = Message::request(["SCAN", "x"]);
        let Step::Answer(reply) = scan(&view(), &request) else { panic!() };
        assert!(reply.is_error());
    }
}
