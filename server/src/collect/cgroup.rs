//! Limits of the control group the process is in (version 2): in a container they, and not the host's, are what
//! there is.

use std::path::{Path, PathBuf};

/// Where control groups of version 2 are found.
const ROOT: &str = "/sys/fs/cgroup";

/// Processor time of a group that has a quota.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuQuota {
    /// Microseconds of processor time it has used since it was made.
    pub used_us: u64,
    /// Cores it may use on average.
    pub cores: f64,
}

/// Memory of a group that has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes it uses, without files that are only cached.
    pub used: u64,
    /// Bytes it may use.
    pub limit: u64,
}

/// The tightest limits of a group and of those above it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Of the processor.
    pub cpu: Option<CpuQuota>,
    /// Of memory.
    pub memory: Option<MemoryLimit>,
}

impl Limits {
    /// Of this process, as of now. Linux alone; none elsewhere.
    pub fn now() -> Self {
        let Ok(own) = std::fs::read_to_string("/proc/self/cgroup") else { return Self::default() };
        let Some(path) = parse_path(&own) else { return Self::default() };
        Self::of(Path::new(ROOT), path, &|file| std::fs::read_to_string(file).ok())
    }

    /// Of the group at `path` below `root`, whose files `read` reads.
    pub fn of(root: &Path, path: &str, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut dir: PathBuf = root.join(path.trim_start_matches('/'));
        let mut limits = Self::default();
        loop {
            let text = |name: &str| read(&dir.join(name));
            let cpu = text("cpu.max").and_then(|max| {
                Some(CpuQuota {
                    cores: parse_cpu_max(&max)?,
                    used_us: parse_key(&text("cpu.stat")?, "usage_usec")?,
                })
            });
            let memory = text("memory.max").and_then(|max| {
                let cached = text("memory.stat").and_then(|stat| parse_key(&stat, "inactive_file"));
                let current: u64 = text("memory.current")?.trim().parse().ok()?;
                let used = current.saturating_sub(cached.unwrap_or(0));
                Some(MemoryLimit { used, limit: max.trim().parse().ok().filter(|limit| *limit > 0)? })
            });
            limits.cpu = limits.cpu.into_iter().chain(cpu).min_by(|a, b| a.cores.total_cmp(&b.cores));
            limits.memory = limits.memory.into_iter().chain(memory).min_by_key(|memory| memory.limit);
            if dir == root || !dir.pop() || !dir.starts_with(root) {
                return limits;
            }
        }
    }
}

/// The group of version 2 in `/proc/self/cgroup`: the line of hierarchy 0. A path that leads out of the hierarchy
/// is none.
fn parse_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    (path.starts_with('/') && !path.split('/').any(|part| part == "..")).then_some(path)
}

/// `cpu.max`: quota and period in microseconds, or `max` for no quota; as cores.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_ascii_whitespace();
    let (quota, period): (u32, u32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

/// The value of a key in a file of lines `key value`.
fn parse_key(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn limits(path: &str, files: &[(&str, &str)]) -> Limits {
        let files: HashMap<PathBuf, String> =
            files.iter().map(|(name, text)| (Path::new("/c").join(name), (*text).to_owned())).collect();
        Limits::of(Path::new("/c"), path, &|file| files.get(file).cloned())
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let found = limits(
            "/a/b",
            &[
                ("a/b/cpu.max", "max 100000\n"),
                ("a/b/memory.max", "2000\n"),
                ("a/b/memory.current", "900\n"),
                ("a/b/memory.stat", "anon 500\ninactive_file 100\n"),
                ("a/cpu.max", "150000 100000\n"),
                ("a/cpu.stat", "usage_usec 77\nuser_usec 50\n"),
                ("a/memory.max", "1000"),
                ("a/memory.current", "950"),
                ("memory.max", "max"),
            ],
        );
        assert_eq!(found.cpu, Some(CpuQuota { used_us: 77, cores: 1.5 }));
        assert_eq!(found.memory, Some(MemoryLimit { used: 950, limit: 1000 }));
        let own = limits("/", &[("cpu.max", "50000 100000"), ("cpu.stat", "usage_usec 1")]);
        assert_eq!(own.cpu, Some(CpuQuota { used_us: 1, cores: 0.5 }));
        assert_eq!(limits("/a", &[("a/cpu.max", "max 100000"), ("a/memory.max", "max")]), Limits::default());
    }

    #[test]
    fn only_the_unified_hierarchy_is_looked_at() {
        assert_eq!(parse_path("12:cpu:/x\n0::/user.slice/a\n"), Some("/user.slice/a"));
        for bad in ["", "1:memory:/x\n", "0::\n", "0::/../x\n"] {
            assert_eq!(parse_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_limit_is_none() {
        assert_eq!(parse_cpu_max("200000 100000"), Some(2.0));
        for bad in ["", "max 100000", "0 100000", "100000 0", "100000", "-1 5"] {
            assert_eq!(parse_cpu_max(bad), None, "{bad}");
        }
        assert_eq!(parse_key("usage_usec_more 3\nusage_usec 4", "usage_usec"), Some(4));
        assert_eq!(parse_key("usage_usec x", "usage_usec"), None);
    }
}
