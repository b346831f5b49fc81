//! Pooled mode: clients that give query attributes, before servers that know them and others that do not.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use wiremesh_mysql::{Capabilities, Command, QueryAttributes, wire::Reader};
use wiremesh_proxy::config::{Cluster, Route};

use crate::{
    common::{block_on, start, thread::ServerThread},
    peers::Talk,
    pooled::{Client, TOLD, greet_with, pooled_to},
};

const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

/// A server that answers all by OK, with its number as the rows that were changed, and reads what it is asked as was agreed.
struct Server {
    thread: ServerThread,
    /// Attributes, and the text; `None`: without the capability.
    said: Arc<Mutex<Vec<Said>>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Said {
    attributes: Option<Vec<(String, String)>>,
    text: Vec<u8>,
}

fn said(attributes: Option<&[(&str, &str)]>, text: &str) -> Said {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    Said { attributes: attributes.map(owned), text: text.into() }
}

impl Server {
    fn start(number: u8, offers: Capabilities) -> Self {
        let said = Arc::<Mutex<Vec<Said>>>::default();
        let thread = ServerThread::each({
            let said = Arc::clone(&said);
            move |stream| {
                let said = said.clone();
                async move {
                    let mut talk = Talk::new(stream);
                    if let Some(agreed) = greet_with(&mut talk, offers).await {
                        while serve(&mut talk, number, agreed, &said).await.is_some() {}
                    }
                }
            }
        });
        Self { thread, said }
    }

    fn address(&self) -> SocketAddr {
        self.thread.address
    }

