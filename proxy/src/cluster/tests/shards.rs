//! Routing in clusters whose topology was learnt.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use wiremesh::correlation::{Access, Target};

use super::{SECOND, at, config, fail_health, port};
use crate::cluster::{Address, Learnt, LearntShard, LocalCluster, Role, Shared};
use crate::config::{self as settings, Balance, Cluster, ReadFrom};

const NOBODY: [usize; 0] = [];

fn address(port: u16) -> Address {
    Address::Tcp(([127, 0, 0, 1], port).into())
}

fn shard(primary: Option<u16>, replicas: &[u16]) -> LearntShard {
    LearntShard {
        primary: primary.map(address),
        replicas: replicas.iter().copied().map(address).collect(),
    }
}

/// Shards of a primary and replicas each, with four slots each.
fn divided(shards: &[(u16, &[u16])]) -> Learnt {
    let of = |n: usize| std::iter::repeat_n(u16::try_from(n).ok(), 4);
    Learnt {
        shards: shards.iter().map(|(primary, replicas)| shard(Some(*primary), replicas)).collect(),
        slots: (0..shards.len()).flat_map(of).collect(),
        ..Learnt::default()
    }
}

fn shared(read_from: ReadFrom) -> Arc<Shared> {
    let cluster = Cluster {
        topology: "cluster".into(),
        read_from,
        ..Cluster::new("test", vec![at("127.0.0.1", 1, 1), at("127.0.0.1", 2, 3)])
    };
    Shared::new(Arc::new(cluster))
}

/// Two shards, of ports 1, 11, 12 and 2, 21, with slots 0 to 3 and 4 to 7.
fn two(read_from: ReadFrom) -> (Arc<Shared>, Rc<LocalCluster>) {
    let shared = shared(read_from);
    assert!(shared.learnt("cluster", divided(&[(1, &[11, 12]), (2, &[21])]), Instant::now()));
    (shared.clone(), LocalCluster::new(shared))
}

/// The ports that a target leads to, of 200 tries.
fn ports(cluster: &LocalCluster, target: Target, avoid: &[u64]) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(1);
    cluster.refresh();
    let mut route = || cluster.route(target, None, avoid, Instant::now(), &mut rng);
    let mut ports: Vec<_> =
        (0..200).filter_map(|_| route()).map(|local| port(local.endpoint())).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn id(cluster: &LocalCluster, at: u16) -> u64 {
    cluster.at(&format!("127.0.0.1:{at}")).expect("of the cluster").id()
}

#[test]
fn there_is_nobody_before_it_is_learnt() {
    let shared = shared(ReadFrom::Primary);
    let cluster = LocalCluster::new(shared.clone());
    assert_eq!((cluster.shards(), cluster.nodes(), cluster.is_learnt()), (0, 0, true));
    let write = Target::Slot(0, Access::Write);
    for target in [write, Target::Any, Target::Index(0), Target::Hash(1)] {
        assert_eq!(ports(&cluster, target, &[]), NOBODY);
    }
    assert!(shared.learnt("cluster", divided(&[(7, &[])]), Instant::now()));
    assert_eq!((cluster.shards(), cluster.nodes()), (1, 1));
    assert_eq!(ports(&cluster, write, &[]), [7]);
}

#[test]
fn slots_and_shards_lead_to_their_primaries() {
    let (_, cluster) = two(ReadFrom::Primary);
    assert_eq!((cluster.shards(), cluster.nodes()), (2, 5));
    for access in [Access::Write, Access::Read] {
        for (slot, port) in [(0, 1), (3, 1), (4, 2), (7, 2)] {
            assert_eq!(ports(&cluster, Target::Slot(slot, access), &[]), [port]);
        }
        assert_eq!(ports(&cluster, Target::Slot(8, access), &[]), NOBODY);
        for (shard, port) in [(0, 1), (1, 2), (2, 1)] {
            assert_eq!(ports(&cluster, Target::Shard(shard, access), &[]), [port]);
        }
    }
    assert_eq!(ports(&cluster, Target::Any, &[]), [1, 2]);
    assert_eq!(ports(&cluster, Target::Hash(2), &[]), [1]);
    let nth = |n| ports(&cluster, Target::Index(n), &[]);
    assert_eq!([nth(0), nth(1), nth(2), nth(3), nth(4), nth(5)].concat(), [1, 11, 12, 2, 21, 1]);
}

