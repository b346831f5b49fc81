use super::{local, pick};
use crate::cluster::{LocalCluster, hash_key};
use crate::config::Balance;

const ALL: [Balance; 7] = [
    Balance::RoundRobin,
    Balance::Weighted,
    Balance::Random,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::RingHash,
    Balance::Maglev,
];

/// How many of `count` picks each endpoint gets, each with a hash of its own.
fn spread(cluster: &LocalCluster, count: u64) -> Vec<f64> {
    let rng = &mut fastrand::Rng::with_seed(7);
    let mut shares = vec![0.0; cluster.endpoints().len()];
    for n in 0..count {
        let port = pick(cluster, Some(hash_key(&n.to_le_bytes())), rng).unwrap();
        shares[port - 1] += 1.0 / count as f64;
    }
    shares
}

#[track_caller]
fn assert_near(shares: &[f64], expected: &[f64], tolerance: f64) {
    let near = |(share, expected): (&f64, &f64)| (share - expected).abs() <= tolerance * expected;
    assert!(shares.iter().zip(expected).all(near), "{shares:.4?} is not {expected:.4?}");
}

#[test]
fn equal_weights_give_equal_shares() {
    for (balance, tolerance) in ALL.into_iter().zip([0.001, 0.001, 0.05, 0.05, 0.05, 0.25, 0.05]) {
        println!("{balance}");
        assert_near(&spread(&local(balance, &[1; 5]), 20_000), &[0.2; 5], tolerance);
    }
}

#[test]
fn weights_are_shares() {
    for (balance, tolerance) in ALL.into_iter().zip([0.0, 0.001, 0.05, 0.05, 0.05, 0.25, 0.05]) {
        if balance == Balance::RoundRobin {
            continue;
        }
        println!("{balance}");
        assert_near(&spread(&local(balance, &[1, 2, 5]), 20_000), &[0.125, 0.25, 0.625], tolerance);
    }
}
