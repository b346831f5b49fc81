//! The load generator against its own server: it counts what is right, and sees what is not.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    net::TcpListener,
    task::{LocalSet, spawn_local},
};
use wiremesh_benches::{
    Wire,
    client::{self, Load, Outcome},
    server,
    wire::{Bolt, Garbled, Reply},
};

fn load(target: SocketAddr) -> Load {
    Load {
        target,
        connections: 3,
        depth: 4,
        body: 100,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(100),
        watch: Some(std::process::id()),
    }
}

fn measured(server_wire: impl Wire + 'static, client_wire: impl Wire + 'static) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        spawn_local(server::serve(listener, Rc::new(server_wire)));
        client::run(Rc::new(client_wire), &load(target)).await.unwrap()
    })
}

#[test]
fn answers_are_counted() {
    let outcome = measured(Bolt, Bolt);
    assert!(outcome.requests > 0);
    assert_eq!(outcome.latency.len(), outcome.requests);
    assert!(outcome.cpu > Duration::ZERO && outcome.rss_kib > 0);
    assert_eq!((outcome.wrong, outcome.lost), (0, 0), "{outcome}");
}

/// Bolt whose clients do not look at ids, as in a protocol that has none.
struct InOrder;

impl Wire for InOrder {
    fn message_len(&self, input: &[u8]) -> Result<Option<usize>, Garbled> {
        Bolt.message_len(input)
    }

    fn put_request(&self, _id: u32, body: &[u8], out: &mut Vec<u8>) {
        Bolt.put_request(0, body, out);
    }

    fn put_reply(&self, request: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled> {
        Bolt.put_reply(request, out)
    }

    fn read_reply<'a>(&self, reply: &'a [u8]) -> Result<Reply<'a>, Garbled> {
        Ok(Reply { id: None, ..Bolt.read_reply(reply)? })
    }
}

#[test]
fn without_ids_the_order_tells() {
    let outcome = measured(InOrder, InOrder);
    assert!(outcome.requests > 0);
    assert_eq!((outcome.wrong, outcome.lost), (0, 0), "{outcome}");
}

type Damage = fn(&mut Vec<u8>);

/// Bolt whose server does something to every tenth answer.
struct Tenth(Cell<u32>, Damage);

impl Wire for Tenth {
    fn message_len(&self, input: &[u8]) -> Result<Option<usize>, Garbled> {
        Bolt.message_len(input)
    }

    fn put_request(&self, id: u32, body: &[u8], out: &mut Vec<u8>) {
        Bolt.put_request(id, body, out);
    }

    fn put_reply(&self, request: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled> {
        let mut reply = Vec::new();
        Bolt.put_reply(request, &mut reply)?;
        self.0.set(self.0.get() + 1);
        if self.0.get().is_multiple_of(10) {
            self.1(&mut reply);
        }
        out.append(&mut reply);
        Ok(())
    }

    fn read_reply<'a>(&self, reply: &'a [u8]) -> Result<Reply<'a>, Garbled> {
        Bolt.read_reply(reply)
    }
}

#[test]
fn wrong_answers_are_seen() {
    let damages: [(&str, Damage); 4] = [
        ("another nonce", |reply| reply[70] ^= 1),
        ("another filling", |reply| *reply.last_mut().unwrap() ^= 1),
        ("an unknown id", |reply| reply[5] = 0x7f),
        ("twice", |reply| reply.extend_from_within(..)),
    ];
    for (what, damage) in damages {
        let outcome = measured(Tenth(Cell::new(0), damage), Bolt);
        assert!(outcome.wrong > 0, "{what}: {outcome}");
    }
}

#[test]
fn an_error_ends_the_connection_and_loses_what_was_pending() {
    let outcome = measured(Tenth(Cell::new(0), |reply| reply[11] = 7), Bolt);
    assert_eq!(outcome.wrong, 3, "one on each connection: {outcome}");
    assert!(outcome.lost >= 3, "{outcome}");
}

#[test]
fn missing_answers_are_lost() {
    let outcome = measured(Tenth(Cell::new(0), Vec::clear), Bolt);
    assert_eq!((outcome.wrong, outcome.lost), (0, 12), "every slot ends up waiting: {outcome}");
}

#[test]
fn idle_connections_are_asked_before_and_after() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let idle = LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        spawn_local(server::serve(listener, Rc::new(Bolt)));
        client::idle(Rc::new(Bolt), &Load { connections: 50, ..load(target) }).await.unwrap()
    });
    // Fifty connections cost less than what a process gives back in the meantime.
    assert!(idle.before_kib > 0 && idle.after_kib > 0, "{idle}");
    assert_eq!((idle.wrong, idle.lost), (0, 0), "{idle}");
}
