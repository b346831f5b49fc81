//! Proxies side by side: the same client and server around each of them, in turn, several times over.

mod cell;
mod mysql;
mod peer;
mod redis;
mod shardingsphere;
mod subject;
mod table;

use std::fs;

use anyhow::{Context, bail, ensure};

use crate::process::{answer, command, run};
use crate::{root, target};
use cell::{Case, Cell, Kind};
use peer::Peer;
use subject::{Request, Subject, Tool};
use table::Results;

/// What to measure, and for how long.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// Which protocols; all, if none is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Subject::names()))]
    protocols: Vec<String>,
    /// How often each case is measured on each peer; what is reported is the median
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes, after a warm-up of a third of it
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only these, such as 50x1 (connections x depth) or idle; MySQL's 512x1 only if it is named
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Lengths of bodies, in bytes, for protocols that have some
    #[arg(long, value_delimiter = ',', default_values_t = [128, 4096])]
    bodies: Vec<usize>,
    /// Which proxies; all that speak the protocol, if none is named
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
    /// How many connections are idle in the case `idle`; the limit of open files allows about 9,000
    #[arg(long, default_value_t = 4000)]
    idle: usize,
    /// The cores that the proxy may use, as taskset has it; empty: any
    #[arg(long, default_value = "1")]
    proxy_cpus: String,
    /// The cores that client and server may use; empty: any
    #[arg(long, default_value = "0")]
    load_cpus: String,
    /// One round of one second with small bodies: to see that it works
    #[arg(long)]
    quick: bool,
    /// Everything is built and installed, and the network a loopback of its own
    #[arg(long, hide = true)]
    isolated: bool,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Measures; false if an answer was wrong or missing.
pub(crate) async fn run_all(mut args: BenchArgs) -> anyhow::Result<bool> {
    if args.quick {
        (args.rounds, args.seconds, args.idle) = (1, 1.0, 1000);
        args.bodies = vec![128];
    }
    if std::thread::available_parallelism()?.get() < 2 {
        (args.proxy_cpus, args.load_cpus) = (String::new(), String::new());
    }
    if args.protocols.is_empty() {
        args.protocols.extend(Subject::names().map(str::to_owned));
    }
    let subjects = args.protocols.iter().map(|name| Subject::named(name));
    let subjects: Option<Vec<_>> = subjects.collect();
    let subjects = subjects.context("no such protocol")?;
    if !args.isolated {
        build().await?;
        let mut isolate = false;
        for subject in &subjects {
            let peers = peers(subject, &args);
            peer::install(subject, &peers).await?;
            isolate |= peers.contains(&Peer::ShardingSphere);
        }
        if isolate {
            return shardingsphere::isolated().await;
        }
    }
    let mut faults = 0;
    for subject in subjects {
        faults += measure(subject, &args).await?;
    }
    Ok(faults == 0)
}

/// Measures one protocol; returns how many answers were wrong or missing.
async fn measure(subject: &'static Subject, args: &BenchArgs) -> anyhow::Result<u64> {
    let cases = cases(subject, args);
    let peers = peers(subject, args);
    ensure!(!cases.is_empty() && !peers.is_empty() && args.rounds > 0, "nothing to measure");
    let setting = setting(subject, &peers, args).await?;
    println!("{setting}\n");
    let server = match subject.tool {
        Tool::Sysbench => Some(mysql::serve(&args.load_cpus).await.context("the server")?),
        Tool::Load | Tool::Redis => None,
    };

    let mut results = Results::new(subject, cases.clone(), peers.clone());
    let suited = |case: &Case| peers.iter().filter(|peer| case.suits(**peer)).count();
    let count = args.rounds * cases.iter().map(suited).sum::<usize>();
    let mut number = 0;
    for _ in 0..args.rounds {
        for case in &cases {
            for peer in peers.iter().filter(|peer| case.suits(**peer)) {
                number += 1;
                let cell = Cell {
                    subject,
                    case: *case,
                    peer: *peer,
                    seconds: args.seconds,
                    server: server.as_ref().map(|server| server.address),
                    proxy_cpus: &args.proxy_cpus,
                    load_cpus: &args.load_cpus,
                };
                let sample = cell.measure().await.with_context(|| format!("{case} {peer}"))?;
                println!("{number}/{count} {case} {peer}: {sample}");
                results.add(*case, *peer, sample);
            }
        }
    }
    let tables = format!("{setting}\n\n{results}");
    println!("\n{tables}");
    if args.write {
        write(subject.protocol, &tables)?;
    }
    Ok(results.faults())
}

