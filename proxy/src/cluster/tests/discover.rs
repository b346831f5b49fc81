//! When a topology is learnt, and from whom, in simulated time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use wiremesh::topology::{Found, Shard, Shards};

use super::{SECOND, addresses, at};
use crate::cluster::discover::{Asking, Learner, once, run};
use crate::cluster::{LocalCluster, Shared, resolve};
use crate::config::{self, Cluster};
use crate::net::Dial;

/// Servers, by address, and what they answer.
#[derive(Clone, Default)]
struct Servers(Rc<RefCell<World>>);

#[derive(Default)]
struct World {
    answers: HashMap<String, Answer>,
    /// Who was asked, and when.
    asked: Vec<(String, Instant)>,
    configured_only: bool,
    last_word: Option<Result<Shards, String>>,
}

#[derive(Clone)]
enum Answer {
    Shards(Vec<&'static str>),
    /// All slots are the first one's.
    Divided(Vec<&'static str>),
    Ask(Vec<&'static str>),
    Silence,
}

impl Servers {
    fn set(&self, server: &str, answer: Answer) {
        self.0.borrow_mut().answers.insert(server.into(), answer);
    }

    fn all(&self, servers: &[&str], primaries: &[&'static str]) {
        for server in servers {
            self.set(server, Answer::Shards(primaries.to_vec()));
        }
    }

    fn asked(&self) -> Vec<String> {
        self.0.borrow_mut().asked.drain(..).map(|(server, _)| server).collect()
    }

    /// How often somebody was asked, whoever it was.
    fn rounds(&self) -> usize {
        let mut times: Vec<_> = self.0.borrow_mut().asked.drain(..).map(|(_, at)| at).collect();
        times.dedup();
        times.len()
    }

    fn learner(&self) -> impl Fn(&Cluster) -> Result<Box<dyn Learner>, String> + 'static {
        let servers = self.clone();
        move |cluster| match &*cluster.topology {
            "cluster" => Ok(Box::new(servers.clone())),
            other => Err(format!("no topology {other}")),
        }
    }
}

fn shards(primaries: &[&str]) -> Shards {
    let shard = |it: &&str| Shard { primary: Some((*it).to_owned()), replicas: vec![] };
    Shards { shards: primaries.iter().map(shard).collect(), slots: vec![] }
}

impl Learner for Servers {
    fn ask<'a>(&'a mut self, asked: &'a str, dial: Dial) -> Asking<'a> {
        self.0.borrow_mut().asked.push((asked.to_owned(), Instant::now()));
        let answer = self.0.borrow().answers.get(&dial.address.to_string()).cloned();
        Box::pin(async move {
            match answer {
                None => Err("refused".to_owned()),
                Some(Answer::Shards(primaries)) => Ok(Found::Shards(shards(&primaries))),
                Some(Answer::Divided(primaries)) => {
                    let slots = vec![Some(0); 4];
                    Ok(Found::Shards(Shards { slots, ..shards(&primaries) }))
                }
                Some(Answer::Ask(next)) => {
                    Ok(Found::Ask(next.into_iter().map(str::to_owned).collect()))
                }
                Some(Answer::Silence) => std::future::pending().await,
            }
        })
    }

    fn unanswered(&mut self, _asked: &str) {}

    fn conclude(&mut self) -> Option<Result<Shards, String>> {
        self.0.borrow().last_word.clone()
    }

    fn configured_only(&self) -> bool {
        self.0.borrow().configured_only
    }
}

/// A cluster with these seeds, by port, that is learnt every 10 seconds.
fn seeds(ports: &[u16]) -> Arc<Shared> {
    let seeds = ports.iter().map(|port| at("127.0.0.1", *port, 1)).collect();
    let cluster = Cluster { topology: "cluster".into(), ..Cluster::new("test", seeds) };
    Shared::new(Arc::new(cluster))
}

async fn no_names(_: resolve::Name) -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other("no such name"))
}

/// Runs a test while the topology is learnt, in simulated time.
fn while_learning<F: Future>(shared: &Arc<Shared>, servers: &Servers, test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        tokio::task::spawn_local(run(shared.clone(), servers.learner(), no_names));
        sleep(Duration::from_millis(1)).await;
        test.await
    })
}

const A: &str = "127.0.0.1:1";
const B: &str = "127.0.0.1:2";
const C: &str = "127.0.0.1:3";

