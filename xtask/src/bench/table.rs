use std::fmt;

use super::cell::{Case, Kind, Sample};
use super::peer::Peer;
use super::subject::{Goal, IDLE_KIB, Request, Subject};

/// Everything that was measured; its text is Markdown.
pub(super) struct Results {
    subject: &'static Subject,
    cases: Vec<Case>,
    peers: Vec<Peer>,
    samples: Vec<(Case, Peer, Sample)>,
}

/// The middle of some figures, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Results {
    pub(super) fn new(subject: &'static Subject, cases: Vec<Case>, peers: Vec<Peer>) -> Self {
        Self { subject, cases, peers, samples: Vec::new() }
    }

    pub(super) fn add(&mut self, case: Case, peer: Peer, sample: Sample) {
        self.samples.push((case, peer, sample));
    }

    /// Answers that were wrong or missing.
    pub(super) fn faults(&self) -> u64 {
        self.samples.iter().map(|(_, _, sample)| sample.faults()).sum()
    }

    /// A figure, round by round.
    fn rounds(&self, case: Case, peer: Peer, name: &str) -> Vec<f64> {
        let of = self.samples.iter().filter(|(c, p, _)| (*c, *p) == (case, peer));
        of.map(|(_, _, sample)| sample.get(name)).collect()
    }

    fn spread(&self, case: Case, peer: Peer, name: &str) -> Option<Spread> {
        Spread::of(self.rounds(case, peer, name))
    }

    /// A figure as a multiple of another peer's in the same round.
    fn ratio(&self, case: Case, peer: Peer, to: Peer, name: &str) -> Option<Spread> {
        let own = self.rounds(case, peer, name);
        let base = self.rounds(case, to, name);
        let ratios = own.iter().zip(&base).filter(|(_, base)| **base > 0.0);
        Spread::of(ratios.map(|(own, base)| own / base).collect())
    }

    fn idle_kib(&self, case: Case, peer: Peer) -> Option<Spread> {
        let Kind::Idle { connections } = case.kind else { return None };
        let before = self.rounds(case, peer, "before_kib");
        let after = self.rounds(case, peer, "after_kib");
        let each = before.iter().zip(after).map(|(b, a)| (a - b) / connections as f64);
        Spread::of(each.collect())
    }

    /// With whom the figures are compared, and which of them.
    fn compared(&self) -> impl Iterator<Item = (Peer, &'static str)> {
        let baselines = self.subject.baselines.iter().copied();
        let there = baselines.filter(|to| self.peers.contains(to));
        let first = self.subject.baselines.first().copied();
        let throughput = first.filter(|to| self.peers.contains(to)).map(|to| (to, "rps"));
        there.map(|to| (to, "cpu_us")).chain(throughput)
    }

    fn load_head(&self, f: &mut fmt::Formatter<'_>, request: Request) -> fmt::Result {
        writeln!(f, "{}:\n", request.title())?;
        write!(f, "| connections x depth | proxy | requests/s | ")?;
        for (percentile, _) in self.subject.percentiles() {
            write!(f, "{percentile} us | ")?;
        }
        write!(f, "proxy CPU us per request |")?;
        for (to, name) in self.compared() {
            let what = if name == "rps" { "requests/s " } else { "" };
            write!(f, " {what}to {to} |")?;
        }
        let columns = 8 + self.compared().count();
        writeln!(f, " RSS MiB |\n|{}", "---|".repeat(columns))
    }

    fn load_rows(
        &self,
        f: &mut fmt::Formatter<'_>,
        case: Case,
        load: (usize, usize),
    ) -> fmt::Result {
        for peer in &self.peers {
            let Some(rps) = self.spread(case, *peer, "rps") else { continue };
            let figure = |name: &str, digits: usize| {
                let spread = self.spread(case, *peer, name);
                spread.map_or_else(String::new, |s| format!("{:.digits$}", s.median))
            };
            let proxied = |text: String| if *peer == Peer::Direct { String::new() } else { text };
            let cpu = self.spread(case, *peer, "cpu_us").map_or_else(String::new, |s| s.text(2));
            let ratio = |to, name| {
                let ratio = self.ratio(case, *peer, to, name);
                ratio.filter(|_| *peer != Peer::Direct && *peer != to)
            };
            let ratios = self.compared().map(|(to, name)| {
                ratio(to, name)
                    .map_or_else(String::new, |s| format!("**{:.2}**{}", s.median, s.range(2)))
            });
            let ratios = ratios.collect::<Vec<_>>().join(" | ");
            let rss = self.spread(case, *peer, "rss_kib").map_or(0.0, |s| s.median / 1024.0);
            let latency = self.subject.percentiles().map(|(_, name)| figure(name, 0)).join(" | ");
            writeln!(
                f,
                "| {} x {} | {peer} | {} | {latency} | {} | {ratios} | {} |",
                load.0,
                load.1,
                rps.text(0),
                proxied(cpu),
                proxied(format!("{rss:.1}")),
            )?;
        }
        Ok(())
    }

    fn idle_rows(&self, f: &mut fmt::Formatter<'_>, case: Case, connections: usize) -> fmt::Result {
        writeln!(
            f,
            "\n{connections} connections that have made one request each:\n\n\
             | proxy | RSS without them, MiB | with them, MiB | KiB per connection | sides | KiB per connection and side |\n\
             |---|---|---|---|---|---|"
        )?;
        for peer in &self.peers {
            let Some(each) = self.idle_kib(case, *peer) else { continue };
            let mib = |name| self.spread(case, *peer, name).map_or(0.0, |s| s.median / 1024.0);
            let sides = peer.sides();
            writeln!(
                f,
                "| {peer} | {:.1} | {:.1} | {} | {sides} | {:.2} |",
                mib("before_kib"),
                mib("after_kib"),
                each.text(2),
                each.median / sides as f64,
            )?;
        }
        Ok(())
    }

    /// Every goal that this run can tell of: what, the bound, what was measured.
    fn goals(&self) -> Vec<(String, f64, f64)> {
        let mut goals = Vec::new();
        for case in &self.cases {
            match case.kind {
                Kind::Load { connections, depth } => {
                    let here = |goal: &&Goal| goal.load == (connections, depth);
                    for goal in self.subject.goals.iter().filter(here) {
                        let Goal { of, figure, to, at_most, .. } = goal;
                        let ratio = self.ratio(*case, *of, *to, figure.name());
                        let Some(ratio) = ratio else { continue };
                        let what = format!(
                            "{connections} x {depth}, {}: {} of {of}, to {to}'s",
                            case.request,
                            figure.words()
                        );
                        goals.push((what, *at_most, ratio.median));
                    }
                }
                Kind::Idle { .. } => {
                    if let Some(kib) = self.idle_kib(*case, Peer::Wiremesh) {
                        let each = kib.median / Peer::Wiremesh.sides() as f64;
                        goals.push(("KiB per idle connection and side".into(), IDLE_KIB, each));
                    }
                }
            }
        }
        goals
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for case in &self.cases {
            let Kind::Load { connections, depth } = case.kind else { continue };
            if last != Some(case.request) {
                if last.is_some() {
                    writeln!(f)?;
                }
                last = Some(case.request);
                self.load_head(f, case.request)?;
            }
            self.load_rows(f, *case, (connections, depth))?;
        }
        for case in &self.cases {
            if let Kind::Idle { connections } = case.kind {
                self.idle_rows(f, *case, connections)?;
            }
        }
        let goals = self.goals();
        if !goals.is_empty() {
            writeln!(f, "\n| goal | at most | measured | |\n|---|---|---|---|")?;
        }
        for (what, bound, measured) in goals {
            let verdict = if measured <= bound {
                "met".into()
            } else {
                format!("missed by {:.0} %", (measured / bound - 1.0) * 100.0)
            };
            writeln!(f, "| {what} | {bound:.2} | {measured:.2} | {verdict} |")?;
        }
        writeln!(f, "\nAnswers wrong or missing, over all: {}.", self.faults())
    }
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let upper = figures[figures.len() / 2];
        let lower = figures[(figures.len() - 1) / 2];
        Some(Self { median: (lower + upper) / 2.0, min, max })
    }

    fn text(self, digits: usize) -> String {
        format!("{:.digits$}{}", self.median, self.range(digits))
    }

    fn range(self, digits: usize) -> String {
        let Self { min, max, .. } = self;
        if min == max { String::new() } else { format!(" ({min:.digits$}-{max:.digits$})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![2.0]).unwrap().text(1), "2.0");
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).unwrap().text(1), "2.0 (1.0-3.0)");
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap().text(1), "2.5 (1.0-4.0)");
    }

    #[test]
    fn ratios_compare_within_a_round() {
        let subject = Subject::named("bolt").unwrap();
        let case =
            Case { kind: Kind::Load { connections: 50, depth: 1 }, request: Request::Body(128) };
        let mut results = Results::new(subject, vec![case], subject.peers.into());
        for (own, base) in [(1.0, 2.0), (9.0, 10.0), (3.0, 6.0)] {
            let sample = |cpu: f64| format!("rps=1 p99_us=1 cpu_us={cpu}").parse().unwrap();
            results.add(case, Peer::Wiremesh, sample(own));
            results.add(case, Peer::Haproxy, sample(base));
        }
        let ratio = results.ratio(case, Peer::Wiremesh, Peer::Haproxy, "cpu_us").unwrap();
        assert_eq!(ratio, Spread { median: 0.5, min: 0.5, max: 0.9 });
        assert!(results.to_string().contains(
            "| 50 x 1, 128 B: CPU per request of wiremesh, to haproxy's | 0.65 | 0.50 | met |"
        ));
        assert_eq!(results.faults(), 0);
    }

    #[test]
    fn each_tool_has_percentiles_of_its_own() {
        let subject = Subject::named("mysql").unwrap();
        let kind = Kind::Load { connections: 16, depth: 1 };
        let case = Case { kind, request: Request::Text };
        let mut results = Results::new(subject, vec![case], subject.peers.into());
        for (peer, cpu) in [(Peer::Wiremesh, 12.0), (Peer::Haproxy, 10.0)] {
            let sample = format!("rps=9 p50_us=1 p95_us=2 p99_us=3 cpu_us={cpu} rss_kib=2048");
            results.add(case, peer, sample.parse().unwrap());
        }
        let text = results.to_string();
        for line in [
            "| connections x depth | proxy | requests/s | p50 us | p95 us | p99 us | proxy CPU us per request | \
             to haproxy | to ShardingSphere | requests/s to haproxy | RSS MiB |",
            "| 16 x 1 | wiremesh | 9 | 1 | 2 | 3 | 12.00 | **1.20** |  | **1.00** | 2.0 |",
            "| 16 x 1, text: CPU per request of wiremesh, to haproxy's | 1.10 | 1.20 | missed by 9 % |",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }
}
