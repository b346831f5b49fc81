//! Real clients and servers of other projects, through the real proxy, over loopback.

mod cell;
mod install;
pub(crate) mod mysql;
mod peer;
mod proxy;
mod redis;
mod said;

use crate::report::Report;
use cell::{Bench, Cell, Steps, Way};
use peer::{Kind, Version};

/// All protocols. What is drawn at random is as long as usual, times this.
pub(crate) async fn run_all(report: &mut Report, direct: bool, times: usize) {
    bolt(report, direct).await;
    redis::run_all(report, direct).await;
    mysql::run_all(report, direct, times).await;
}

/// Every pair that can talk, in every version that both ends speak; then the server's own requests,
/// and the servers that die.
async fn bolt(report: &mut Report, direct: bool) {
    let mut cells = matrix(direct);
    cells.retain(|cell| report.wants(&cell.name()));
    if cells.is_empty() {
        return;
    }
    let mut ready = true;
    for (name, step) in install::all(direct) {
        // What is missing spoils every cell: say it once, and stop.
        ready = ready && report.must(name, step).await;
    }
    if !ready {
        return;
    }
    let mut bench = Bench::default();
    for cell in cells {
        report.check(&cell.name(), bench.run(&cell)).await;
    }
}

fn matrix(direct: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    let (shared, dedicated) =
        if direct { (Way::Direct, Way::Direct) } else { (Way::Proxy, Way::Dedicated) };
    for client in Kind::ALL {
        for server in Kind::ALL {
            for version in Version::ALL {
                if client.speaks(version) && server.speaks(version) {
                    cells.push(Cell::new(client, server, version, Steps::All, shared));
                }
            }
        }
    }
    for version in Version::ALL {
        let (client, server) = (Kind::SofaBolt, Kind::SofaBolt);
        cells.push(Cell::new(client, server, version, Steps::Push, dedicated));
    }
    if direct {
        // What the rest looks for is what the proxy says of a dead server.
        return cells;
    }
    for steps in [Steps::Gone, Steps::Restart] {
        for kind in Kind::ALL {
            for version in Version::ALL.into_iter().filter(|v| kind.speaks(*v)) {
                cells.push(Cell::new(kind, kind, version, steps, Way::Proxy));
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_every_pair_that_can_talk() {
        let count =
            |direct, steps| matrix(direct).iter().filter(|cell| cell.steps == steps).count();
        // Three kinds in three versions, and Python's one version with all four, both ways.
        assert_eq!(count(false, Steps::All), 3 * 3 * 3 + 4 + 3);
        assert_eq!(count(true, Steps::All), count(false, Steps::All));
        assert_eq!(count(false, Steps::Push), 3);
        assert_eq!(count(false, Steps::Gone), 10);
        assert_eq!(count(true, Steps::Restart), 0);
    }
}
