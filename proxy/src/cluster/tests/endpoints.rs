use std::sync::Arc;
use std::time::Instant;

use super::{ALL, SECOND, addresses, at, config, fail_health, local, port, shared};
use crate::cluster::{Address, Endpoint, EndpointState, LocalCluster, Shared};
use crate::config::{Balance, Cluster, Outlier, Percent};

fn with_outlier(count: usize, percent: f64) -> Arc<Shared> {
    let outlier = Outlier {
        consecutive_failures: 3,
        ejection: config::Duration::from_secs(10),
        max_ejected_percent: Percent(percent),
    };
    let weights = vec![1; count];
    Shared::new(Arc::new(Cluster { outlier: Some(outlier), ..config(Balance::Random, &weights) }))
}

/// Fails an endpoint three times; whether the last one ejects.
fn fail(shared: &Shared, endpoint: &Endpoint, now: Instant) -> bool {
    assert!(!shared.on_failure(endpoint, now));
    assert!(!shared.on_failure(endpoint, now));
    shared.on_failure(endpoint, now)
}

#[test]
fn failures_in_a_row_eject_for_longer_each_time() {
    let shared = with_outlier(2, 50.0);
    let set = shared.endpoints();
    let endpoint = &set.endpoints()[0];
    let mut now = Instant::now();
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        assert!(!shared.on_failure(endpoint, now));
        assert!(!shared.on_failure(endpoint, now));
        endpoint.on_success();
        assert!(fail(&shared, endpoint, now));
        assert!(!endpoint.is_available(now));
        assert_eq!(endpoint.ejected_for(now), seconds * SECOND);
        // What was in flight fails too, and does not count.
        assert!(!fail(&shared, endpoint, now));
        assert_eq!(endpoint.failures(), 0);
        now += seconds * SECOND;
        assert!(endpoint.is_available(now));
    }
    // Each 10 quiet seconds forgive one ejection.
    now += 60 * SECOND;
    assert!(fail(&shared, endpoint, now));
    assert_eq!(endpoint.ejected_for(now), 20 * SECOND);
}

#[test]
fn only_a_share_of_the_endpoints_is_ejected() {
    for (count, percent, expected) in
        [(10, 50.0, 5), (10, 100.0, 9), (3, 10.0, 1), (2, 100.0, 1), (1, 100.0, 0), (3, 0.0, 0)]
    {
        let shared = with_outlier(count, percent);
        let now = Instant::now();
        let set = shared.endpoints();
        let ejected = set.endpoints().iter().filter(|endpoint| fail(&shared, endpoint, now));
        assert_eq!(ejected.count(), expected, "{percent} % of {count}");
        let available = set.endpoints().iter().filter(|endpoint| endpoint.is_available(now));
        assert_eq!(available.count(), count - expected);
    }
}

#[test]
fn a_refused_ejection_happens_when_it_may() {
    let shared = with_outlier(2, 100.0);
    let now = Instant::now();
    let set = shared.endpoints();
    let [one, other] = set.endpoints() else { panic!() };
    assert!(fail(&shared, one, now));
    assert!(!fail(&shared, other, now));
    assert!(shared.on_failure(other, now + 10 * SECOND));
}

#[test]
fn the_last_endpoint_that_is_available_is_not_ejected() {
    let shared = with_outlier(3, 100.0);
    let now = Instant::now();
    let set = shared.endpoints();
    fail_health(&set.endpoints()[0]);
    set.endpoints()[1].drain(now, SECOND);
    assert!(!fail(&shared, &set.endpoints()[2], now));
    assert!(shared.on_failure(&set.endpoints()[2], now + SECOND));
}

#[test]
fn without_an_outlier_setting_nothing_is_ejected() {
    let shared =
        Shared::new(Arc::new(Cluster { outlier: None, ..config(Balance::Random, &[1, 1]) }));
    let set = shared.endpoints();
    for _ in 0..1000 {
        assert!(!shared.on_failure(&set.endpoints()[0], Instant::now()));
    }
}

#[test]
fn threads_never_eject_more_than_may_be() {
    for _ in 0..50 {
        let shared = with_outlier(4, 50.0);
        let now = Instant::now();
        std::thread::scope(|scope| {
            for endpoint in shared.endpoints().endpoints() {
                let (shared, endpoint) = (&shared, Arc::clone(endpoint));
                scope.spawn(move || fail(shared, &endpoint, now));
            }
        });
        let set = shared.endpoints();
        let ejected = set.endpoints().iter().filter(|endpoint| endpoint.is_ejected(now));
        assert_eq!(ejected.count(), 2);
    }
}