#[test]
fn reads_go_where_the_settings_say() {
    let read = Target::Slot(0, Access::Read);
    for (from, expected) in [
        (ReadFrom::Primary, &[1][..]),
        (ReadFrom::PreferReplica, &[11, 12]),
        (ReadFrom::Replica, &[11, 12]),
        (ReadFrom::Any, &[1, 11, 12]),
    ] {
        let (_, cluster) = two(from);
        assert_eq!(ports(&cluster, read, &[]), expected, "{from:?}");
        assert_eq!(ports(&cluster, Target::Slot(0, Access::Write), &[]), [1]);
    }
}

#[test]
fn what_was_tried_or_is_suspended_comes_last() {
    let read = Target::Slot(0, Access::Read);
    let (_, cluster) = two(ReadFrom::PreferReplica);
    let ids = [11, 12, 1].map(|port| id(&cluster, port));
    assert_eq!(ports(&cluster, read, &ids[..1]), [12]);
    assert_eq!(ports(&cluster, read, &ids[..2]), [1]);
    assert_eq!(ports(&cluster, read, &ids), [11, 12]);
    let drain = |port, seconds: u32| {
        let local = cluster.at(&format!("127.0.0.1:{port}")).expect("known");
        local.endpoint().drain(Instant::now(), seconds * SECOND);
    };
    drain(11, 100);
    assert_eq!(ports(&cluster, read, &[]), [12]);
    drain(12, 50);
    assert_eq!(ports(&cluster, read, &[]), [1]);
    drain(1, 200);
    assert_eq!(ports(&cluster, read, &[]), [12]);
}

#[test]
fn who_fails_health_checks_is_never_taken() {
    let (shared, cluster) = two(ReadFrom::PreferReplica);
    let fail = |port| fail_health(cluster.at(&format!("127.0.0.1:{port}")).expect("it").endpoint());
    fail(11);
    fail(12);
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Read), &[]), [1]);
    fail(1);
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Read), &[]), NOBODY);
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Write), &[]), NOBODY);
    assert_eq!(ports(&cluster, Target::Any, &[]), [2], "the shard whose primary is well");
    drop(shared);
    let (_, cluster) = two(ReadFrom::Replica);
    fail_health(cluster.at("127.0.0.1:21").expect("it").endpoint());
    assert_eq!(ports(&cluster, Target::Slot(4, Access::Read), &[]), NOBODY);
}

#[test]
fn the_less_busy_of_two_replicas() {
    let (_, cluster) = two(ReadFrom::Replica);
    let busy = cluster.at("127.0.0.1:11").expect("known");
    busy.started();
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Read), &[]), [12]);
    busy.abandoned();
}

#[test]
fn data_that_is_not_divided() {
    let shared = shared(ReadFrom::Replica);
    let learnt = Learnt { shards: vec![shard(Some(1), &[2])], ..Learnt::default() };
    assert!(shared.learnt("cluster", learnt, Instant::now()));
    let cluster = LocalCluster::new(shared.clone());
    assert_eq!((cluster.shards(), cluster.nodes()), (0, 2));
    for target in [Target::Any, Target::Slot(999, Access::Write), Target::Shard(7, Access::Write)] {
        assert_eq!(ports(&cluster, target, &[]), [1], "{target:?}");
    }
    assert_eq!(ports(&cluster, Target::Slot(999, Access::Read), &[]), [2]);
    assert!(!cluster.at("127.0.0.1:2").expect("known").is_copy(), "who reads it need not say so");
    let learnt = Learnt { shards: vec![shard(None, &[2])], ..Learnt::default() };
    assert!(shared.learnt("cluster", learnt, Instant::now()));
    assert_eq!(ports(&cluster, Target::Any, &[]), NOBODY);
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Read), &[]), [2]);
}

#[test]
fn a_static_cluster_knows_no_shards() {
    let cluster = LocalCluster::new(Shared::new(Arc::new(config(Balance::RoundRobin, &[1, 1]))));
    assert_eq!((cluster.shards(), cluster.nodes(), cluster.is_learnt()), (0, 2, false));
    for target in [Target::Any, Target::Slot(3, Access::Read), Target::Shard(1, Access::Write)] {
        assert_eq!(ports(&cluster, target, &[]), [1, 2]);
    }
    assert_eq!(ports(&cluster, Target::Index(3), &[]), [2]);
}

#[test]
fn a_slot_that_has_moved_is_known_at_once_and_until_the_next_topology() {
    let (shared, cluster) = two(ReadFrom::PreferReplica);
    let both = |slot| {
        let [write, read] = [Access::Write, Access::Read].map(|it| Target::Slot(slot, it));
        [ports(&cluster, write, &[]), ports(&cluster, read, &[])].concat()
    };
    assert!(cluster.note_moved(0, "127.0.0.1:2"));
    assert!(!cluster.note_moved(1, "127.0.0.1:99"), "nobody knows it");
    assert_eq!((both(0), both(1)), (vec![2, 2], vec![1, 11, 12]));
    // The same again is not the next.
    assert!(!shared.learnt("cluster", divided(&[(1, &[11, 12]), (2, &[21])]), Instant::now()));
    assert_eq!(both(0), [2, 2]);
    assert!(shared.learnt("cluster", divided(&[(1, &[11]), (2, &[21])]), Instant::now()));
    assert_eq!(both(0), [1, 11]);
}

