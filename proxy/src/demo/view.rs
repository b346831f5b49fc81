//! What the demo shows: on a terminal a table that is drawn again every second, elsewhere plain lines.

mod table;

use std::{
    io::{self, IsTerminal, Write as _},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    outside,
    tally::Tally,
    traffic::{Event, Listeners, Load, What},
};
use crate::telemetry::{Distribution, Snapshot, Totals};
use table::{Table, count, millis};

/// How many of the last events stay in sight on a terminal with room for them.
const EVENTS: usize = 8;

/// With fewer lines a terminal has room for the commonest command of Redis only.
const TALL: usize = 36;

/// The terminal, or whatever standard output is.
pub(super) struct View {
    started: Instant,
    /// Whether the table is drawn again in place.
    live: bool,
    /// How many lines are to be drawn over.
    drawn: usize,
    endpoints: Vec<Row>,
    events: Vec<String>,
    kills: u64,
    returns: u64,
    /// As it was shown last: what the proxy counted, what the clients measured, how many answers they had.
    before: (Snapshot, Distribution, u64),
}

/// What is known of an endpoint besides its counts.
struct Row {
    cluster: &'static str,
    address: SocketAddr,
    down: bool,
    /// It is listening again, and requests are awaited.
    awaited: bool,
    ejections: u64,
}

impl View {
    pub(super) fn new(
        started: Instant,
        endpoints: Vec<(&'static str, SocketAddr)>,
        proxy: Snapshot,
    ) -> Self {
        let endpoints = endpoints.into_iter().map(|(cluster, address)| Row {
            cluster,
            address,
            down: false,
            awaited: false,
            ejections: 0,
        });
        Self {
            started,
            live: io::stdout().is_terminal(),
            drawn: 0,
            endpoints: endpoints.collect(),
            events: Vec::new(),
            kills: 0,
            returns: 0,
            before: (proxy, Distribution::default(), 0),
        }
    }

    /// Says what is running, and what to look at.
    pub(super) fn introduce(
        &self,
        load: &Load,
        proxy: &Listeners,
        admin: Option<SocketAddr>,
        file: &Path,
    ) {
        let Load { connections, rate, .. } = load;
        let Listeners { bolt, redis } = proxy;
        let mut text = format!(
            "\
wiremesh demo: {} endpoints of three services and a Redis server, a proxy on {bolt} (Bolt) and {redis} (Redis),
{connections} clients of Bolt, {} of Redis, {rate} requests/s in all. Every few seconds an endpoint of a service is killed and
comes back; the one Redis server stays, since none could step in. Every answer is checked. Ctrl-C ends it.

configuration  {}  (change it: it is read again)
",
            self.endpoints.len() - 1,
            load.redis_clients(),
            file.display()
        );
        if let Some(admin) = admin {
            text.push_str(&format!(
                "admin          http://{admin}/  http://{admin}/clusters  http://{admin}/metrics  http://{admin}/config\n"
            ));
        }
        text.push_str(&format!(
            "call it from another terminal:\nredis-cli -p {}    (then any command)\n",
            redis.port()
        ));
        if let Some(command) = outside::command(*bolt) {
            text.push_str(&format!("{command}\n"));
        }
        text.push('\n');
        print(&text);
    }

    /// Takes note of what happened.
    pub(super) fn note(&mut self, events: impl Iterator<Item = Event>) {
        for Event { at, endpoint, what } in events {
            let Some(row) = self.endpoints.iter_mut().find(|row| row.address == endpoint) else {
                continue;
            };
            row.down = matches!(what, What::Killed(_));
            row.awaited = !row.down;
            let name = format!("{} {}", row.cluster, row.address);
            let text = match what {
                What::Killed(connections) => {
                    self.kills += 1;
                    format!("{name} killed, {connections} connections reset")
                }
                What::Returned => {
                    self.returns += 1;
                    format!("{name} is back")
                }
            };
            self.event(at, &text);
        }
    }

    /// Shows the last second.
    pub(super) fn show(&mut self, now: &Snapshot, tally: &Tally) {
        let mut latency = Distribution::default();
        latency += &tally.latency;
        let answered = tally.answered();
        let now_too = (now.clone(), latency.clone(), answered);
        let (before, earlier, answered_before) = std::mem::replace(&mut self.before, now_too);
        self.observe(now, &before);
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001);
        let rate = (answered - answered_before) as f64 / seconds;
        let latency = latency.since(&earlier);
        let second = format!(
            "{:>4} s {:>8} requests/s   p50 {}   p99 {}",
            self.started.elapsed().as_secs(),
            count(rate.round() as u64),
            millis(latency.quantile(0.5)),
            millis(latency.quantile(0.99)),
        );
        let sums = format!(
            "{} in all, {} retried, {} failed, {} wrong, {} lost",
            count(answered),
            count(now.retries()),
            count(tally.failed.get()),
            count(tally.wrong.get()),
            count(tally.lost.get()),
        );
        if !self.live {
            return print(&format!("{second}   {sums}\n"));
        }
        let mut lines = vec![second, format!("       {sums}"), String::new()];
        lines.extend(self.tables(now, Some((&before, seconds))));
        self.draw(lines);
    }

