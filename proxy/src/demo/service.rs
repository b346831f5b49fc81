//! What the demo's services are, and what they answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wiremesh::Kind;
use wiremesh_bolt::{BoltFrame, Builder, Version, codec};
use xxhash_rust::xxh3::xxh3_64;

/// The class that SOFARPC gives its requests.
const REQUEST: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";
/// The class that SOFARPC gives its responses.
const RESPONSE: &str = "com.alipay.sofa.rpc.core.response.SofaResponse";

/// How long a caller waits, in milliseconds.
const TIMEOUT: i32 = 3_000;

/// One request of so many is answered by an error of the application's, which is no failure of the mesh's.
const BUSINESS_ERROR: u64 = 150;

/// How many endpoints each service has.
pub(super) const ENDPOINTS: usize = 2;

/// The services: each is a route and a cluster of its own.
pub(super) const SERVICES: [Service; 3] = [
    Service { name: "shop.Inventory:1.0", cluster: "inventory" },
    Service { name: "shop.Orders:1.0", cluster: "orders" },
    Service { name: "shop.Pricing:1.0", cluster: "pricing" },
];

/// The methods, and how often they are called.
pub(super) const METHODS: [Method; 6] = [
    Method { service: 0, name: "check", share: 30, took: [1, 1], answer: 120 },
    Method { service: 0, name: "reserve", share: 10, took: [2, 2], answer: 40 },
    Method { service: 1, name: "get", share: 15, took: [1, 2], answer: 900 },
    Method { service: 1, name: "place", share: 10, took: [3, 4], answer: 200 },
    Method { service: 2, name: "list", share: 5, took: [2, 3], answer: 8_000 },
    Method { service: 2, name: "quote", share: 30, took: [1, 1], answer: 80 },
];

/// A service.
pub(super) struct Service {
    /// SOFARPC's unique name: interface and version.
    pub(super) name: &'static str,
    /// Its cluster.
    pub(super) cluster: &'static str,
}

/// A method.
pub(super) struct Method {
    service: usize,
    pub(super) name: &'static str,
    share: u32,
    /// The least time that it takes, and how much more it takes on average, in milliseconds.
    took: [u32; 2],
    /// About how long its answer is, in bytes.
    answer: usize,
}

/// What a method is asked, as JSON.
#[derive(Deserialize, Serialize)]
struct Question<'a> {
    /// No two requests have the same.
    nonce: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

/// What it answers.
#[derive(Serialize)]
struct Answer<'a> {
    nonce: &'a str,
    service: &'static str,
    method: &'static str,
    /// A hash of the question as it arrived.
    saw: u64,
    data: &'a str,
}

/// An answer's content, and whether it is an error of the application's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) content: Vec<u8>,
    pub(super) business_error: bool,
}

impl Method {
    /// One of them, by their shares.
    pub(super) fn pick(rng: &mut fastrand::Rng) -> &'static Self {
        let all: u32 = METHODS.iter().map(|method| method.share).sum();
        let mut at = rng.u32(..all);
        let found = METHODS.iter().find(|method| {
            let here = at < method.share;
            at = at.saturating_sub(method.share);
            here
        });
        found.unwrap_or(&METHODS[0])
    }

    /// The method that a request asks for.
    pub(super) fn of(service: &str, name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name && method.service().name == service)
    }

    /// Its service.
    pub(super) fn service(&self) -> &'static Service {
        &SERVICES[self.service]
    }

    /// A request's content.
    pub(super) fn question(nonce: &str, note: &str) -> Vec<u8> {
        serde_json::to_vec(&Question { nonce, note }).unwrap_or_default()
    }

    /// The answer: the same wherever it is computed, so that a caller knows what to expect. `None` if the question cannot be
    /// read.
    pub(super) fn answer(&self, question: &[u8]) -> Option<Reply> {
        let Question { nonce, .. } = serde_json::from_slice(question).ok()?;
        let saw = xxh3_64(question);
        if saw.is_multiple_of(BUSINESS_ERROR) {
            let content = serde_json::to_vec(&format!("{nonce}: sold out")).ok()?;
            return Some(Reply { content, business_error: true });
        }
        let data = "x".repeat(self.answer);
        let service = self.service().name;
        let answer = Answer { nonce, service, method: self.name, saw, data: &data };
        Some(Reply { content: serde_json::to_vec(&answer).ok()?, business_error: false })
    }

    /// How long it takes this time: mostly little, now and then much longer.
    pub(super) fn takes(&self, rng: &mut fastrand::Rng) -> Duration {
        let [least, more] = self.took.map(f64::from);
        let tail = -(1.0 - rng.f64()).ln();
        Duration::from_secs_f64((least + more * tail.min(8.0)) / 1e3)
    }
}

/// A request frame; `None` if it would be too long.
pub(super) fn request(
    version: Version,
    id: u32,
    method: &Method,
    content: &[u8],
) -> Option<BoltFrame> {
    let service = method.service().name;
    Builder {
        version,
        kind: Kind::Request,
        id,
        codec: codec::JSON,
        switch: switch(version),
        timeout: TIMEOUT,
        class: REQUEST.as_bytes(),
        headers: &[
            ("service", service),
            ("sofa_head_target_service", service),
            ("sofa_head_method_name", method.name),
            ("app", "demo"),
        ],
        content,
        ..Builder::default()
    }
    .build()
    .ok()
}

/// A response frame; `None` if it would be too long.
pub(super) fn response(version: Version, id: u32, reply: &Reply) -> Option<BoltFrame> {
    let error = [("sofa_head_response_error", "true")];
    Builder {
        version,
        kind: Kind::Response,
        id,
        codec: codec::JSON,
        switch: switch(version),
        class: RESPONSE.as_bytes(),
        headers: if reply.business_error { &error } else { &[] },
        content: &reply.content,
        ..Builder::default()
    }
    .build()
    .ok()
}

/// The response to what cannot be answered.
pub(super) fn refusal(version: Version, id: u32) -> Option<BoltFrame> {
    let status = wiremesh_bolt::ResponseStatus::ServerDeserialException.code();
    Builder { version, kind: Kind::Response, id, status, ..Builder::default() }.build().ok()
}

/// Bit 0: with a CRC, where the version has one.
fn switch(version: Version) -> u8 {
    u8::from(version == Version::V2Crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_its_question() {
        let [check, get] = [&METHODS[0], &METHODS[2]];
        let [one, two] = ["1", "2"].map(|nonce| Method::question(nonce, ""));
        assert_eq!(check.answer(&one), check.answer(&one));
        assert_ne!(check.answer(&one), check.answer(&two));
        assert_ne!(check.answer(&one), get.answer(&one));
        assert_eq!(check.answer(b"{}"), None);
    }

    #[test]
    fn business_errors_are_rare_but_there() {
        let mut nonce = (0..10_000).map(|i| Method::question(&i.to_string(), ""));
        let errors =
            nonce.by_ref().filter(|q| METHODS[0].answer(q).is_some_and(|r| r.business_error));
        let errors = errors.count();
        assert!((20..200).contains(&errors), "{errors}");
    }
}
