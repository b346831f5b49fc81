//! Asks the servers of a cluster about themselves, for protocols that want to know.

use std::{future::Future, sync::Arc, time::Duration};

use super::{address::Address, shared::Shared};

/// The pause after the first time that nobody answered; it doubles up to `topology_refresh`.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// Has one server of the cluster tell of itself, again and again: every `topology_refresh`. It ends at once where there is
/// nothing to ask, and never otherwise. For the control thread.
///
/// `inquiry` asks one server; `None`: there is nothing to ask. The error is for the log.
pub async fn run<M, F>(shared: Arc<Shared>, inquiry: M)
where
    M: Fn(Address) -> Option<F>,
    F: Future<Output = Result<(), String>>,
{
    let (mut pause, mut told) = (MIN_PAUSE, None);
    if shared.is_inquired() {
        tokio::time::sleep(jittered(shared.config().topology_refresh.0)).await;
    }
    while let Some(answer) = once(&shared, &inquiry).await {
        let refresh = shared.config().topology_refresh.0;
        let problem = answer.err();
        if let Some(problem) = &problem
            && told.as_ref() != Some(problem)
        {
            tracing::info!(cluster = %shared.name(), "no server tells of itself: {problem}");
        }
        if problem.is_some() {
            tokio::time::sleep(pause.min(refresh)).await;
            pause = (2 * pause).min(refresh);
        } else {
            tokio::time::sleep(jittered(refresh)).await;
            pause = MIN_PAUSE;
        }
        told = problem;
    }
}

/// Has one server of the cluster tell of itself: the same one each time, as long as that one answers. `None`: there is
/// nothing to ask.
pub async fn once<M, F>(shared: &Shared, inquiry: &M) -> Option<Result<(), String>>
where
    M: Fn(Address) -> Option<F>,
    F: Future<Output = Result<(), String>>,
{
    let limit = 2 * shared.config().connect_timeout.0;
    let mut addresses: Vec<_> =
        shared.endpoints().endpoints().iter().map(|it| it.address().clone()).collect();
    addresses.sort_by_cached_key(ToString::to_string);
    let mut problems = Vec::new();
    for address in addresses {
        let label = address.to_string();
        match tokio::time::timeout(limit, inquiry(address)?).await {
            Ok(Ok(())) => {
                shared.note_inquired();
                return Some(Ok(()));
            }
            Ok(Err(problem)) => problems.push(format!("{label}: {problem}")),
            Err(_) => problems.push(format!("{label}: no answer within {limit:?}")),
        }
    }
    if problems.is_empty() {
        problems.push("there is nobody to ask".to_owned());
    }
    Some(Err(problems.join("; ")))
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
