//! Name resolution and health checks, in simulated time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use super::{SECOND, addresses, at, config};
use crate::cluster::{Address, EndpointState, LocalCluster, Shared, health, resolve};
use crate::config::{Balance, Cluster, Health};

/// What names resolve to, and how often each was asked for.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, Answer>>>);

#[derive(Default)]
struct Answer {
    addresses: Vec<SocketAddr>,
    asked: u32,
}

impl Names {
    /// From now on. Nothing: an error.
    fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.lock().unwrap().entry(name.into()).or_default().addresses = addresses;
    }

    fn asked(&self, name: &str) -> u32 {
        self.0.lock().unwrap()[name].asked
    }

    fn resolver(
        &self,
    ) -> impl Fn(resolve::Name) -> std::future::Ready<io::Result<Vec<SocketAddr>>> + 'static {
        let names = Arc::clone(&self.0);
        move |(host, _)| {
            let mut names = names.lock().unwrap();
            let answer = names.entry(host).or_default();
            answer.asked += 1;
            ready(match answer.addresses.len() {
                0 => Err(io::Error::other("no such name")),
                _ => Ok(answer.addresses.clone()),
            })
        }
    }
}

fn named(names: &[&str]) -> Cluster {
    let endpoints = names.iter().map(|name| at(name, 1, 1)).collect();
    Cluster { dns_refresh: config::Duration::from_secs(5), ..Cluster::new("test", endpoints) }
}

/// Runs in simulated time: it passes only while all tasks wait, and then at once.
fn simulate(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(LocalSet::new().run_until(test));
}

#[test]
fn names_are_resolved_again_and_again() {
    simulate(async {
        let names = Names::default();
        names.set("a", &["10.0.0.2:1", "10.0.0.1:1"]);
        names.set("b", &["[fd00::1]:1"]);
        let shared = Shared::new(Arc::new(named(&["a", "127.0.0.1", "b"])));
        assert_eq!(addresses(&shared), ["127.0.0.1:1"]);
        assert_eq!(shared.describe(Instant::now().into_std()).unresolved, ["a:1", "b:1"]);

        tokio::task::spawn_local(resolve::run(Arc::clone(&shared), names.resolver()));
        sleep(SECOND).await;
        assert_eq!(addresses(&shared), ["10.0.0.1:1", "10.0.0.2:1", "127.0.0.1:1", "[fd00::1]:1"]);
        let kept = shared.endpoints().endpoints()[1].id();
        let version = shared.version();

        // The same in another order is no change.
        names.set("a", &["10.0.0.1:1", "10.0.0.2:1"]);
        sleep(5 * SECOND).await;
        assert_eq!((shared.version(), names.asked("a")), (version, 2));

        names.set("a", &["10.0.0.3:1", "10.0.0.2:1"]);
        names.set("b", &[]);
        sleep(5 * SECOND).await;
        assert_eq!(
            addresses(&shared),
            ["10.0.0.2:1", "10.0.0.3:1", "127.0.0.1:1", "[fd00::1]:1"],
            "an answer is followed, an error is not"
        );
        assert_eq!(shared.endpoints().endpoints()[0].id(), kept);
        assert!(shared.describe(Instant::now().into_std()).unresolved.is_empty());
    });
}

#[test]
fn new_settings_are_resolved_at_once_and_keep_answers() {
    simulate(async {
        let names = Names::default();
        names.set("a", &["10.0.0.1:1"]);
        names.set("b", &["10.0.0.2:1"]);
        let shared = Shared::new(Arc::new(named(&["a"])));
        tokio::task::spawn_local(resolve::run(Arc::clone(&shared), names.resolver()));
        sleep(SECOND).await;
        let kept = shared.endpoints().endpoints()[0].id();

        names.set("a", &[]);
        shared.update(Arc::new(named(&["b", "a"])));
        assert_eq!(addresses(&shared), ["10.0.0.1:1"]);
        sleep(SECOND / 10).await;
        assert_eq!(addresses(&shared), ["10.0.0.2:1", "10.0.0.1:1"]);
        assert_eq!(shared.endpoints().endpoints()[1].id(), kept);

        // A name that left is forgotten.
        shared.update(Arc::new(named(&["b"])));
        shared.update(Arc::new(named(&["b", "a"])));
        assert_eq!(addresses(&shared), ["10.0.0.2:1"]);
    });
}

#[test]
fn a_slow_name_holds_nobody_up() {
    simulate(async {
        let shared = Shared::new(Arc::new(named(&["slow", "quick"])));
        let resolver = |(host, port): resolve::Name| async move {
            if host == "slow" {
                sleep(60 * SECOND).await;
            }
            Ok(vec![SocketAddr::from(([10, 0, 0, host.len() as u8], port))])
        };
        let run = resolve::once(&shared, resolver);
        tokio::select! {
            () = run => panic!("too soon"),
            () = sleep(SECOND) => assert_eq!(addresses(&shared), ["10.0.0.5:1"]),
        }
    });
}

#[test]
fn the_system_resolver_knows_localhost() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let addresses = runtime.block_on(resolve::lookup(("localhost".into(), 7))).unwrap();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
}

fn with_health(weights: &[u32], health: Option<Health>) -> Arc<Cluster> {
    Arc::new(Cluster { health, ..config(Balance::Random, weights) })
}

const EVERY_5_SECONDS: Health = Health {
    interval: config::Duration::from_secs(5),
    timeout: config::Duration::from_secs(1),
    healthy: 2,
    unhealthy: 3,
};

/// How a probe of each port ends; ports that are not named succeed.
#[derive(Clone, Copy, PartialEq)]
enum Probe {
    Ok,
    Refused,
    Silent,
}

