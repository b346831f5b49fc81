use std::sync::Arc;

use super::config;
use crate::cluster::{LocalCluster, Shared};
use crate::config::{Balance, Cluster};

fn with_max(max: usize) -> Arc<Cluster> {
    Arc::new(Cluster { max_in_flight: max, ..config(Balance::Random, &[1]) })
}

fn fill(cluster: &LocalCluster) -> usize {
    std::iter::repeat_with(|| cluster.try_admit_request()).take_while(|admitted| *admitted).count()
}

#[test]
fn a_small_bound_is_exact_among_workers() {
    let shared = Shared::new(with_max(100));
    let (one, other) =
        (LocalCluster::new(Arc::clone(&shared)), LocalCluster::new(Arc::clone(&shared)));
    assert_eq!(fill(&one), 100);
    assert_eq!(fill(&other), 0);
    for _ in 0..30 {
        one.release_request();
    }
    assert_eq!(fill(&other), 30);
    assert_eq!((one.in_flight(), other.in_flight(), shared.in_flight()), (70, 30, 100));
    assert_eq!(shared.refused(), 3);
}

#[test]
fn a_large_bound_is_never_exceeded_and_nearly_reached() {
    for max in [512, 10_000, 65_536] {
        let shared = Shared::new(with_max(max));
        let workers: Vec<_> = (0..4).map(|_| LocalCluster::new(Arc::clone(&shared))).collect();
        let rng = &mut fastrand::Rng::with_seed(7);
        let mut admitted = [0; 4];
        for _ in 0..4 * max {
            let worker = rng.usize(..4);
            if rng.u8(..10) < 7 {
                admitted[worker] += usize::from(workers[worker].try_admit_request());
            } else if admitted[worker] > 0 {
                workers[worker].release_request();
                admitted[worker] -= 1;
            }
            assert!(admitted.iter().sum::<usize>() <= max);
        }
        let filled = admitted.iter().sum::<usize>() + fill(&workers[0]);
        assert!(filled >= max - max / 100 * 4, "{filled} of {max}");
        assert_eq!(shared.in_flight() as usize, filled);
        drop(workers);
        assert_eq!(fill(&LocalCluster::new(shared)), max);
    }
}

#[test]
fn a_lowered_bound_holds_after_a_refresh() {
    let shared = Shared::new(with_max(65_536));
    let (idle, busy) =
        (LocalCluster::new(Arc::clone(&shared)), LocalCluster::new(Arc::clone(&shared)));
    assert!(idle.try_admit_request());
    idle.release_request();
    shared.update(with_max(10));
    assert!(idle.refresh());
    assert_eq!(fill(&busy), 10);
    shared.update(with_max(20));
    assert_eq!(fill(&busy), 10);
}

#[test]
fn connections_and_pending_requests_are_bounded() {
    let shared = Shared::new(Arc::new(Cluster {
        max_connections: 2,
        max_pending: 1,
        ..config(Balance::Random, &[1])
    }));
    assert!(shared.connections().try_acquire() && shared.connections().try_acquire());
    assert!(!shared.connections().try_acquire());
    assert!(shared.pending().try_acquire());
    assert!(!shared.pending().try_acquire());
    shared.pending().release();
    assert!(shared.pending().try_acquire());
}
