//! Prepared statements of clients that share connections: whatever connection an execution lands on, the server reads what
//! the client means, and nothing of a stranger's.

mod client;
mod hostile;
mod server;
mod table;

use proptest::prelude::*;
use wiremesh_mysql::{Capabilities, pooled::statements::StatementLimits};

use self::{
    client::{ATTRIBUTES, Client, Place, command},
    server::{Answer, DOUBLE, Fails, LONGLONG, NULL, STRING, TINY, UNSIGNED, Value, parameters},
};

const TEXTS: [&[u8]; 6] =
    [b"select 1", b"select ?", b"select ? + ?", b"insert ?, ?", b"select ?????????", b"bad"];

/// How many statements a connection keeps.
const KEPT: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Prepare(usize),
    Execute {
        values: Vec<Value>,
        says: bool,
        cursor: bool,
        fails: Fails,
        attribute: bool,
    },
    LongData(u16, Vec<u8>),
    Fetch,
    Reset,
    Close,
    /// An id that there is not.
    Unknown,
    /// The client begins anew.
    Clear,
    /// The connection that the client has is gone.
    Lose,
    /// The connection that it would be lent is reset.
    Clean,
    Use(bool),
}

fn value() -> impl Strategy<Value = Value> {
    let number = |len| prop::collection::vec(any::<u8>(), len..=len).prop_map(Some);
    prop_oneof![
        4 => number(8).prop_map(|value| (LONGLONG, value)),
        1 => number(8).prop_map(|value| (UNSIGNED, value)),
        2 => number(1).prop_map(|value| (TINY, value)),
        2 => number(8).prop_map(|value| (DOUBLE, value)),
        3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|value| (STRING, Some(value))),
        1 => Just((NULL, None)),
        1 => Just((STRING, None)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let fails = prop_oneof![8 => Just(Fails::No), 1 => Just(Fails::Early), 1 => Just(Fails::Late)];
    let execute = (
        prop::collection::vec(value(), 9..=9),
        any::<bool>(),
        prop::bool::weighted(0.2),
        fails,
        prop::bool::weighted(0.2),
    );
    prop_oneof![
        5 => (0..TEXTS.len()).prop_map(Op::Prepare),
        20 => execute.prop_map(|(values, says, cursor, fails, attribute)| Op::Execute {
            values, says, cursor, fails, attribute,
        }),
        3 => (0..9_u16, prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(parameter, data)| Op::LongData(parameter, data)),
        3 => Just(Op::Fetch),
        1 => Just(Op::Reset),
        2 => Just(Op::Close),
        1 => Just(Op::Unknown),
        1 => Just(Op::Clear),
        1 => Just(Op::Lose),
        1 => Just(Op::Clean),
        1 => prop::bool::weighted(0.7).prop_map(Op::Use),
    ]
}

struct World {
    clients: Vec<Client>,
    places: Vec<Place>,
    made: u32,
}

fn place(made: &mut u32) -> Place {
    *made += 1;
    let capabilities = match *made % 3 {
        0 => ATTRIBUTES,
        1 => Capabilities::MARIADB_STMT_BULK,
        _ => Capabilities(0),
    };
    Place::new(capabilities, *made * 1000, KEPT)
}

impl World {
    fn new() -> Self {
        let limits = StatementLimits { statements: 6, ..StatementLimits::default() };
        let clients = (0..3).map(|n| Client::new(n, n == 1, limits)).collect();
        let mut made = 0;
        let places = (0..4).map(|_| place(&mut made)).collect();
        Self { clients, places, made }
    }

    fn step(&mut self, who: usize, lent: usize, which: usize, first: usize, op: Op) {
        let is_held = |at: usize| self.clients.iter().any(|client| client.held == Some(at));
        let lent = (0..4).map(|n| (lent + n) % 4).find(|at| !is_held(*at)).expect("one is free");
        let (client, places) = (&mut self.clients[who], &mut self.places[..]);
        let mut ids: Vec<u32> = client.known.keys().copied().collect();
        ids.sort_unstable();
        let id = ids.get(which % ids.len().max(1)).copied();
        let known = id.and_then(|id| client.known.get(&id).cloned());
        match (op, id.zip(known)) {
            (Op::Prepare(n), _) => {
                let full = client.known.len() >= 6;
                let expected = match TEXTS[n] {
                    _ if full => Err(1461),
                    b"bad" => Err(1064),
                    _ => Ok(()),
                };
                assert_eq!(client.prepare(places, lent, TEXTS[n]).map(drop), expected);
            }
            (Op::Execute { mut values, says, cursor, fails, attribute }, Some((id, known))) => {
                values.truncate(parameters(&known.text));
                let named = attribute && says && client.named;
                let attributes = match named {
                    true => vec![(b"name".to_vec(), (STRING, Some(b"value".to_vec())))],
                    false => Vec::new(),
                };
                let untyped = !values.is_empty() && !says && known.types.is_none();
                let other = known.schema != client.schema;
                let how = (cursor, says, fails);
                let outcome = client.execute(places, lent, id, values, &attributes, how, first);
                let right = match outcome {
                    None => !untyped && !known.lost && fails == Fails::No,
                    Some(1835) => untyped,
                    Some(1105) => known.lost,
                    Some(1615) => other,
                    Some(1205) => fails == Fails::Early,
                    Some(1062) => fails == Fails::Late,
                    Some(_) => false,
                };
                assert!(right, "{outcome:?} of {known:?}");
            }
            (Op::LongData(parameter, data), Some((id, known))) => {
                let parameters = parameters(&known.text) as u16;
                if parameters == 0 {
                    return;
                }
                let parameter = parameter % parameters;
                let rest = [&parameter.to_le_bytes()[..], &data].concat();
                let answer = client.ask(places, lent, &command(0x18, id, &rest), first);
                assert_eq!(answer, Answer::Nothing);
                let came = client.held.is_some_and(|at| {
                    places[at].server.has_long(client.number, &known.text, parameter, &data)
                });
                let other = known.schema != client.schema;
                let known = client.known.get_mut(&id).expect("it is known");
                // The cursor, if one was open, stays.
                match came && !known.lost {
                    true => known.long.entry(parameter).or_default().extend(data),
                    false => {
                        assert!(known.lost || other, "{known:?}");
                        known.lost = true;
                        known.long.clear();
                    }
                }
            }
            (Op::Fetch, Some((id, known))) => {
                let answer = client.ask(places, lent, &command(0x1c, id, &[5, 0, 0, 0]), first);
                let last = known.cursor == 1;
                match known.cursor {
                    0 => assert_eq!(answer, Answer::Error(1421)),
                    _ => assert_eq!(answer, Answer::Rows { text: known.text, last }),
                }
                let known = client.known.get_mut(&id).expect("it is known");
                known.cursor = known.cursor.saturating_sub(1);
            }
            (Op::Reset, Some((id, _))) => {
                let answer = client.ask(places, lent, &command(0x1a, id, &[]), first);
                assert_eq!(answer, Answer::Ok);
                let known = client.known.get_mut(&id).expect("it is known");
                (known.lost, known.cursor) = (false, 0);
                known.long.clear();
            }
            (Op::Close, Some((id, _))) => {
                let answer = client.ask(places, lent, &command(0x19, id, &[]), first);
                assert_eq!(answer, Answer::Nothing);
                client.known.remove(&id);
            }
            (Op::Unknown, _) => {
                for (code, expected) in [(0x17, 1243), (0x1a, 1243), (0x1c, 1243)] {
                    let packet = command(code, 77_777, &[0, 1, 0, 0, 0]);
                    let answer = client.ask(places, lent, &packet, first);
                    assert_eq!(answer, Answer::Error(expected));
                }
                for code in [0x18, 0x19] {
                    let packet = command(code, 77_777, &[0, 0, 1]);
                    assert_eq!(client.ask(places, lent, &packet, first), Answer::Nothing);
                }
            }
            (Op::Clear, _) => {
                client.statements.clear();
                client.known.clear();
                let at = client.held.take().unwrap_or(lent);
                places[at].prepared.clear();
                places[at].server.reset();
            }
            (Op::Lose, _) => {
                client.statements.on_failed();
                if let Some(at) = client.held.take() {
                    places[at] = place(&mut self.made);
                }
                for known in client.known.values_mut() {
                    known.lost |= !known.long.is_empty();
                    known.cursor = 0;
                    known.long.clear();
                }
            }
            (Op::Clean, _) => {
                places[lent].prepared.clear();
                places[lent].server.reset();
            }
            (Op::Use(shop), _) => {
                client.schema = if shop { b"shop".to_vec() } else { b"attic".to_vec() };
            }
            (_, None) => {}
        }
        self.check(who);
    }

    /// What must always be so.
    fn check(&self, who: usize) {
        let client = &self.clients[who];
        let has_state =
            client.known.values().any(|known| known.cursor > 0 || !known.long.is_empty());
        assert_eq!(client.held.is_some(), has_state);
        assert_eq!(client.statements.len(), client.known.len());
        for place in &self.places {
            // What is closed there is told with the next statement that is prepared.
            assert!(place.server.len() <= KEPT + 6 + 8, "{} are prepared", place.server.len());
            assert!(place.prepared.len() <= place.server.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn executions_mean_the_same_wherever_they_land(
        ops in prop::collection::vec((0..3_usize, 0..4_usize, 0..6_usize, 1..40_usize, op()), 1..120),
    ) {
        let mut world = World::new();
        for (who, lent, which, first, op) in ops {
            world.step(who, lent, which, first, op);
        }
    }
}