#[test]
fn it_is_learnt_again_at_intervals() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A, B], &[A, B]);
    while_learning(&shared, &servers, async {
        assert_eq!(addresses(&shared), [A, B]);
        assert_eq!(servers.asked(), [A]);
        sleep(8 * SECOND).await;
        assert_eq!(servers.asked().len(), 0);
        servers.all(&[A, B], &[B, C]);
        sleep(4 * SECOND).await;
        assert_eq!(addresses(&shared), [B, C]);
        assert_eq!(servers.asked().len(), 1);
    });
}

#[test]
fn while_a_shard_has_no_slots_it_is_learnt_every_second() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.set(A, Answer::Divided(vec![A]));
    servers.set(B, Answer::Divided(vec![A]));
    while_learning(&shared, &servers, async {
        sleep(8 * SECOND).await;
        assert_eq!(servers.rounds(), 1);
        servers.set(A, Answer::Divided(vec![A, B]));
        servers.set(B, Answer::Divided(vec![A, B]));
        sleep(4 * SECOND).await;
        assert_eq!(addresses(&shared), [A, B]);
        servers.asked();
        sleep(10 * SECOND).await;
        let rounds = servers.rounds();
        assert!((9..=12).contains(&rounds), "{rounds} times in 10 seconds");
        servers.set(A, Answer::Divided(vec![A]));
        servers.set(B, Answer::Divided(vec![A]));
        sleep(2 * SECOND).await;
        assert_eq!(addresses(&shared), [A]);
        servers.asked();
        // The pauses are 9 to 11 seconds long again, the first of them has begun.
        sleep(6 * SECOND).await;
        assert_eq!(servers.rounds(), 0);
    });
}

#[test]
fn whoever_is_known_is_asked_before_the_seeds_are() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A, B, C], &[B, C]);
    while_learning(&shared, &servers, async {
        assert_eq!(servers.asked(), [A]);
        sleep(200 * SECOND).await;
        let asked = servers.asked();
        assert!(asked.len() >= 18 && asked.iter().all(|it| it == B || it == C), "{asked:?}");
        assert!(asked.iter().any(|it| it == B) && asked.iter().any(|it| it == C), "{asked:?}");
        // Both are gone: the seed knows who is new.
        servers.0.borrow_mut().answers.clear();
        servers.all(&[A], &[A]);
        sleep(12 * SECOND).await;
        assert_eq!(addresses(&shared), [A]);
        assert_eq!(servers.asked().last().unwrap(), A);
    });
}

#[test]
fn only_the_seeds_are_asked_where_only_they_know() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A, B], &[B]);
    servers.0.borrow_mut().configured_only = true;
    while_learning(&shared, &servers, async {
        sleep(35 * SECOND).await;
        let asked = servers.asked();
        assert!(asked.len() >= 4 && asked.iter().all(|it| it == A), "{asked:?}");
    });
}

#[test]
fn a_seed_that_is_down_or_silent_is_passed_over() {
    let (shared, servers) = (seeds(&[1, 2, 3]), Servers::default());
    servers.set(B, Answer::Silence);
    servers.all(&[C], &[C]);
    while_learning(&shared, &servers, async {
        sleep(3 * SECOND).await;
        assert_eq!(addresses(&shared), [C]);
        assert_eq!(servers.asked(), [A, B, C]);
    });
}

#[test]
fn when_nobody_answers_the_old_stays_and_all_are_asked_again_soon() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A, B], &[A, B]);
    while_learning(&shared, &servers, async {
        servers.0.borrow_mut().answers.clear();
        sleep(60 * SECOND).await;
        assert_eq!(addresses(&shared), [A, B]);
        let problem = shared.asked().1.expect("a problem");
        assert_eq!(problem, "127.0.0.1:1: refused; 127.0.0.1:2: refused");
        servers.asked();
        sleep(10 * SECOND).await;
        let rounds = servers.asked().len() / 2;
        assert!((9..=12).contains(&rounds), "{rounds} times in 10 seconds");
        servers.all(&[A, B], &[B]);
        sleep(2 * SECOND).await;
        assert_eq!(addresses(&shared), [B]);
        assert_eq!(shared.asked().1, None);
    });
}

#[test]
fn nothing_told_is_nothing_learnt() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A], &[A]);
    while_learning(&shared, &servers, async {
        servers.all(&[A], &[]);
        sleep(15 * SECOND).await;
        assert_eq!(addresses(&shared), [A]);
        assert_eq!(shared.asked().1.as_deref(), Some("no endpoint was told"));
    });
}

