use std::time::{Duration, Instant};

use wiremesh::engine::{Action, Keepalive, KeepaliveConfig};

const CONFIG: KeepaliveConfig = KeepaliveConfig {
    interval: Duration::from_secs(15),
    timeout: Duration::from_secs(1),
    failures: 3,
};

#[test]
fn a_silent_peer_is_dead_after_the_interval_and_each_probe() {
    let start = Instant::now();
    let at = |secs| start + Duration::from_secs(secs);
    let mut keepalive = Keepalive::new(CONFIG, start);
    assert_eq!(keepalive.poll(start), Action::Wait(at(15)));
    for secs in [15, 16, 17] {
        assert_eq!(keepalive.poll(at(secs)), Action::Probe);
        assert_eq!(keepalive.poll(at(secs)), Action::Wait(at(secs + 1)), "one probe at a time");
    }
    assert_eq!(keepalive.poll(at(18)), Action::Dead);
    assert_eq!(keepalive.poll(at(19)), Action::Dead);
}

#[test]
fn any_traffic_is_life() {
    let start = Instant::now();
    let at = |secs| start + Duration::from_secs(secs);
    let mut keepalive = Keepalive::new(CONFIG, start);
    keepalive.on_traffic(at(10));
    assert_eq!(keepalive.poll(at(15)), Action::Wait(at(25)));
    assert_eq!(keepalive.poll(at(25)), Action::Probe);
    assert_eq!(keepalive.poll(at(26)), Action::Probe);
    keepalive.on_traffic(at(26));
    assert_eq!(keepalive.poll(at(30)), Action::Wait(at(41)), "failures are forgotten");
    for secs in [41, 42, 43] {
        assert_eq!(keepalive.poll(at(secs)), Action::Probe);
    }
    assert_eq!(keepalive.poll(at(44)), Action::Dead);
}

#[test]
fn a_late_poll_counts_once() {
    let start = Instant::now();
    let at = |secs| start + Duration::from_secs(secs);
    let mut keepalive = Keepalive::new(CONFIG, start);
    assert_eq!(keepalive.poll(at(100)), Action::Probe);
    assert_eq!(keepalive.poll(at(200)), Action::Probe);
}

/// Against the definition: probes only after `interval` of silence, `timeout` apart; dead exactly when `failures` of
/// them went by in silence.
#[test]
fn random_traffic() {
    let (mut probes, mut deaths) = (0, 0);
    for seed in 0..2_000 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = KeepaliveConfig {
            interval: Duration::from_millis(rng.u64(1..100)),
            timeout: Duration::from_millis(rng.u64(1..20)),
            failures: rng.u32(1..4),
        };
        let mut now = Instant::now();
        let mut keepalive = Keepalive::new(config, now);
        let (mut heard, mut sent) = (now, Vec::new());
        for _ in 0..500 {
            now += Duration::from_millis(rng.u64(..30));
            if rng.u32(..4) == 0 {
                keepalive.on_traffic(now);
                heard = now;
                sent.clear();
            }
            let due = sent.last().map_or(heard + config.interval, |last| *last + config.timeout);
            let want = if now < due {
                Action::Wait(due)
            } else if sent.len() as u32 == config.failures {
                Action::Dead
            } else {
                Action::Probe
            };
            assert_eq!(keepalive.poll(now), want);
            match want {
                Action::Probe => {
                    sent.push(now);
                    probes += 1;
                }
                Action::Dead => {
                    deaths += 1;
                    break;
                }
                Action::Wait(_) => {}
            }
        }
    }
    assert!(probes > 1_000 && deaths > 100, "{probes} probes, {deaths} deaths");
}
