//! Points of readings that are written down by hand.

use std::collections::BTreeMap;

use super::*;
use crate::collect::cgroup::{CpuQuota, Limits, MemoryLimit};
use crate::collect::host::{Mount, Traffic};
use crate::collect::proc_stat::CpuTicks;

const GIB: u64 = 1 << 30;

fn space(total: u64, available: u64) -> Space {
    Space { total, available }
}

fn traffic(received: u64, sent: u64) -> Traffic {
    Traffic { received, sent }
}

fn sample(second: u64, cpu: (u64, u64), network: &[(&str, Traffic)]) -> Sample {
    let mounts = [("/", space(100, 60)), ("/data", space(100, 10))];
    let mounts = mounts.map(|(path, space)| Mount { path: path.to_owned(), space }).to_vec();
    let network: BTreeMap<String, Traffic> = network.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
    let reading = Reading {
        host: Some("web-1".to_owned()),
        cores: 4,
        cpu: Some(CpuTicks { busy: cpu.0, total: cpu.1 }),
        memory: Some(space(8 * GIB, 6 * GIB)),
        limits: Limits::default(),
        mounts,
        network,
    };
    Sample { reading, monotonic_us: second * 1_000_000, server_errors: second }
}

fn value(points: &[Point], name: &str, mount: Option<&str>) -> Option<f64> {
    let mut found = points.iter().filter(|p| p.name == name && p.mount.as_deref() == mount);
    let value = found.next().map(|p| p.value);
    assert!(found.next().is_none(), "{name} is there once");
    value
}

#[test]
fn the_first_sample_tells_levels_and_no_rates() {
    let points = points(None, &sample(0, (900, 1_000), &[("eth0", traffic(5, 5))]));
    let names: Vec<_> = points.iter().map(|p| (p.name, p.mount.as_deref())).collect();
    let expected = [
        ("memory.usage", None),
        ("disk.usage", Some("/")),
        ("disk.usage", Some("/data")),
        ("disk.usage", None),
    ];
    assert_eq!(names, expected);
}

#[test]
fn two_samples_tell_the_time_between() {
    let earlier = sample(10, (900, 1_000), &[("eth0", traffic(1_000, 50)), ("wifi", traffic(70, 7))]);
    let later = sample(310, (1_200, 2_000), &[("eth0", traffic(6_000, 90)), ("new", traffic(999, 999))]);
    let points = points(Some(&earlier), &later);
    assert_eq!(value(&points, "cpu.usage", None), Some(30.0));
    assert_eq!(value(&points, "memory.usage", None), Some(25.0));
    assert_eq!(value(&points, "disk.usage", Some("/")), Some(40.0));
    assert_eq!(value(&points, "disk.usage", Some("/data")), Some(90.0));
    assert_eq!(value(&points, "disk.usage", None), Some(90.0), "the worst");
    assert_eq!(
        value(&points, "network.in", None),
        Some(5_000.0),
        "an interface that is new has no time between"
    );
    assert_eq!(value(&points, "network.out", None), Some(40.0));
    assert_eq!(value(&points, "server.errors", None), Some(300.0));
    for point in &points {
        let known = crate::domain::metric::known_metric(point.name).unwrap();
        assert_eq!(known.kind, point.kind, "{}", point.name);
    }
}

#[test]
fn a_counter_that_began_again_counts_from_zero() {
    let earlier = sample(0, (1, 2), &[("eth0", traffic(1_000, 1_000))]);
    let later = sample(300, (3, 4), &[("eth0", traffic(30, 2_000))]);
    let points = points(Some(&earlier), &later);
    assert_eq!(value(&points, "network.in", None), Some(30.0));
    assert_eq!(value(&points, "network.out", None), Some(1_000.0));
}

#[test]
fn limits_of_a_container_count_where_they_are_lower() {
    let with = |mut sample: Sample, used_s: u64, cores: f64| {
        sample.reading.limits = Limits {
            cpu: Some(CpuQuota { used_us: used_s * 1_000_000, cores }),
            memory: Some(MemoryLimit { used: GIB, limit: 2 * GIB }),
        };
        sample
    };
    let (earlier, later) = (sample(0, (0, 100), &[]), sample(10, (100, 200), &[]));
    let limited = points(Some(&with(earlier.clone(), 5, 2.0)), &with(later.clone(), 15, 2.0));
    assert_eq!(value(&limited, "cpu.usage", None), Some(50.0), "10 s of processor in 10 s on 2 cores");
    assert_eq!(value(&limited, "memory.usage", None), Some(50.0));
    let wide = points(Some(&with(earlier.clone(), 5, 8.0)), &with(later.clone(), 15, 8.0));
    assert_eq!(value(&wide, "cpu.usage", None), Some(100.0), "a quota above the host's cores is none");
    let burst = points(Some(&with(earlier.clone(), 0, 0.5)), &with(later.clone(), 6, 0.5));
    assert_eq!(value(&burst, "cpu.usage", None), Some(100.0));
    let moved = points(Some(&with(earlier, 9, 2.0)), &with(later, 3, 2.0));
    assert_eq!(value(&moved, "cpu.usage", None), None, "another group's counter tells nothing");
}

#[test]
fn what_the_system_does_not_say_is_no_point() {
    let nothing = Sample::default();
    let points = points(Some(&nothing), &nothing);
    let names: Vec<_> = points.iter().map(|p| (p.name, p.value.to_bits())).collect();
    assert_eq!(names, [("network.in", 0), ("network.out", 0), ("server.errors", 0)]);
}

#[test]
fn ids_are_of_task_time_metric_host_and_mount() {
    let point = |name, mount: Option<&str>| Point {
        name,
        kind: MetricKind::Gauge,
        mount: mount.map(str::to_owned),
        value: 1.0,
    };
    let base = id("task", TimestampUs(1), Some("a"), &point("disk.usage", None));
    assert_eq!(base.len(), 37);
    assert_eq!(
        base,
        id("task", TimestampUs(1), Some("a"), &Point { value: 2.0, ..point("disk.usage", None) })
    );
    for other in [
        id("tas", TimestampUs(1), Some("a"), &point("disk.usage", None)),
        id("task", TimestampUs(2), Some("a"), &point("disk.usage", None)),
        id("task", TimestampUs(1), Some("b"), &point("disk.usage", None)),
        id("task", TimestampUs(1), None, &point("disk.usage", Some("a"))),
        id("task", TimestampUs(1), Some("a"), &point("cpu.usage", None)),
    ] {
        assert_ne!(base, other);
    }
}
