//! The readers, on folders with files as kernels have them, and the document's form.

use std::path::PathBuf;

use super::v1::{blkio_entry, expand};
use super::*;
use crate::cgroup::{Dir, Driver};

/// A folder that stands for the control group's directory.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("wharf-stats-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    for (file, text) in files {
        std::fs::write(path.join(file), text).unwrap();
    }
    path
}

fn cgroup(mode: Mode, path: &Path, controllers: &[&str]) -> Cgroup {
    let dir = Dir {
        name: String::new(),
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        unified: mode == Mode::V2,
        mount_point: PathBuf::from("/"),
        path: path.to_owned(),
        created: Vec::new(),
        found: Vec::new(),
    };
    Cgroup { mode, dirs: vec![dir], driver: Driver::Cgroupfs, tolerant: false, explicit: true }
}

#[test]
fn times_beyond_the_end_stand_at_the_end() {
    let path = folder(
        "end",
        &[("cpu.stat", "usage_usec 18446744073709551615\n"), ("cpuacct.stat", "user 9999999999999")],
    );
    let times = |mode, controllers: &[&str]| cgroup(mode, &path, controllers).stats().unwrap().cpu.usage;
    assert_eq!(times(Mode::V2, &[]).total, u64::MAX);
    assert_eq!(times(Mode::V1, &["cpuacct"]).user, u64::MAX);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn v2_counts_are_told_in_the_terms_of_v1() {
    let path = folder(
        "v2",
        &[
            (
                "cpu.stat",
                "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\nthrottled_usec 4\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            ("memory.current", "100\n"),
            ("memory.max", "1000\n"),
            ("memory.peak", "200\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "max\n"),
            ("memory.stat", "anon 60\nfile 40\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("hugetlb.2MB.current", "0\n"),
            ("hugetlb.2MB.rsvd.current", "2097152\n"),
            ("hugetlb.2MB.events", "max 6\n"),
        ],
    );
    let stats = cgroup(Mode::V2, &path, &[]).stats().unwrap();
    std::fs::remove_dir_all(path).unwrap();
    assert_eq!(
        (stats.cpu.usage.total, stats.cpu.usage.user, stats.cpu.throttling.throttled_time),
        (5000, 3000, 4000)
    );
    assert_eq!(stats.memory.cache, 40);
    assert_eq!(stats.memory.swap, MemoryEntry { limit: u64::MAX, usage: 110, max: 0, failcnt: 0 });
    assert_eq!(stats.pids, Pids { current: 3, limit: 0 });
    assert_eq!(stats.hugetlb["2MB"], Hugetlb { usage: 2_097_152, max: 0, failcnt: 6 });
    let document = serde_json::to_value(&stats).unwrap();
    assert_eq!(
        document["blkio"]["ioServiceBytesRecursive"][1],
        serde_json::json!({"major":8,"op":"Write","value":2})
    );
    assert_eq!(
        document["cpu"]["psi"],
        serde_json::json!({"some":{"avg10":1.5,"avg60":0.0,"avg300":0.0,"total":9}})
    );
    assert_eq!(
        document["memory"]["usage"],
        serde_json::json!({"limit":1000,"usage":100,"max":200,"failcnt":0})
    );
}

#[test]
fn v1_counts_come_from_each_controller() {
    let path = folder(
        "v1",
        &[
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpuacct.usage", "31000000\n"),
            ("cpuacct.usage_percpu", "1 2 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
            ("memory.usage_in_bytes", "5\n"),
            ("memory.limit_in_bytes", "9\n"),
            ("memory.failcnt", "1\n"),
            ("memory.kmem.usage_in_bytes", "4\n"),
            ("memory.stat", "cache 8\nrss 2\n"),
            ("cpuset.cpus", "0-1,3\n"),
            ("cpuset.sched_relax_domain_level", "-1\n"),
            ("blkio.throttle.io_serviced_recursive", "8:0 Read 5\n8:0 Total 5\nTotal 5\n"),
        ],
    );
    let controllers = ["cpuacct", "memory", "cpuset", "blkio", "pids"];
    let stats = cgroup(Mode::V1, &path, &controllers).stats().unwrap();
    std::fs::remove_dir_all(path).unwrap();
    assert_eq!((stats.cpu.usage.user, stats.cpu.usage.kernel), (20_000_000, 10_000_000));
    assert_eq!((stats.cpu.usage.percpu_user, stats.cpu.usage.percpu_kernel), (vec![1, 3], vec![2, 4]));
    assert_eq!(stats.memory.usage, MemoryEntry { limit: 9, usage: 5, max: 0, failcnt: 1 });
    assert_eq!((stats.memory.kernel.usage, stats.memory.cache), (4, 8));
    assert_eq!((stats.cpuset.cpus, stats.cpuset.sched_relax_domain_level), (vec![0, 1, 3], -1));
    assert_eq!(stats.blkio.io_serviced_recursive.len(), 2);
}

#[test]
fn zeros_are_left_out_where_runc_leaves_them_out() {
    let cpuset = concat!(
        r#""cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"#,
        r#""memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}"#,
    );
    let expected =
        format!(r#"{{"cpu":{{}},{cpuset},"memory":{{}},"pids":{{}},"blkio":{{}},"hugetlb":{{}}}}"#);
    assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), expected);
}

#[test]
fn lists_and_lines_that_are_none_count_nothing() {
    assert_eq!(expand("0-2,7"), [0, 1, 2, 7]);
    assert!(expand("").is_empty() && expand("x").is_empty());
    assert!(blkio_entry("Total 5").is_none() && blkio_entry("").is_none());
    assert_eq!(blkio_entry("8:16 7").unwrap().value, 7);
    assert_eq!(parse_pressure("junk\nsome avg10=x"), Pressure::default());
}
