use std::fs;

/// What the operating system says of this process. Only Linux is asked; elsewhere nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let read = |file| fs::read_to_string(file).ok();
        Self {
            resident_bytes: read("/proc/self/status").and_then(|text| resident(&text)),
            cpu_seconds: read("/proc/self/stat").and_then(|text| cpu(&text)),
            // The directory that is being listed is one of them.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as u64 - 1),
            max_fds: read("/proc/self/limits").and_then(|text| max_fds(&text)),
        }
    }
}

/// From proc_pid_status(5): `VmRSS:  1234 kB`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// From proc_pid_stat(5): fields 14 and 15, user and system time in ticks. Field 2, the name in parentheses, may contain
/// anything.
fn cpu(stat: &str) -> Option<f64> {
    // USER_HZ, which Linux keeps at 100 on every architecture that Rust's std supports but Alpha.
    const TICKS_PER_SECOND: f64 = 100.0;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) as f64 / TICKS_PER_SECOND)
}

/// From proc_pid_limits(5): `Max open files  SOFT  HARD  files`.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3";
        assert_eq!(cpu(stat), Some(3.0));
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024   4096   files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!((resident(""), cpu("42 (x) S 1"), max_fds("")), (None, None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive() {
        let Process { resident_bytes, cpu_seconds, open_fds, max_fds } = Process::read();
        assert!(resident_bytes.is_some_and(|bytes| bytes > 500_000), "{resident_bytes:?}");
        assert!(cpu_seconds.is_some());
        assert!(open_fds.is_some_and(|fds| fds > 0), "{open_fds:?}");
        assert!(max_fds >= open_fds, "{max_fds:?}");
    }
}
