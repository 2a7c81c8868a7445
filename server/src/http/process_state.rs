//! What the system says of this process: memory, processor, descriptors, and the disk of its data.

use std::path::PathBuf;

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use sysinfo::{Disks, ProcessRefreshKind, ProcessesToUpdate, System};

use super::route::own_metrics::gauge;

/// What the system says of this process and of the disk of its data.
#[derive(Debug, Default)]
pub(super) struct ProcessState {
    resident_bytes: u64,
    anonymous_bytes: Option<u64>,
    virtual_bytes: u64,
    cpu_ms: u64,
    start_s: u64,
    open_files: Option<usize>,
    disk_total_bytes: u64,
    disk_free_bytes: u64,
}

impl ProcessState {
    /// As of now. Reads files of the system, which may wait.
    pub(super) fn now(data_dir: PathBuf) -> Self {
        let mut state = Self { anonymous_bytes: anonymous_bytes(), ..Self::default() };
        if let (Ok(pid), Ok(mut system)) = (sysinfo::get_current_pid(), System::new()) {
            let refresh = ProcessRefreshKind::nothing().with_memory().with_cpu();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, refresh);
            if let Some(process) = system.process(pid) {
                state.resident_bytes = process.memory();
                state.virtual_bytes = process.virtual_memory();
                state.cpu_ms = process.accumulated_cpu_time();
                state.start_s = process.start_time();
                state.open_files = process.open_files();
            }
        }
        let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
        if let Ok(disks) = Disks::new_with_refreshed_list() {
            let holds = |disk: &&sysinfo::Disk| data_dir.starts_with(disk.mount_point());
            let nearest = disks.iter().filter(holds).max_by_key(|d| d.mount_point().as_os_str().len());
            state.disk_total_bytes = nearest.map_or(0, sysinfo::Disk::total_space);
            state.disk_free_bytes = nearest.map_or(0, sysinfo::Disk::available_space);
        }
        state
    }

    /// Makes it part of a registry, under the names that are agreed on for processes.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of CPU are far below 2^53")]
    pub(super) fn register(&self, registry: &mut Registry) {
        let cpu = ConstCounter::new(self.cpu_ms as f64 / 1000.0);
        registry.register_with_unit("process_cpu", "CPU time of the process", Unit::Seconds, cpu);
        gauge(
            registry,
            "process_resident_memory_bytes",
            "Resident memory of the process",
            self.resident_bytes,
        );
        if let Some(bytes) = self.anonymous_bytes {
            let help = "Resident memory that no file is behind: what the process itself takes";
            gauge(registry, "process_anonymous_memory_bytes", help, bytes);
        }
        gauge(registry, "process_virtual_memory_bytes", "Virtual memory of the process", self.virtual_bytes);
        gauge(registry, "process_start_time_seconds", "Start of the process, in Unix time", self.start_s);
        if let Some(open) = self.open_files {
            gauge(registry, "process_open_fds", "Open file descriptors", open as u64);
        }
        gauge(
            registry,
            "insights_disk_bytes",
            "Size of the file system of the data directory",
            self.disk_total_bytes,
        );
        gauge(registry, "insights_disk_free_bytes", "Free bytes of that file system", self.disk_free_bytes);
    }
}

/// Resident memory that no file is behind. Mapped segments are resident too, but theirs is the page cache's memory,
/// which the system takes back when it needs it; `sysinfo` does not tell the two apart. Linux alone.
fn anonymous_bytes() -> Option<u64> {
    parse_anonymous(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `RssAnon` of `proc_pid_status(5)`, which is in KiB whatever the page size.
fn parse_anonymous(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_process_knows_its_own_size() {
        let state = ProcessState::now(PathBuf::from("/"));
        assert!(state.resident_bytes > 0 && state.start_s > 0);
        assert!(state.anonymous_bytes.is_none_or(|bytes| bytes > 0 && bytes <= state.resident_bytes * 2));
        let mut registry = Registry::default();
        state.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("# TYPE process_cpu_seconds counter"), "{text}");
    }

    #[test]
    fn anonymous_memory_is_read_from_the_status_of_the_process() {
        let status = "VmRSS:\t   12345 kB\nRssAnon:\t    1024 kB\nRssFile:\t   11321 kB\n";
        assert_eq!(parse_anonymous(status), Some(1 << 20));
        for bad in ["", "RssAnon:\t kB", "RssAnon:\t1 MB", "RssAnon:\t99999999999999999999 kB"] {
            assert_eq!(parse_anonymous(bad), None, "{bad}");
        }
    }
}