#[test]
fn health_changes_after_results_in_a_row() {
    let shared = shared(Balance::Random, &[1]);
    let set = shared.endpoints();
    let endpoint = &set.endpoints()[0];
    let results = |results: &[bool]| -> Vec<bool> {
        results.iter().map(|ok| endpoint.on_health(*ok, 2, 3, Instant::now())).collect()
    };
    assert_eq!(results(&[true, false, false, true, false, false]), [false; 6]);
    assert_eq!(results(&[false, false, true, false, true]), [true, false, false, false, false]);
    assert!(!endpoint.is_healthy());
    assert_eq!(results(&[true]), [true]);
    assert!(endpoint.is_healthy());
}

#[test]
fn suspended_endpoints_are_better_than_none_but_unhealthy_ones_are_not() {
    for balance in ALL {
        let cluster = local(balance, &[1, 1, 1]);
        let now = Instant::now();
        let rng = &mut fastrand::Rng::with_seed(7);
        let mut pick = |avoid: &[u64]| {
            cluster.pick(Some(1), avoid, now, rng).map(|picked| port(picked.endpoint()))
        };
        let endpoints = cluster.endpoints();
        endpoints[0].endpoint().drain(now, 3 * SECOND);
        endpoints[1].endpoint().drain(now, 2 * SECOND);
        fail_health(endpoints[2].endpoint());
        assert_eq!(pick(&[]), Some(2), "{balance}");
        assert_eq!(pick(&[endpoints[1].id()]), Some(1));
        fail_health(endpoints[1].endpoint());
        assert_eq!(pick(&[endpoints[0].id()]), Some(1));
        fail_health(endpoints[0].endpoint());
        assert_eq!(pick(&[]), None);
    }
}

#[test]
fn draining_ends_by_itself() {
    let shared = shared(Balance::Random, &[1]);
    let set = shared.endpoints();
    let now = Instant::now();
    set.endpoints()[0].drain(now, SECOND);
    assert!(set.endpoints()[0].is_draining(now + SECOND / 2));
    assert!(!set.endpoints()[0].is_draining(now + SECOND));
}

#[test]
fn endpoints_that_stay_keep_their_state() {
    let shared = shared(Balance::Random, &[1, 1, 1]);
    let cluster = LocalCluster::new(Arc::clone(&shared));
    let before = cluster.endpoints();
    before[1].started();
    before[2].started();
    shared.on_failure(before[1].endpoint(), Instant::now());

    let mut changed = config(Balance::RoundRobin, &[1, 7]);
    changed.endpoints.reverse();
    shared.update(Arc::new(changed));
    assert!(cluster.refresh());
    assert!(!cluster.refresh());

    let after = cluster.endpoints();
    let ids: Vec<_> = after.iter().map(|local| local.id()).collect();
    assert_eq!(ids, [before[1].id(), before[0].id()]);
    assert_eq!((after[0].in_flight(), after[0].endpoint().failures()), (1, 1));
    assert_eq!(after[0].endpoint().weight(), 7);
    assert!(before[2].is_retired() && !before[1].is_retired());
    // What is in flight to the retired one still finishes.
    assert_eq!(before[2].endpoint().in_flight(), 1);
    before[2].finished(Instant::now(), SECOND, true);
    assert_eq!(before[2].endpoint().in_flight(), 0);
}

#[test]
fn addresses_are_taken_once_and_weight_0_takes_one_out() {
    let unix = config::Address::Unix("/run/x.sock".into());
    let endpoints = vec![
        at("127.0.0.1", 1, 3),
        at("::1", 1, 1),
        at("127.0.0.1", 1, 5),
        at("127.0.0.1", 2, 0),
        unix.into(),
    ];
    let shared = Shared::new(Arc::new(Cluster::new("test", endpoints)));
    assert_eq!(addresses(&shared), ["127.0.0.1:1", "[::1]:1", "unix:/run/x.sock"]);
    let set = shared.endpoints();
    assert_eq!(set.endpoints()[0].weight(), 3);
    assert_eq!(*set.endpoints()[2].address(), Address::Unix("/run/x.sock".into()));
}

#[test]
fn a_status_tells_all() {
    let shared = with_outlier(4, 50.0);
    let workers = [(); 2].map(|()| LocalCluster::new(Arc::clone(&shared)));
    for worker in &workers {
        assert!(worker.try_admit_request());
        worker.endpoints()[0].started();
    }
    let now = Instant::now();
    let set = shared.endpoints();
    assert!(fail(&shared, &set.endpoints()[1], now));
    set.endpoints()[2].drain(now, SECOND);
    fail_health(&set.endpoints()[3]);

    let status = shared.describe(now);
    let states: Vec<_> = status.endpoints.iter().map(|endpoint| endpoint.state).collect();
    use EndpointState::{Available, Draining, Ejected, Unhealthy};
    assert_eq!(states, [Available, Ejected, Draining, Unhealthy]);
    assert_eq!((status.requests.used, status.endpoints[0].in_flight), (2, 2));

    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["endpoints"][1]["state"], "ejected");
    assert_eq!(json["endpoints"][1]["left_ms"], 10_000);
    assert_eq!(json["endpoints"][0].get("left_ms"), None);
    assert_eq!(json["balance"], "random");
}
