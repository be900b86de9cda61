//! The process itself, under the names that Prometheus' own client libraries give it.

use std::fs;

use super::exposition::Exposition;

/// Resources that this process uses, as Linux reports them; none on other systems
pub(super) fn write(metrics: &mut Exposition) {
    if let Some(stat) = Stat::read() {
        metrics
            .counter("process_cpu_seconds_total", "CPU time used.")
            .sample(&[], stat.cpu_seconds);
        metrics
            .gauge("process_resident_memory_bytes", "Memory in use.")
            .sample(&[], stat.resident_bytes);
        metrics
            .gauge("process_virtual_memory_bytes", "Address space in use.")
            .sample(&[], stat.virtual_bytes);
        metrics
            .gauge(
                "process_start_time_seconds",
                "When it started, since 1970-01-01 UTC.",
            )
            .sample(&[], stat.start_seconds);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        metrics
            .gauge("process_open_fds", "Open files, sockets among them.")
            .count(&[], open.count() as u64);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(limit) = limit.current {
        metrics
            .gauge("process_max_fds", "How many files may be open.")
            .count(&[], limit);
    }
}

struct Stat {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    start_seconds: f64,
}

impl Stat {
    /// Reads `/proc/self/stat`, whose fields proc(5) numbers.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the program's name, may have blanks.
        let fields: Vec<f64> = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            start_seconds: boot_seconds()? + field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page,
        })
    }
}

/// When the machine started.
fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_started_a_moment_ago_and_uses_memory() {
        let stat = Stat::read().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - stat.start_seconds;
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(stat.resident_bytes > 1e5 && stat.virtual_bytes >= stat.resident_bytes);
    }
}
