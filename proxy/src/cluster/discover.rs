//! Keeps the endpoints of a cluster in step with the topology that its servers tell.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wiremesh::topology::{Found, Shard, Shards};

use super::address::Address;
use super::resolve::Name;
use super::shards::{Learnt, LearntShard};
use super::shared::Shared;
use crate::config;
use crate::net::Dial;

/// A topology that is being learnt. Nothing here knows how.
pub trait Learner {
    /// Connects to the endpoint that is called `asked`, and learns from it.
    fn ask<'a>(&'a mut self, asked: &'a str, dial: Dial) -> Asking<'a>;

    /// See [`Topology::unanswered`](wiremesh::topology::Topology::unanswered).
    fn unanswered(&mut self, asked: &str);

    /// See [`Topology::conclude`](wiremesh::topology::Topology::conclude).
    fn conclude(&mut self) -> Option<Result<Shards, String>>;

    /// See [`Topology::configured_only`](wiremesh::topology::Topology::configured_only).
    fn configured_only(&self) -> bool;
}

/// An endpoint being asked; the error is for the log.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Found, String>> + 'a>>;

/// The least time from one asking to the next, however often the topology is said to be stale.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The same when asking again and again has changed nothing.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Where a shard has no primary, or serves no slots: it is about to get one, or some, or to become a copy of another, which
/// nobody would tell.
const IDLE_REFRESH: Duration = Duration::from_secs(1);

/// How many of the endpoints known from before are asked before the configured ones.
const KNOWN_FIRST: usize = 3;

/// Learns the topology of a cluster again and again: every `topology_refresh`, and soon after [`Shared::stale`]. It ends at
/// once where the topology is static, and never otherwise. For the control thread.
///
/// What cannot be learnt changes nothing.
pub async fn run<M, R, F>(shared: Arc<Shared>, learner: M, resolver: R)
where
    M: Fn(&config::Cluster) -> Result<Box<dyn Learner>, String>,
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut pause = MIN_PAUSE;
    // The settings may just have changed: what they name counts for more than what is known.
    let mut configured_first = true;
    while !shared.config().is_static() {
        let asked = learn(&shared, &learner, &resolver, configured_first).await;
        configured_first = false;
        let end = Instant::now();
        tokio::time::sleep(pause).await;
        let mut refresh = shared.config().topology_refresh.0;
        if shared.endpoints().is_unsettled() {
            refresh = refresh.min(IDLE_REFRESH);
        }
        let idle = match asked {
            Asked::Failed => Duration::ZERO,
            Asked::Same | Asked::Changed => refresh.mul_f64(0.9 + 0.2 * fastrand::f64()),
        };
        let quiet =
            tokio::time::timeout_at(end + idle.max(pause), shared.on_stale()).await.is_err();
        let again = end.elapsed() < 2 * MAX_PAUSE && (!quiet || asked == Asked::Failed);
        pause =
            if again && asked != Asked::Changed { (2 * pause).min(MAX_PAUSE) } else { MIN_PAUSE };
    }
}

/// Learns the topology of a cluster once, if it is not static: for a start with endpoints.
pub async fn once<M, R, F>(shared: &Shared, learner: M, resolver: R)
where
    M: Fn(&config::Cluster) -> Result<Box<dyn Learner>, String>,
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    if !shared.config().is_static() {
        learn(shared, &learner, &resolver, true).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Failed,
    Same,
    Changed,
}

async fn learn<M, R, F>(shared: &Shared, learner: &M, resolver: &R, configured_first: bool) -> Asked
where
    M: Fn(&config::Cluster) -> Result<Box<dyn Learner>, String>,
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let config = shared.config();
    let cluster = shared.name();
    let mut names = Names { resolver, known: HashMap::new() };
    let found = match learner(&config) {
        Ok(mut learner) => {
            let queue = whom_to_ask(shared, &*learner, configured_first);
            // To connect, to be greeted and to be answered.
            let limit = 2 * config.connect_timeout.0;
            ask_in_turn(&mut *learner, shared, queue, limit, &mut names).await
        }
        Err(problem) => Err(problem),
    };
    let problem = match found {
        Ok(shards) => {
            let learnt = names.places(&shards).await;
            // Nobody at all is an answer, too; names without addresses are none.
            let nobody = !shards.shards.is_empty() && shards.shards.iter().all(Shard::is_empty);
            if nobody || learnt.addresses().next().is_some() {
                let (members, before) = (learnt.shards.clone(), shared.members());
                let changed = shared.learnt(&config.topology, learnt, Instant::now().into_std());
                if changed && members != before {
                    tracing::info!(%cluster, topology = ?shards, "learnt who serves what");
                } else if changed {
                    tracing::debug!(%cluster, "learnt where slots have moved");
                }
                return if changed { Asked::Changed } else { Asked::Same };
            }
            "no endpoint was told".to_owned()
        }
        Err(problem) => problem,
    };
    if shared.not_learnt(&problem) {
        tracing::warn!(%cluster, "cannot learn who serves what: {problem}");
    }
    Asked::Failed
}