#[test]
fn it_is_learnt_at_once_when_it_is_stale() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A, B], &[A]);
    let cluster = LocalCluster::new(shared.clone());
    while_learning(&shared, &servers, async {
        sleep(2 * SECOND).await;
        servers.all(&[A, B], &[B]);
        cluster.note_moved(0, A);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(addresses(&shared), [B]);
        // The failure of an endpoint says so, too.
        sleep(2 * SECOND).await;
        servers.all(&[A, B], &[A]);
        let endpoint = shared.endpoints().endpoints()[0].clone();
        shared.on_failure(&endpoint, std::time::Instant::now());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(addresses(&shared), [A]);
    });
}

#[test]
fn however_often_it_is_stale_it_is_learnt_at_intervals() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A], &[A]);
    let asked_in = |time: Duration| {
        let (shared, servers) = (shared.clone(), servers.clone());
        async move {
            servers.asked();
            let end = Instant::now() + time;
            while Instant::now() < end {
                shared.stale();
                sleep(Duration::from_millis(1)).await;
            }
            servers.rounds()
        }
    };
    while_learning(&shared, &servers, async {
        sleep(5 * SECOND).await;
        // After 0, 100, 300 and 700 ms, and then every second.
        let rounds = asked_in(10 * SECOND).await;
        assert!((12..=14).contains(&rounds), "{rounds}");
        // What changes often is learnt often.
        let mut rounds = 0;
        for n in 0..100 {
            let new: &str = format!("127.0.0.2:{}", n + 1).leak();
            servers.all(&[A, C], &[C, new]);
            rounds += asked_in(Duration::from_millis(100)).await;
        }
        assert!((80..=100).contains(&rounds), "{rounds}");
        // And when all is quiet, the first word counts again.
        sleep(5 * SECOND).await;
        assert_eq!(asked_in(Duration::from_millis(50)).await, 1);
    });
}

#[test]
fn those_that_are_named_are_asked_next() {
    let (shared, servers) = (seeds(&[1, 2]), Servers::default());
    servers.set(A, Answer::Ask(vec!["127.0.0.1:3", "127.0.0.1:4", "nonsense"]));
    servers.set(C, Answer::Ask(vec!["127.0.0.1:1"]));
    servers.set("127.0.0.1:4", Answer::Ask(vec![]));
    servers.set(B, Answer::Ask(vec![]));
    servers.0.borrow_mut().last_word = Some(Ok(shards(&[C])));
    while_learning(&shared, &servers, async {
        assert_eq!(servers.asked(), [A, C, "127.0.0.1:4", B]);
        assert_eq!(addresses(&shared), [C]);
        servers.0.borrow_mut().last_word = Some(Err("no primary".into()));
        sleep(11 * SECOND).await;
        assert_eq!(addresses(&shared), [C]);
        let problem = shared.asked().1.expect("a problem");
        assert_eq!(problem, "no primary; nonsense is no address");
    });
}

#[test]
fn names_stand_for_one_address_each() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (shared, servers) = (seeds(&[1]), Servers::default());
    servers.all(&[A], &["node.example:7", "lost.example:7", "[::1]:7"]);
    let names = |(host, port): resolve::Name| {
        std::future::ready(match &*host {
            "node.example" => {
                Ok(vec![([127, 0, 0, 9], port).into(), ([127, 0, 0, 8], port).into()])
            }
            _ => Err(io::Error::other("no such name")),
        })
    };
    runtime.block_on(once(&shared, servers.learner(), names));
    assert_eq!(addresses(&shared), ["127.0.0.8:7", "[::1]:7"]);
    let cluster = LocalCluster::new(shared);
    let found = cluster.at("node.example:7").expect("known by its name");
    assert_eq!(&**found.label(), "127.0.0.8:7");
}

#[test]
fn a_static_cluster_is_not_asked() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    let settings = Cluster { topology: "static".into(), ..(*shared.config()).clone() };
    shared.update(Arc::new(settings));
    while_learning(&shared, &servers, async { sleep(60 * SECOND).await });
    assert_eq!(servers.asked().len(), 0);
    assert_eq!(addresses(&shared), [A]);
}

#[test]
fn a_topology_that_cannot_be_learnt_is_told() {
    let (shared, servers) = (seeds(&[1]), Servers::default());
    let settings = Cluster {
        topology: "ring".into(),
        topology_refresh: config::Duration::from_secs(1),
        ..(*shared.config()).clone()
    };
    shared.update(Arc::new(settings));
    while_learning(&shared, &servers, async { sleep(10 * SECOND).await });
    assert_eq!(shared.asked().1.as_deref(), Some("no topology ring"));
    assert_eq!(servers.asked().len(), 0);
}
