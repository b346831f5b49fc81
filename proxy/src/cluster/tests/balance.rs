use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ALL, SECOND, config, fail_health, local, port};
use crate::cluster::{LocalCluster, Shared, hash_key};
use crate::config::{Balance, Cluster};

/// Which endpoint each of `count` keys gets, from 1.
fn owners(cluster: &LocalCluster, count: u64, now: Instant) -> Vec<usize> {
    let rng = &mut fastrand::Rng::with_seed(7);
    let pick = |n: u64| cluster.pick(Some(hash_key(&n.to_le_bytes())), &[], now, rng).unwrap();
    (0..count).map(pick).map(|picked| port(picked.endpoint())).collect()
}

/// The share of picks that each endpoint gets, with a different key for each pick.
fn shares(cluster: &LocalCluster) -> Vec<f64> {
    shares_at(cluster, Instant::now())
}

fn shares_at(cluster: &LocalCluster, now: Instant) -> Vec<f64> {
    let mut counts = vec![0u32; cluster.endpoints().len()];
    for owner in owners(cluster, 20_000, now) {
        counts[owner - 1] += 1;
    }
    counts.into_iter().map(|count| f64::from(count) / 20_000.0).collect()
}

#[track_caller]
fn assert_near(shares: &[f64], expected: &[f64], tolerance: f64) {
    let near = |(share, expected): (&f64, &f64)| (share - expected).abs() <= tolerance * expected;
    assert!(shares.iter().zip(expected).all(near), "{shares:.4?} is not {expected:.4?}");
}

fn tolerance(balance: Balance) -> f64 {
    match balance {
        Balance::RoundRobin | Balance::Weighted => 0.001,
        Balance::RingHash => 0.2,
        _ => 0.05,
    }
}

#[test]
fn equal_weights_give_equal_shares() {
    for balance in ALL {
        println!("{balance}");
        assert_near(&shares(&local(balance, &[1; 5])), &[0.2; 5], tolerance(balance));
        assert_near(&shares(&local(balance, &[9])), &[1.0], 0.0);
    }
}

#[test]
fn weights_are_shares() {
    for balance in ALL.into_iter().filter(|balance| *balance != Balance::RoundRobin) {
        println!("{balance}");
        let shares = shares(&local(balance, &[1, 2, 5]));
        assert_near(&shares, &[0.125, 0.25, 0.625], tolerance(balance));
    }
}

#[test]
fn weights_are_smooth() {
    let cluster = local(Balance::Weighted, &[1, 1, 2]);
    let turns = owners(&cluster, 40, Instant::now());
    assert!(turns.windows(3).all(|three| three != [3, 3, 3]), "{turns:?}");
    assert!(turns.chunks(4).all(|turn| turn.iter().filter(|port| **port == 3).count() == 2));
}

#[test]
fn no_endpoints_no_pick() {
    for balance in ALL {
        let cluster = local(balance, &[]);
        let rng = &mut fastrand::Rng::with_seed(7);
        assert!(cluster.pick(Some(1), &[], Instant::now(), rng).is_none(), "{balance}");
    }
}

#[test]
fn unavailable_endpoints_are_never_picked_and_their_share_is_spread() {
    let now = Instant::now();
    for balance in ALL {
        println!("{balance}");
        let cluster = local(balance, &[1; 6]);
        let endpoints = cluster.endpoints();
        fail_health(endpoints[1].endpoint());
        endpoints[3].endpoint().drain(now, SECOND);
        let shares = shares_at(&cluster, now);
        assert_eq!([shares[1], shares[3]], [0.0; 2]);
        let left = [shares[0], shares[2], shares[4], shares[5]];
        assert_near(&left, &[0.25; 4], tolerance(balance).max(0.05));
    }
}

#[test]
fn avoided_endpoints_are_picked_only_if_there_is_no_other() {
    let now = Instant::now();
    for balance in ALL {
        println!("{balance}");
        let cluster = local(balance, &[1, 2, 3, 4]);
        let rng = &mut fastrand::Rng::with_seed(7);
        let ids: Vec<_> = cluster.endpoints().iter().map(|local| local.id()).collect();
        for key in 0..1000 {
            let avoid = &ids[1..3];
            let picked = cluster.pick(Some(key), avoid, now, rng).unwrap();
            assert!(!avoid.contains(&picked.id()));
        }
        assert!(cluster.pick(Some(1), &ids, now, rng).is_some());
        // Even then, nothing that is unhealthy.
        fail_health(cluster.endpoints()[0].endpoint());
        for key in 0..1000 {
            assert_ne!(cluster.pick(Some(key), &ids[1..], now, rng).unwrap().id(), ids[0]);
        }
    }
}

#[test]
fn hashing_balancers_keep_keys_where_they_are() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        for weights in [[1; 10], [1, 2, 1, 3, 1, 1, 4, 1, 1, 1]] {
            let shared = Shared::new(Arc::new(config(balance, &weights)));
            let cluster = LocalCluster::new(Arc::clone(&shared));
            let now = Instant::now();
            let before = owners(&cluster, 20_000, now);
            assert_eq!(before, owners(&cluster, 20_000, now));

            fail_health(cluster.endpoints()[4].endpoint());
            let while_down = owners(&cluster, 20_000, now);
            let moved = before.iter().zip(&while_down).filter(|(a, b)| **a != 5 && a != b);
            assert_eq!(moved.count(), 0, "{balance}");

            let mut less = config(balance, &weights);
            less.endpoints.remove(4);
            shared.update(Arc::new(less));
            let after = owners(&cluster, 20_000, now);
            let moved = before.iter().zip(&after).filter(|(a, b)| **a != 5 && a != b).count();
            let bound = if balance == Balance::RingHash { 0 } else { 20_000 / 25 };
            assert!(moved <= bound, "{balance}: {moved} keys of others moved");

            shared.update(Arc::new(config(balance, &weights)));
            assert_eq!(before, owners(&cluster, 20_000, now), "{balance}");
        }
    }
}