#[test]
fn endpoints_are_found_by_address_and_by_the_name_they_were_told_by() {
    let shared = shared(ReadFrom::Primary);
    let mut learnt = divided(&[(1, &[11])]);
    learnt.names.insert("node.example:1".into(), address(1));
    assert!(shared.learnt("cluster", learnt, Instant::now()));
    let cluster = LocalCluster::new(shared);
    let found = |name| cluster.at(name).map(|local| port(local.endpoint()));
    let names = ["127.0.0.1:11", "node.example:1", "node.example:2", ":1"];
    assert_eq!(names.map(found), [Some(11), Some(1), None, None]);
}

#[test]
fn endpoints_that_stay_keep_what_is_known_of_them() {
    let (shared, cluster) = two(ReadFrom::PreferReplica);
    let before = [1, 2, 11].map(|port| id(&cluster, port));
    let gone = cluster.at("127.0.0.1:12").expect("known");
    fail_health(cluster.at("127.0.0.1:2").expect("known").endpoint());
    // 11 has taken over from 1, which is its replica now.
    assert!(shared.learnt("cluster", divided(&[(11, &[1]), (2, &[21])]), Instant::now()));
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Write), &[]), [11]);
    assert_eq!([1, 2, 11].map(|port| id(&cluster, port)), before);
    assert_eq!(
        ports(&cluster, Target::Slot(4, Access::Write), &[]),
        NOBODY,
        "it is not well still"
    );
    assert!(gone.is_retired());
    let copies = cluster.endpoints();
    let copies = copies.iter().filter(|it| it.is_copy()).map(|it| port(it.endpoint()));
    assert_eq!(copies.collect::<Vec<_>>(), [1, 21]);
    // Weights are those of the settings.
    let weight = |port| cluster.at(&format!("127.0.0.1:{port}")).expect("it").endpoint().weight();
    assert_eq!([weight(2), weight(21)], [3, 1]);
}

#[test]
fn another_topology_is_learnt_anew() {
    let (shared, cluster) = two(ReadFrom::Primary);
    let other = Cluster { topology: "replicated".into(), ..(*shared.config()).clone() };
    let settings = settings::Cluster { topology: "static".into(), ..other.clone() };
    shared.update(Arc::new(other));
    assert_eq!((cluster.nodes(), cluster.is_learnt()), (0, true));
    assert!(!shared.learnt("cluster", divided(&[(1, &[])]), Instant::now()), "too late");
    assert_eq!(cluster.nodes(), 0);
    shared.update(Arc::new(settings));
    assert_eq!((cluster.nodes(), cluster.is_learnt()), (2, false));
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Write), &[]), [1, 2]);
}

#[test]
fn settings_may_change_without_the_topology() {
    let (shared, cluster) = two(ReadFrom::Primary);
    let settings = Cluster { read_from: ReadFrom::Replica, ..(*shared.config()).clone() };
    shared.update(Arc::new(settings));
    assert_eq!(ports(&cluster, Target::Slot(0, Access::Read), &[]), [11, 12]);
}

#[test]
fn what_is_shown() {
    let (shared, _) = two(ReadFrom::Primary);
    let mut learnt = divided(&[(1, &[11]), (2, &[])]);
    learnt.slots[7] = None;
    let now = Instant::now();
    assert!(shared.learnt("cluster", learnt, now));
    assert!(shared.not_learnt("nobody answers"));
    assert!(!shared.not_learnt("nobody answers"), "no news");
    let status = shared.describe(now + SECOND);
    let topology = status.topology.expect("one");
    assert_eq!((&*topology.kind, topology.shards), ("cluster", 2));
    assert_eq!((topology.unserved_slots, topology.age_ms), (Some(1), Some(1000)));
    assert_eq!(topology.problem.as_deref(), Some("nobody answers"));
    let members = status.endpoints.iter().map(|it| {
        let member = it.member.expect("a member");
        (&*it.address, member.shard, member.role, member.slots)
    });
    let expected = [
        ("127.0.0.1:1", 0, Role::Primary, Some(4)),
        ("127.0.0.1:11", 0, Role::Replica, Some(4)),
        ("127.0.0.1:2", 1, Role::Primary, Some(3)),
    ];
    assert_eq!(members.collect::<Vec<_>>(), expected);
}