/// The endpoints to ask, in this order: some that are known, the configured ones, all others that are known.
fn whom_to_ask(
    shared: &Shared,
    learner: &dyn Learner,
    configured_first: bool,
) -> VecDeque<(String, Address)> {
    let mut known = Vec::new();
    if !learner.configured_only() {
        known.extend(shared.endpoints().endpoints().iter().map(|it| it.address().clone()));
        fastrand::shuffle(&mut known);
    }
    let rest = known.split_off(known.len().min(if configured_first { 0 } else { KNOWN_FIRST }));
    let all = known.into_iter().chain(shared.seeds()).chain(rest);
    all.map(|address| (address.to_string(), address)).collect()
}

async fn ask_in_turn<R, F>(
    learner: &mut dyn Learner,
    shared: &Shared,
    mut queue: VecDeque<(String, Address)>,
    limit: Duration,
    names: &mut Names<'_, R>,
) -> Result<Shards, String>
where
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let (mut asked, mut problems) = (HashSet::new(), Vec::new());
    while let Some((label, address)) = queue.pop_front() {
        if !asked.insert(address.clone()) {
            continue;
        }
        let dial = shared.dial_as(&label, &address);
        match tokio::time::timeout(limit, learner.ask(&label, dial)).await {
            Ok(Ok(Found::Shards(shards))) => return Ok(shards),
            Ok(Ok(Found::Ask(next))) => {
                for label in next.into_iter().rev() {
                    match names.resolve(&label).await {
                        Some(address) => queue.push_front((label, address)),
                        None => problems.push(format!("{label} is no address")),
                    }
                }
            }
            Ok(Err(problem)) => {
                problems.push(format!("{label}: {problem}"));
                learner.unanswered(&label);
            }
            Err(_) => {
                problems.push(format!("{label}: no answer within {limit:?}"));
                learner.unanswered(&label);
            }
        }
    }
    match learner.conclude() {
        Some(Ok(shards)) => return Ok(shards),
        Some(Err(problem)) => problems.push(problem),
        None if problems.is_empty() => problems.push("there is nobody to ask".to_owned()),
        None => {}
    }
    // The same, whoever was asked first.
    problems.sort_unstable();
    Err(problems.join("; "))
}

/// What the names in a topology stand for, asked for once each.
struct Names<'a, R> {
    resolver: &'a R,
    known: HashMap<String, Option<Address>>,
}

impl<R, F> Names<'_, R>
where
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    async fn resolve(&mut self, text: &str) -> Option<Address> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let address = self.look_up(text).await;
        self.known.insert(text.to_owned(), address.clone());
        address
    }

    async fn look_up(&self, text: &str) -> Option<Address> {
        let address: config::Address = text.parse().ok()?;
        match (address.socket_addr(), address) {
            (Some(address), _) => Some(address.into()),
            (None, config::Address::Unix(path)) => Some(path.into()),
            // One server has one address here: the same one each time.
            (None, config::Address::Tcp { host, port }) => {
                let answer = (self.resolver)((host, port)).await;
                Some(answer.ok()?.into_iter().min()?.into())
            }
        }
    }

    /// The topology with addresses for names; endpoints whose names cannot be resolved are left out.
    async fn places(&mut self, shards: &Shards) -> Learnt {
        let mut learnt = Learnt { slots: shards.slots.clone(), ..Learnt::default() };
        for shard in &shards.shards {
            let mut known = LearntShard::default();
            if let Some(primary) = &shard.primary {
                known.primary = self.resolve(primary).await;
            }
            for replica in &shard.replicas {
                known.replicas.extend(self.resolve(replica).await);
            }
            learnt.shards.push(known);
        }
        let told = shards.shards.iter().flat_map(|it| it.primary.iter().chain(&it.replicas));
        for name in told {
            if let Some(address) = self.resolve(name).await
                && address.to_string() != *name
            {
                learnt.names.insert(name.clone(), address);
            }
        }
        learnt
    }
}