#[test]
fn hashing_balancers_agree_among_workers_and_need_a_hash() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let (one, other) = (local(balance, &[1; 5]), local(balance, &[1; 5]));
        let now = Instant::now();
        assert_eq!(owners(&one, 1000, now), owners(&other, 1000, now));

        let rng = &mut fastrand::Rng::with_seed(7);
        let mut seen = [false; 5];
        for _ in 0..100 {
            seen[port(one.pick(None, &[], now, rng).unwrap().endpoint()) - 1] = true;
        }
        assert_eq!(seen, [true; 5], "{balance}");
    }
}

#[test]
fn a_ring_of_very_unequal_weights_is_bounded() {
    let cluster = local(Balance::RingHash, &[1, 1_000_000]);
    assert_near(&shares(&cluster)[1..], &[1.0], 0.01);
}

#[test]
fn least_request_picks_the_less_loaded() {
    let cluster = local(Balance::LeastRequest, &[1, 1, 2]);
    let now = Instant::now();
    let rng = &mut fastrand::Rng::with_seed(7);
    for _ in 0..400 {
        cluster.pick(None, &[], now, rng).unwrap().started();
    }
    let in_flight: Vec<_> =
        cluster.endpoints().iter().map(|local| f64::from(local.in_flight())).collect();
    assert_near(&in_flight, &[100.0, 100.0, 200.0], 0.05);
    for local in &cluster.endpoints()[..2] {
        (0..local.in_flight()).for_each(|_| local.abandoned());
    }
    assert_eq!(shares(&cluster)[2], 0.0);
}

#[test]
fn peak_ewma_picks_the_faster_and_tries_the_slow_one_again() {
    let cluster = local(Balance::PeakEwma, &[1, 1]);
    let start = Instant::now();
    let rng = &mut fastrand::Rng::with_seed(7);
    let mut run = |from: Instant, slow: u64| {
        let mut counts = [0; 2];
        for n in 0..1000 {
            let now = from + n * Duration::from_millis(10);
            let picked = cluster.pick(None, &[], now, rng).unwrap();
            let port = port(picked.endpoint());
            counts[port - 1] += 1;
            picked.started();
            let latency = Duration::from_millis(if port == 1 { slow } else { 10 });
            picked.finished(now, latency, true);
        }
        counts
    };
    let [slow, fast] = run(start, 200);
    assert!(slow >= 1 && slow * 20 < fast, "{slow} {fast}");
    // As fast as the other again, it gets its share back.
    run(start + 30 * SECOND, 10);
    let [again, other] = run(start + 60 * SECOND, 10);
    assert!(again * 4 > other && other * 4 > again, "{again} {other}");
}

#[test]
fn peak_ewma_sends_one_request_to_an_unknown_endpoint() {
    let cluster = local(Balance::PeakEwma, &[1, 1]);
    let now = Instant::now();
    let rng = &mut fastrand::Rng::with_seed(7);
    let endpoints = cluster.endpoints();
    endpoints[0].started();
    endpoints[0].finished(now, Duration::from_millis(5), true);
    let picked: Vec<_> = (0..10)
        .map(|_| {
            let picked = cluster.pick(None, &[], now, rng).unwrap();
            picked.started();
            port(picked.endpoint())
        })
        .collect();
    assert_eq!(picked, [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn new_endpoints_start_slowly() {
    for balance in ALL.into_iter().filter(|balance| !balance.is_by_hash()) {
        println!("{balance}");
        let slow_start = config::Duration::from_secs(100);
        let with = |weights| Arc::new(config::Cluster { slow_start, ..config(balance, weights) });
        let shared = Shared::new(with(&[1]));
        let cluster = LocalCluster::new(Arc::clone(&shared));
        shared.update(with(&[1, 1]));
        cluster.refresh();
        let now = Instant::now();
        let share = |after: u32| shares_at(&cluster, now + after * SECOND)[1];
        // Round robin gives up turns of the new one only.
        let expected = |ramp: f64| match balance {
            Balance::RoundRobin => ramp / 2.0 + (1.0 - ramp) / 2.0 * ramp / (1.0 + ramp),
            _ => ramp / (1.0 + ramp),
        };
        assert_near(&[share(1)], &[expected(0.1)], 0.15);
        assert_near(&[share(50)], &[expected(0.5)], 0.15);
        assert_near(&[share(101)], &[0.5], 0.05);
    }
}

#[test]
fn endpoints_that_come_back_start_slowly() {
    let cluster = LocalCluster::new(Shared::new(Arc::new(Cluster {
        slow_start: (100 * SECOND).into(),
        ..config(Balance::Random, &[1, 1, 1])
    })));
    let now = Instant::now();
    assert_near(&shares_at(&cluster, now), &[1.0 / 3.0; 3], 0.05);

    let endpoints = cluster.endpoints();
    for _ in 0..5 {
        cluster.shared().on_failure(endpoints[0].endpoint(), now);
    }
    let back = now + endpoints[0].endpoint().ejected_for(now);
    assert!(back > now);
    fail_health(endpoints[1].endpoint());
    assert!(endpoints[1].endpoint().on_health(true, 1, 1, back));
    assert_near(&shares_at(&cluster, back + SECOND), &[0.1 / 1.2, 0.1 / 1.2, 1.0 / 1.2], 0.1);
    assert_near(&shares_at(&cluster, back + 100 * SECOND), &[1.0 / 3.0; 3], 0.05);
}