    /// Notices what the proxy did: endpoints ejected, endpoints with requests again.
    fn observe(&mut self, now: &Snapshot, before: &Snapshot) {
        let mut seen = Vec::new();
        for row in &mut self.endpoints {
            let address = row.address.to_string();
            let answers = |s: &Snapshot| {
                s.endpoint(row.cluster, &address).map_or(0, |e| e.totals.latency.count())
            };
            let ejections = now.endpoint(row.cluster, &address).map_or(0, |e| e.ejections);
            if ejections > row.ejections {
                seen.push(format!("{} {address} ejected by the proxy", row.cluster));
            }
            row.ejections = ejections;
            if row.awaited && answers(now) > answers(before) {
                row.awaited = false;
                seen.push(format!("{} {address} answers requests again", row.cluster));
            }
        }
        for text in seen {
            self.event(now.at, &text);
        }
    }

    /// The whole run, in words and figures.
    pub(super) fn conclude(&mut self, now: &Snapshot, tally: &Tally, took: Duration, file: &Path) {
        if self.live {
            self.draw(Vec::new());
        }
        let mut latency = Distribution::default();
        latency += &tally.latency;
        let mut text = String::from("\n");
        for line in self.tables(now, None) {
            text.push_str(&line);
            text.push('\n');
        }
        if self.live {
            text.push_str("\nEVENTS\n");
            for event in &self.events {
                text.push_str(&format!("{event}\n"));
            }
        }
        text.push_str(&format!(
            "\nsummary: {} requests in {:.1} s ({}/s), p50 {}, p99 {}\n",
            count(tally.sent.get()),
            took.as_secs_f64(),
            count((tally.sent.get() as f64 / took.as_secs_f64().max(0.001)).round() as u64),
            millis(latency.quantile(0.5)).trim(),
            millis(latency.quantile(0.99)).trim(),
        ));
        text.push_str(&format!(
            "summary: {} answered, {} of them by business errors; {} failed, {} wrong, {} lost\n",
            count(tally.answered()),
            count(tally.business_errors.get()),
            count(tally.failed.get()),
            count(tally.wrong.get()),
            count(tally.lost.get()),
        ));
        text.push_str(&format!(
            "summary: {} kills, {} returns, {} retries\n",
            self.kills,
            self.returns,
            count(now.retries()),
        ));
        for fault in tally.faults().iter() {
            text.push_str(&format!("{fault}\n"));
        }
        text.push_str(&format!("the configuration it ran with: {}\n", file.display()));
        print(&text);
    }