fn peers(subject: &Subject, args: &BenchArgs) -> Vec<Peer> {
    let wanted = |peer: &Peer| args.peers.is_empty() || args.peers.contains(peer);
    subject.peers.iter().copied().filter(wanted).collect()
}

fn cases(subject: &Subject, args: &BenchArgs) -> Vec<Case> {
    let named = |kind: Kind| args.cases.iter().any(|name| *name == kind.to_string());
    let wanted = |case: &Case| match case.kind {
        Kind::Load { connections, depth } if subject.only_named.contains(&(connections, depth)) => {
            named(case.kind)
        }
        kind => args.cases.is_empty() || named(kind),
    };
    let all = || subject.loads.iter().chain(subject.only_named);
    let loads = subject.requests(&args.bodies).into_iter().flat_map(|request| {
        all().map(move |(connections, depth)| Case {
            kind: Kind::Load { connections: *connections, depth: *depth },
            request,
        })
    });
    let kind = Kind::Idle { connections: args.idle };
    let idle = subject.idle.then_some(Case { kind, request: Request::Body(128) });
    loads.chain(idle).filter(wanted).collect()
}

async fn build() -> anyhow::Result<()> {
    println!("building for release");
    let args = ["build", "--release", "--locked", "-p", "wiremesh-proxy", "-p", "wiremesh-benches"];
    run("build-bench", command("cargo").args(args).current_dir(root())).await?;
    Ok(())
}

/// What was measured, how, and on what.
async fn setting(subject: &Subject, peers: &[Peer], args: &BenchArgs) -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let loadavg = fs::read_to_string("/proc/loadavg")?;
    let busy = loadavg.split(' ').next().unwrap_or_default();
    let date = answer("date", &["-u", "+%F"]).await.unwrap_or_default();
    let mut versions = Vec::new();
    match subject.tool {
        Tool::Load => (),
        Tool::Redis => versions.extend(redis::versions().await),
        Tool::Sysbench => versions.extend(mysql::versions().await),
    }
    for peer in peers {
        versions.extend(peer.version().await);
    }
    let pinned = if args.proxy_cpus.is_empty() {
        "nothing pinned".into()
    } else {
        format!("proxy on core {}, client and server on {}", args.proxy_cpus, args.load_cpus)
    };
    Ok(format!(
        "{}; {cores} cores ({model}), Linux {}; {pinned}; {} rounds of {} s, peers in turn within each; load average \
         before it {busy}. {}.",
        date.trim(),
        kernel.trim(),
        args.rounds,
        args.seconds,
        versions.join("; ")
    ))
}

/// Replaces what stands between the protocol's markers.
fn write(protocol: &str, tables: &str) -> anyhow::Result<()> {
    let path = root().join("docs/performance.md");
    let page = fs::read_to_string(&path)?;
    fs::write(&path, replaced(&page, protocol, tables)?)?;
    Ok(())
}

fn replaced(page: &str, protocol: &str, tables: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- bench {protocol} -->"), format!("<!-- end {protocol} -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        bail!("docs/performance.md has no {begin} ... {end}");
    };
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", tables.trim_end()))
}

/// A program that was built for release.
fn built(name: &str) -> std::path::PathBuf {
    target().join("release").join(name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    #[test]
    fn some_cases_are_measured_only_by_name() {
        let subject = Subject::named("mysql").unwrap();
        let cases = |args: &[&str]| {
            let line = Line::parse_from(["bench"].iter().chain(args));
            let cases = cases(subject, &line.args);
            cases.iter().map(Case::to_string).collect::<Vec<_>>().join(", ")
        };
        let usual = "1x1 text, 16x1 text, 128x1 text, 1x1 prepared, 16x1 prepared, 128x1 prepared";
        assert_eq!(cases(&[]), usual);
        assert_eq!(cases(&["--cases", "512x1"]), "512x1 text, 512x1 prepared");
    }

    #[test]
    fn tables_go_between_their_markers() {
        let page = "a\n<!-- bench x -->\nold\n<!-- end x -->\nb\n";
        let once = replaced(page, "x", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- bench x -->\n\nnew\n\n<!-- end x -->\nb\n");
        assert_eq!(replaced(&once, "x", "new").unwrap(), once);
        assert!(replaced(page, "y", "new").is_err());
    }
}
