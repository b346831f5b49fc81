//! What a process has used, from `/proc`.

use std::{fs, io, time::Duration};

/// The processor time of all threads of a process, to the nanosecond. Threads that have ended are not in it.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let on_cpu = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
        nanos += on_cpu.ok_or_else(|| io::Error::other("schedstat without a time"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// The resident memory of a process, in KiB.
pub fn rss(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| io::Error::other("a process without memory"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_costs_time_and_memory() {
        let pid = std::process::id();
        let (before, started) = (cpu_time(pid).unwrap(), Instant::now());
        let mut x = 1u64;
        while cpu_time(pid).unwrap() < before + Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_secs(10), "no time was counted");
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let before = rss(pid).unwrap();
        let memory = std::hint::black_box(vec![1u8; 32 << 20]);
        assert!(rss(pid).unwrap() >= before + 30 * 1024, "{} bytes", memory.len());
    }
}