    /// Both tables: what came since `before` and per second, or everything.
    fn tables(&self, now: &Snapshot, before: Option<(&Snapshot, f64)>) -> Vec<String> {
        let requests = if before.is_some() { "REQ/S" } else { "REQUESTS" };
        let rate = |n: u64| match before {
            Some((_, seconds)) => count((n as f64 / seconds).round() as u64),
            None => count(n),
        };
        let quantiles = |totals: &Totals| [0.5, 0.99].map(|q| millis(totals.latency.quantile(q)));

        let mut methods =
            Table::new(["SERVICE", "METHOD", requests, "P50", "P99", "RETRIES", "ERRORS"]);
        let earlier = before.map(|(before, _)| before.methods()).unwrap_or_default();
        let mut commands = Vec::new();
        for method in now.methods() {
            let past = earlier
                .iter()
                .find(|past| (&past.service, &past.method) == (&method.service, &method.method));
            let totals =
                past.map_or_else(|| method.totals.clone(), |p| method.totals.since(&p.totals));
            let [p50, p99] = quantiles(&totals);
            let is_command = method.service.is_empty();
            let row = [
                if is_command { "redis".into() } else { method.service },
                method.method,
                rate(totals.requests),
                p50,
                p99,
                // Rare enough to be shown as sums.
                count(method.retries),
                count(method.totals.errors),
            ];
            if is_command {
                commands.push((totals.requests, row));
            } else {
                methods.row(row);
            }
        }
        // While it runs, those that fit; in the end, all.
        if before.is_some() {
            commands.sort_by_key(|(requests, _)| std::cmp::Reverse(*requests));
            commands.truncate(if screen().1 < TALL { 1 } else { usize::MAX });
        }
        commands.into_iter().for_each(|(_, row)| methods.row(row));

        let mut endpoints = Table::new([
            "CLUSTER",
            "ENDPOINT",
            "",
            requests,
            "P50",
            "P99",
            "FAILED TRIES",
            "EJECTIONS",
        ]);
        for row in &self.endpoints {
            let address = row.address.to_string();
            let Some(sum) = now.endpoint(row.cluster, &address) else { continue };
            let past = before.and_then(|(before, _)| before.endpoint(row.cluster, &address));
            let totals = past.map_or_else(|| sum.totals.clone(), |p| sum.totals.since(&p.totals));
            let [p50, p99] = quantiles(&totals);
            let state = if row.down { "DOWN" } else { "up" };
            endpoints.row([
                row.cluster.into(),
                address,
                state.into(),
                rate(totals.requests),
                p50,
                p99,
                count(sum.totals.errors),
                count(sum.ejections),
            ]);
        }
        let mut lines = methods.lines();
        lines.push(String::new());
        lines.extend(endpoints.lines());
        lines
    }

    fn event(&mut self, at: Instant, text: &str) {
        let seconds = at.saturating_duration_since(self.started).as_secs_f64();
        let line = format!("{seconds:>6.1} s  {text}");
        if !self.live {
            print(&format!("{line}\n"));
        }
        self.events.push(line);
    }

    /// Draws over what was drawn last, with as many events below as there is room for.
    fn draw(&mut self, mut lines: Vec<String>) {
        let (width, height) = screen();
        if !lines.is_empty() {
            let room = height.saturating_sub(lines.len() + 3).min(EVENTS);
            lines.extend(["".into(), "EVENTS".into()]);
            let first = self.events.len().saturating_sub(room);
            lines.extend(self.events.iter().skip(first).cloned());
        }
        // What does not fit would scroll, and could not be drawn over.
        lines.truncate(height.saturating_sub(1));
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}F\x1b[J", self.drawn));
        }
        for line in &lines {
            let line: String = line.chars().take(width).collect();
            if line.contains(" DOWN ") {
                text.push_str(&format!("\x1b[31m{line}\x1b[0m\n"));
            } else {
                text.push_str(&format!("{line}\n"));
            }
        }
        self.drawn = lines.len();
        print(&text);
    }
}

/// How wide and how high the terminal is.
fn screen() -> (usize, usize) {
    terminal_size::terminal_size().map_or((80, 24), |(w, h)| (w.0.into(), h.0.into()))
}

/// Prints to standard output. The demo goes on when nobody reads it any more.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