    /// Queries but for what sets a connection up, which is to be read as all others.
    fn said(&self) -> Vec<Said> {
        let said = self.said.lock().expect("not poisoned");
        said.iter().filter(|said| !said.text.starts_with(b"SET NAMES")).cloned().collect()
    }
}

async fn serve(
    talk: &mut Talk,
    number: u8,
    agreed: Capabilities,
    said: &Mutex<Vec<Said>>,
) -> Option<()> {
    let (_, asked) = talk.receive().await?;
    match Command::of(asked[0]).expect("it is known") {
        Command::Quit => return None,
        Command::Query => {
            let mut rest = Reader::new(&asked[1..]);
            let attributes = agreed.has(ATTRIBUTES).then(|| {
                let all = QueryAttributes::take(&mut rest).expect("they are laid out so");
                let text = |value: wiremesh_mysql::Value<'_>| value.text().map(Into::into);
                all.map(|(name, value)| {
                    (String::from_utf8_lossy(name).into(), text(value).unwrap_or_default())
                })
                .collect()
            });
            let text = rest.rest().to_vec();
            let sets_up = text.windows(13).any(|word| word == b"session_track");
            said.lock().expect("not poisoned").push(Said { attributes, text });
            if sets_up {
                return talk.send(1, TOLD).await;
            }
        }
        _ => {}
    }
    talk.send(1, &[0, number, 0, 2, 0, 0, 0]).await
}

/// A query with attributes that are strings.
fn query(attributes: &[(&str, &str)], text: &str) -> Vec<u8> {
    let count = u8::try_from(attributes.len()).expect("they are few");
    let mut body = vec![count, 1];
    if count > 0 {
        body.extend([0, 1]);
    }
    for (name, _) in attributes {
        body.extend([0xfe, 0, u8::try_from(name.len()).expect("it is short")]);
        body.extend(name.as_bytes());
    }
    for (_, value) in attributes {
        body.push(0xfd);
        body.extend(&value.len().to_le_bytes()[..3]);
        body.extend(value.as_bytes());
    }
    body.extend(text.as_bytes());
    body
}

#[test]
fn they_reach_a_server_that_knows_them() {
    let server = Server::start(1, ATTRIBUTES);
    let proxy = start(pooled_to(&[server.address()], 4));
    block_on(async {
        let mut one = Client::connect_with(&proxy, ATTRIBUTES).await;
        let mut other = Client::connect(&proxy).await;
        let who = [("who", "wm"), ("trace", "00-1")];
        assert_eq!(one.say(Command::Query, &query(&who, "delete from a")).await, Ok(1));
        assert_eq!(other.ask("delete from b").await, Ok(1));
        assert_eq!(one.say(Command::Query, &query(&[], "delete from c")).await, Ok(1));
        // A schema, for which the proxy has something to say itself.
        assert_eq!(one.command(Command::InitDb, "shop").await, Ok(1));
        assert_eq!(one.say(Command::Query, &query(&who[..1], "delete from d")).await, Ok(1));
    });
    let expected = [
        said(Some(&[("who", "wm"), ("trace", "00-1")]), "delete from a"),
        said(None, "delete from b"),
        said(Some(&[]), "delete from c"),
        said(Some(&[("who", "wm")]), "delete from d"),
    ];
    assert_eq!(server.said(), expected);
    // What sets connections up is read like that, too.
    let setups = server.said.lock().expect("not poisoned").len() - expected.len();
    assert!(setups >= 2, "{setups} connections were set up");
}

#[test]
fn they_are_left_out_for_a_server_that_does_not() {
    let server = Server::start(1, Capabilities(0));
    let proxy = start(pooled_to(&[server.address()], 1));
    block_on(async {
        let mut client = Client::connect_with(&proxy, ATTRIBUTES).await;
        let asked = query(&[("who", "wm")], "delete from a");
        assert_eq!(client.say(Command::Query, &asked).await, Ok(1));
        // Attributes and a statement that come in pieces, and a statement that is not waited for.
        for (value, text) in [(300_000, 30), (30, 3_000_000)] {
            let value = "v".repeat(value);
            let text = format!("delete from b where c = '{}'", "x".repeat(text));
            let asked = query(&[("who", &value)], &text);
            assert_eq!(client.say(Command::Query, &asked).await, Ok(1));
        }
    });
    let texts: Vec<_> =
        server.said().iter().map(|said| said.text.trim_ascii_start().to_vec()).collect();
    assert_eq!(texts[0], b"delete from a");
    assert_eq!(texts[1].len(), "delete from b where c = ''".len() + 30);
    // What the rest of it asks for is not seen: nobody's id is to be there.
    assert_eq!(texts[2], b"SELECT LAST_INSERT_ID(0)");
    assert_eq!(texts[3].len(), "delete from b where c = ''".len() + 3_000_000);
    assert!([1, 3].into_iter().all(|at| texts[at].starts_with(b"delete from b where c = 'x")));
}

#[test]
fn what_is_not_laid_out_so_is_refused_and_the_session_goes_on() {
    let server = Server::start(1, ATTRIBUTES);
    let proxy = start(pooled_to(&[server.address()], 1));
    block_on(async {
        let mut client = Client::connect_with(&proxy, ATTRIBUTES).await;
        for wrong in [&b""[..], b"\x01\x01\0\0\xfe\0\x01a\x01b", b"delete from a"] {
            assert_eq!(client.say(Command::Query, wrong).await, Err(1835));
        }
        assert_eq!(client.say(Command::Query, &query(&[], "delete from b")).await, Ok(1));
    });
    assert_eq!(server.said(), [said(Some(&[]), "delete from b")]);
}

#[test]
fn they_say_where_a_request_goes() {
    let servers = [Server::start(1, ATTRIBUTES), Server::start(2, Capabilities(0))];
    let mut config = pooled_to(&[servers[0].address()], 2);
    let mut archive = config.clusters[0].clone();
    archive.name = "archive".into();
    archive.endpoints = pooled_to(&[servers[1].address()], 2).clusters[0].endpoints.clone();
    config.clusters.push(Cluster { max_connections: 2, ..archive });
    let mut route = Route::to_cluster("archive", "archive");
    let matches = "{ headers: [{ name: route, exact: archive }] }";
    route.matches = serde_saphyr::from_str(matches).expect("a match");
    config.listeners[0].routes.insert(0, route);
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect_with(&proxy, ATTRIBUTES).await;
        let archive = [("route", "archive")];
        let hint = "/* wiremesh: route=archive */";
        for (attributes, text, server) in [
            (&archive[..], "delete from a".to_owned(), 2),
            (&[], "delete from a".to_owned(), 1),
            (&[], format!("{hint} delete from a"), 2),
            // The attribute wins.
            (&[("route", "here")], format!("{hint} delete from a"), 1),
            (&[("Route", "archive")], "delete from a".to_owned(), 2),
            (&[("a", "b"), ("route", "archive")], "delete from a".to_owned(), 2),
        ] {
            let asked = query(attributes, &text);
            assert_eq!(
                client.say(Command::Query, &asked).await,
                Ok(server),
                "{attributes:?} {text}"
            );
        }
    });
}
