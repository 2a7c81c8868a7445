//! One reading of the host: processor, memory, file systems, network.

use std::collections::BTreeMap;
use std::fmt;

use sysinfo::{Disks, MemoryRefreshKind, Networks, System};

use super::cgroup;
use super::proc_stat::{self, CpuTicks};

/// Longest name of a host, in characters.
const HOST_CHARS_MAX: usize = 255;
/// Most file systems of a reading; further ones are left out, in the order of their mounts.
pub const DISKS_MAX: usize = 64;
/// Most network interfaces of a reading.
const INTERFACES_MAX: usize = 1_024;
/// File systems that are no disks: in memory, or full by their nature.
const PSEUDO: [&str; 12] = [
    "autofs", "cgroup", "cgroup2", "devtmpfs", "efivarfs", "erofs", "iso9660", "proc", "ramfs", "squashfs",
    "sysfs", "tmpfs",
];

/// Bytes of which some are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What could be used.
    pub available: u64,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub space: Space,
}

/// Bytes of a network interface since it came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

/// What the system says at one moment. What it does not say is absent, never zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The name of the host.
    pub host: Option<String>,
    /// Cores of the host.
    pub cores: usize,
    /// Processor time of the host.
    pub cpu: Option<CpuTicks>,
    /// Memory of the host.
    pub memory: Option<Space>,
    /// What the control group may use.
    pub limits: cgroup::Limits,
    /// File systems on disks, by mount.
    pub mounts: Vec<Mount>,
    /// Interfaces but the loopback, by name.
    pub network: BTreeMap<String, Traffic>,
}

/// Where readings come from: the system, or a test.
pub trait Host: Send + fmt::Debug {
    /// Reads now. May wait for files of the system.
    fn read(&mut self) -> Reading;
}

/// The system this process runs on.
#[derive(Debug, Default)]
pub struct SystemHost;

impl Host for SystemHost {
    fn read(&mut self) -> Reading {
        let memory = System::new().ok().and_then(|mut system| {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            let space = Space { total: system.total_memory(), available: system.available_memory() };
            (space.total > 0).then_some(space)
        });
        let host = System::host_name().ok().filter(|name| !name.is_empty());
        Reading {
            host: host.map(|name| name.chars().take(HOST_CHARS_MAX).collect()),
            cores: std::fs::read_to_string("/proc/cpuinfo").map_or(0, |text| count_cores(&text)),
            cpu: std::fs::read_to_string("/proc/stat").ok().and_then(|text| proc_stat::parse(&text)),
            memory,
            limits: cgroup::Limits::now(),
            mounts: mounts(),
            network: network(),
        }
    }
}

/// The cores in `/proc/cpuinfo`. A quota is measured by them: what the process may be scheduled on is another thing.
fn count_cores(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("processor")).count()
}

fn mounts() -> Vec<Mount> {
    let Ok(disks) = Disks::new_with_refreshed_list() else { return Vec::new() };
    let seen = disks.iter().map(|disk| Listed {
        device: disk.name().to_string_lossy().into_owned(),
        file_system: disk.file_system().to_string_lossy().into_owned(),
        mount: Mount {
            path: disk.mount_point().to_string_lossy().into_owned(),
            space: Space { total: disk.total_space(), available: disk.available_space() },
        },
    });
    on_disks(seen.collect())
}

/// A file system as the system lists it.
#[derive(Debug, Clone)]
struct Listed {
    device: String,
    file_system: String,
    mount: Mount,
}

/// Leaves out what is no disk, and all but the shortest mount of a device that is mounted several times, as single
/// files of a container are.
fn on_disks(listed: Vec<Listed>) -> Vec<Mount> {
    let is_disk = |l: &Listed| {
        l.mount.space.total > 0 && !PSEUDO.contains(&l.file_system.to_ascii_lowercase().as_str())
    };
    let mut by_device: BTreeMap<(String, u64), Mount> = BTreeMap::new();
    for Listed { device, mount, .. } in listed.into_iter().filter(is_disk) {
        let length = |mount: &Mount| (mount.path.len(), mount.path.clone());
        match by_device.entry((device, mount.space.total)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(mount);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                if length(&mount) < length(place.get()) {
                    place.insert(mount);
                }
            }
        }
    }
    let mut mounts: Vec<Mount> = by_device.into_values().collect();
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    mounts.truncate(DISKS_MAX);
    mounts
}

fn network() -> BTreeMap<String, Traffic> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return BTreeMap::new() };
    let traffic = networks.iter().map(|(name, data)| {
        let traffic = Traffic { received: data.total_received(), sent: data.total_transmitted() };
        (name.to_string_lossy().into_owned(), traffic)
    });
    traffic.filter(|(name, _)| !is_loopback(name)).take(INTERFACES_MAX).collect()
}

/// `lo` of Linux, `lo0` of the BSDs.
fn is_loopback(interface: &str) -> bool {
    interface == "lo" || interface == "lo0"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(device: &str, file_system: &str, path: &str, total: u64) -> Listed {
        let space = Space { total, available: total / 2 };
        Listed {
            device: device.to_owned(),
            file_system: file_system.to_owned(),
            mount: Mount { path: path.to_owned(), space },
        }
    }

    #[test]
    fn pseudo_file_systems_and_second_mounts_are_left_out() {
        let mounts = on_disks(vec![
            listed("tmpfs", "tmpfs", "/run", 100),
            listed("/dev/sda1", "ext4", "/etc/hosts", 1_000),
            listed("/dev/sda1", "ext4", "/data", 1_000),
            listed("overlay", "overlay", "/", 1_000),
            listed("/dev/loop0", "squashfs", "/snap/x", 50),
            listed("none", "ext4", "/empty", 0),
            listed("/dev/sdb", "XFS", "/a", 10),
        ]);
        let paths: Vec<&str> = mounts.iter().map(|mount| mount.path.as_str()).collect();
        assert_eq!(paths, ["/", "/a", "/data"]);
    }

    #[test]
    fn this_host_can_be_read() {
        let reading = SystemHost.read();
        assert!(reading.memory.is_some_and(|m| m.available <= m.total), "{reading:?}");
        assert!(reading.network.keys().all(|name| name != "lo"));
        if cfg!(target_os = "linux") {
            assert!(reading.cpu.is_some_and(|cpu| cpu.busy <= cpu.total) && reading.cores > 0, "{reading:?}");
        }
    }

    #[test]
    fn cores_are_counted() {
        assert_eq!(count_cores("processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n"), 2);
        assert_eq!(count_cores(""), 0);
    }
}