#[derive(Default)]
struct Probes {
    results: RefCell<HashMap<u16, Probe>>,
    asked: RefCell<HashMap<u16, u32>>,
}

impl Probes {
    async fn probe(self: Rc<Self>, address: Address) -> Result<(), String> {
        let Address::Tcp(address) = address else { panic!("{address}") };
        *self.asked.borrow_mut().entry(address.port()).or_default() += 1;
        let result = self.results.borrow().get(&address.port()).copied().unwrap_or(Probe::Ok);
        match result {
            Probe::Ok => Ok(()),
            Probe::Refused => Err("refused".into()),
            Probe::Silent => {
                sleep(Duration::from_secs(3600)).await;
                Ok(())
            }
        }
    }

    fn asked(&self, port: u16) -> u32 {
        self.asked.borrow().get(&port).copied().unwrap_or(0)
    }

    fn start(self: &Rc<Self>, shared: &Arc<Shared>) {
        let probes = Rc::clone(self);
        let probe = move |address| Rc::clone(&probes).probe(address);
        tokio::task::spawn_local(health::run(Arc::clone(shared), probe));
    }
}

fn states(shared: &Shared) -> Vec<bool> {
    let now = Instant::now().into_std();
    let status = shared.describe(now);
    status.endpoints.iter().map(|endpoint| endpoint.state == EndpointState::Available).collect()
}

/// Waits until the endpoints are available, or not, like this; returns how long it took.
async fn until(shared: &Shared, expected: &[bool]) -> Duration {
    let start = Instant::now();
    let waiting = async {
        while states(shared) != expected {
            sleep(SECOND / 10).await;
        }
    };
    let waited = timeout(60 * SECOND, waiting).await;
    assert!(waited.is_ok(), "{:?} is not {expected:?}", states(shared));
    start.elapsed()
}

#[test]
fn failing_probes_take_an_endpoint_out_and_good_ones_bring_it_back() {
    simulate(async {
        let shared = Shared::new(with_health(&[1, 1, 1], Some(EVERY_5_SECONDS)));
        let probes = Rc::new(Probes::default());
        probes.results.borrow_mut().extend([(1, Probe::Refused), (2, Probe::Silent)]);
        probes.start(&shared);
        let took = until(&shared, &[false, false, true]).await;
        // Two intervals between three checks, give or take a tenth; the timeout is part of the interval.
        assert!(took >= 9 * SECOND && took <= 13 * SECOND, "{took:?}");
        assert!(probes.asked(1) >= 3 && probes.asked(3) >= 2);

        probes.results.borrow_mut().clear();
        let took = until(&shared, &[true; 3]).await;
        assert!(took >= 4 * SECOND && took <= 12 * SECOND, "{took:?}");
    });
}

#[test]
fn checks_follow_endpoints_and_settings() {
    simulate(async {
        let shared = Shared::new(with_health(&[1], None));
        let probes = Rc::new(Probes::default());
        probes.start(&shared);
        sleep(60 * SECOND).await;
        assert_eq!(probes.asked(1), 0);

        probes.results.borrow_mut().extend([(1, Probe::Refused), (2, Probe::Refused)]);
        shared.update(with_health(&[1, 1], Some(EVERY_5_SECONDS)));
        until(&shared, &[false, false]).await;

        // One that is gone is not asked any more.
        shared.update(with_health(&[1], Some(EVERY_5_SECONDS)));
        sleep(SECOND / 10).await;
        let (one, two) = (probes.asked(1), probes.asked(2));
        sleep(30 * SECOND).await;
        assert!((5..=7).contains(&(probes.asked(1) - one)), "{}", probes.asked(1) - one);
        assert_eq!(probes.asked(2), two);

        // Without checks, nothing is unhealthy.
        shared.update(with_health(&[1], None));
        until(&shared, &[true]).await;
        let one = probes.asked(1);
        sleep(30 * SECOND).await;
        assert_eq!(probes.asked(1), one);
    });
}

#[test]
fn checks_end_with_their_task() {
    simulate(async {
        let shared = Shared::new(with_health(&[1], Some(EVERY_5_SECONDS)));
        let probes = Rc::new(Probes::default());
        let probe = {
            let probes = Rc::clone(&probes);
            move |address| Rc::clone(&probes).probe(address)
        };
        let run = health::run(Arc::clone(&shared), probe);
        assert!(timeout(30 * SECOND, run).await.is_err());
        let asked = probes.asked(1);
        assert!(asked >= 5);
        sleep(60 * SECOND).await;
        assert_eq!(probes.asked(1), asked);
    });
}

#[test]
fn a_worker_stops_picking_an_unhealthy_endpoint() {
    simulate(async {
        let shared = Shared::new(with_health(&[1, 1], Some(EVERY_5_SECONDS)));
        let cluster = LocalCluster::new(Arc::clone(&shared));
        let probes = Rc::new(Probes::default());
        probes.results.borrow_mut().insert(1, Probe::Refused);
        probes.start(&shared);
        until(&shared, &[false, true]).await;
        let rng = &mut fastrand::Rng::with_seed(7);
        let bad = cluster.endpoints()[0].id();
        for _ in 0..1000 {
            let now = Instant::now().into_std();
            assert_ne!(cluster.pick(None, &[], now, rng).unwrap().id(), bad);
        }
    });
}

#[test]
fn a_plain_connect_is_a_probe() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        assert_eq!(health::connect(address.clone().into()).await, Ok(()));
        drop(listener);
        assert!(health::connect(address.into()).await.unwrap_err().starts_with("cannot connect"));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let missing = health::connect(Address::from(path.clone()).into()).await;
        assert!(missing.unwrap_err().starts_with("cannot connect"));
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert_eq!(health::connect(Address::from(path).into()).await, Ok(()));
    });
}
