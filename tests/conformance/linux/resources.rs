//! config-linux.md: "Memory", "CPU", "PIDs": the sentences that bind; and all limits, as the kernel's files show them.

use std::path::Path;

use serde_json::{Value, json};
use wharf_tests::has_cgroup_v1;

use crate::container::{Container, cgroup_of, inside, refused};
use crate::requirement::{Tried, skip};
use crate::world::need;

section! { MEMORY = "config-linux.md" # "configLinuxMemory";
    "kernel (int64, OPTIONAL, NOT RECOMMENDED) - sets hard limit for kernel memory" => (
        "advises the author of the bundle"),
    "kernelTCP (int64, OPTIONAL, NOT RECOMMENDED) - sets hard limit for kernel TCP buffer memory" => (
        "advises the author of the bundle"),
    "If enabled (true), runtime MAY check if a new memory limit is lower than the current usage, and MUST reject the new limit." => [
        memory_limit_below_the_usage_is_rejected],
}

section! { CPU = "config-linux.md" # "configLinuxCPU";
    "If specified with any (valid) positive value, it MUST be no smaller than burst (runtimes MAY generate an error)." => [
        quota_smaller_than_the_burst_is_refused],
    "If specified, this value MUST be no larger than any positive quota (runtimes MAY generate an error)." => [
        quota_smaller_than_the_burst_is_refused],
}

section! { PIDS = "config-linux.md" # "configLinuxPIDS";
    "0 is a valid limit value for the pids cgroup controller from the kernel's perspective and SHOULD be treated as such by runtimes." => [
        zero_processes_are_a_limit],
}

fn with(resources: &Value) -> impl Fn(&mut Value) + use<> {
    let resources = resources.clone();
    move |c| c["linux"]["resources"] = resources.clone()
}

/// A limit: the v1 controller with its file, the v2 file, and what each shows.
type Limit = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// What a file of the container's cgroup holds; `None` where the kernel has no such file.
fn read(container: &Container, controller: &str, file: &str) -> Option<String> {
    let folder = cgroup_of(&format!("/proc/{}", container.pid()), controller)?;
    std::fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned())
}

/// Creates a container with these resources and compares; skips where no file is there.
#[track_caller]
fn shows(resources: &Value, limits: &[Limit]) -> Tried {
    let container = Container::sleeping(with(resources));
    container.create().ok();
    let mut seen = 0;
    for (controller, v1, shown_v1, v2, shown_v2) in limits {
        let (file, found, expected) = match has_cgroup_v1() {
            true => (v1, read(&container, controller, v1), shown_v1),
            false => (v2, read(&container, "", v2), shown_v2),
        };
        if let Some(found) = found.filter(|_| !file.is_empty()) {
            assert!(expected.split('|').any(|one| one == found), "{file}: {found:?} and not {expected:?}");
            seen += 1;
        }
    }
    if seen == 0 {
        skip(format!("kernel: no {} controller, or none with these files", limits[0].0))
    } else {
        Ok(())
    }
}

pub fn memory_limits_are_as_configured() -> Tried {
    shows(
        &json!({"memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728}}),
        &[
            ("memory", "memory.limit_in_bytes", "67108864", "memory.max", "67108864"),
            ("memory", "memory.soft_limit_in_bytes", "33554432", "memory.low", "33554432"),
            ("memory", "memory.memsw.limit_in_bytes", "134217728", "memory.swap.max", "67108864"),
        ],
    )
}

pub fn memory_without_a_limit_is_unlimited() -> Tried {
    let most = "9223372036854771712";
    shows(
        &json!({"memory": {"limit": -1, "swap": -1}}),
        &[
            ("memory", "memory.limit_in_bytes", most, "memory.max", "max"),
            ("memory", "memory.memsw.limit_in_bytes", most, "memory.swap.max", "max"),
        ],
    )
}

pub fn swappiness_and_oom_killer_are_as_configured() -> Tried {
    if !has_cgroup_v1() {
        return skip("kernel: cgroup v2 has neither");
    }
    shows(
        &json!({"memory": {"limit": 67_108_864, "swappiness": 7, "disableOOMKiller": true}}),
        &[
            ("memory", "memory.swappiness", "7", "", ""),
            ("memory", "memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0", "", ""),
        ],
    )
}

/// v2 has weights; there are two formulas for 512 shares.
pub fn cpu_limits_are_as_configured() -> Tried {
    shows(
        &json!({"cpu": {"shares": 512, "quota": 50_000, "period": 200_000}}),
        &[
            ("cpu", "cpu.shares", "512", "cpu.weight", "20|59"),
            ("cpu", "cpu.cfs_quota_us", "50000", "cpu.max", "50000 200000"),
            ("cpu", "cpu.cfs_period_us", "200000", "", ""),
        ],
    )
}

pub fn cpu_burst_is_as_configured() -> Tried {
    shows(
        &json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 20_000}}),
        &[("cpu", "cpu.cfs_burst_us", "20000", "cpu.max.burst", "20000")],
    )
}

pub fn cpu_idle_is_as_configured() -> Tried {
    shows(&json!({"cpu": {"idle": 1}}), &[("cpu", "cpu.idle", "1", "cpu.idle", "1")])
}

/// Skips where others have all of the real-time there is: a cgroup that is left over somewhere may hold on to it.
pub fn need_real_time() -> Tried {
    let share = |folder: &Path| {
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<f64>().ok();
        read("cpu.rt_runtime_us")
            .zip(read("cpu.rt_period_us"))
            .map_or(0.0, |(runtime, period)| runtime / period)
    };
    let Some(root) =
        wharf_tests::hierarchies().into_iter().find(|root| root.join("cpu.rt_runtime_us").exists())
    else {
        return Ok(());
    };
    let others = std::fs::read_dir(&root).unwrap().map(|entry| share(&entry.unwrap().path())).sum::<f64>();
    if share(&root) - others < 0.02 { skip("kernel: other cgroups have all real-time") } else { Ok(()) }
}

pub fn real_time_share_is_as_configured() -> Tried {
    if !has_cgroup_v1() {
        return skip("kernel: cgroup v2 does not divide real-time");
    }
    need("/sys/fs/cgroup/cpu/cpu.rt_runtime_us", "no real-time shares (CONFIG_RT_GROUP_SCHED)")?;
    need_real_time()?;
    shows(
        &json!({"cpu": {"realtimeRuntime": 10_000, "realtimePeriod": 500_000}}),
        &[("cpu", "cpu.rt_runtime_us", "10000", "", ""), ("cpu", "cpu.rt_period_us", "500000", "", "")],
    )
}

pub fn cpus_and_memory_nodes_are_as_configured() -> Tried {
    let out = inside(
        "grep _allowed_list /proc/self/status | cut -f2",
        with(&json!({"cpu": {"cpus": "0", "mems": "0"}})),
    );
    assert_eq!(out, "0\n0\n");
    Ok(())
}

pub fn process_limit_is_as_configured() -> Tried {
    shows(&json!({"pids": {"limit": 77}}), &[("pids", "pids.max", "77", "pids.max", "77")])?;
    shows(&json!({"pids": {"limit": -1}}), &[("pids", "pids.max", "max", "pids.max", "max")])
}

/// The first process is there before the limit, so 1, systemd's least, does the same: no other can be.
fn zero_processes_are_a_limit() -> Tried {
    let wish = json!({"pids": {"limit": 0}});
    shows(&wish, &[("pids", "pids.max", "0|1", "pids.max", "0|1")])?;
    let said = Container::shell("echo alive; (exit 0); echo forked", with(&wish)).run();
    assert_eq!(said.out, "alive\n", "{said:?}");
    Ok(())
}

pub fn block_throttles_are_as_configured() -> Tried {
    let Ok(numbers) = std::fs::read_to_string("/sys/block/loop0/dev") else {
        return skip("hardware: no block device loop0");
    };
    let device = numbers.trim();
    let entry = |rate: u64| json!([{"major": 7, "minor": 0, "rate": rate}]);
    let container = Container::sleeping(with(&json!({"blockIO": {
        "throttleReadBpsDevice": entry(1_048_576), "throttleWriteBpsDevice": entry(2_097_152),
        "throttleReadIOPSDevice": entry(100), "throttleWriteIOPSDevice": entry(200)}})));
    container.create().ok();
    if !has_cgroup_v1() {
        let seen = read(&container, "", "io.max").unwrap_or_default();
        assert_eq!(seen, format!("{device} rbps=1048576 wbps=2097152 riops=100 wiops=200"));
        return Ok(());
    }
    for (file, rate) in
        [("read_bps", 1_048_576), ("write_bps", 2_097_152), ("read_iops", 100), ("write_iops", 200)]
    {
        let seen = read(&container, "blkio", &format!("blkio.throttle.{file}_device")).unwrap();
        assert_eq!(seen, format!("{device} {rate}"), "{file}");
    }
    Ok(())
}

pub fn block_weight_is_as_configured() -> Tried {
    let probe = Container::sleeping(|_| ());
    probe.create().ok();
    let v1 =
        ["blkio.weight", "blkio.bfq.weight"].into_iter().find(|file| read(&probe, "blkio", file).is_some());
    let v2 = ["io.weight", "io.bfq.weight"].into_iter().find(|file| read(&probe, "", file).is_some());
    let Some(file) = (if has_cgroup_v1() { v1 } else { v2 }) else {
        return skip("kernel: no block weights (CONFIG_BFQ_GROUP_IOSCHED, CONFIG_BLK_CGROUP_IOCOST)");
    };
    let container = Container::sleeping(with(&json!({"blockIO": {"weight": 500}})));
    container.create().ok();
    let seen = read(&container, if has_cgroup_v1() { "blkio" } else { "" }, file).unwrap();
    let expected = if file == "io.weight" { "default 4950" } else { "500" };
    assert!(seen.lines().next().unwrap().ends_with(expected), "{file}: {seen}");
    Ok(())
}

/// On a hybrid host the controller may be in the unified hierarchy.
pub fn huge_page_limits_are_as_configured() -> Tried {
    let wish = with(&json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}));
    let is_on_v1 =
        wharf_tests::hierarchies().iter().any(|root| root.join("hugetlb.2MB.limit_in_bytes").exists());
    let container = Container::sleeping(wish);
    // Other runtimes have to see v2 alone for it.
    let container = if is_on_v1 || wharf_tests::is_ours() { container } else { container.on_v2() };
    let has_controller = |root: &std::path::Path| {
        root.join("hugetlb.2MB.limit_in_bytes").exists()
            || std::fs::read_to_string(root.join("cgroup.controllers"))
                .is_ok_and(|text| text.contains("hugetlb"))
    };
    if !wharf_tests::hierarchies().iter().any(|root| has_controller(root)) {
        return skip("kernel: no hugetlb controller");
    }
    container.create().ok();
    let files = [
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes"),
        ("hugetlb", "hugetlb.2MB.limit_in_bytes"),
        ("", "hugetlb.2MB.rsvd.max"),
        ("", "hugetlb.2MB.max"),
    ];
    let seen: Vec<String> =
        files.iter().filter_map(|(controller, file)| read(&container, controller, file)).collect();
    assert!(seen.iter().any(|value| value == "4194304"), "{seen:?}");
    Ok(())
}

pub fn network_class_is_as_configured() -> Tried {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    if !cgroups.contains("net_cls") {
        return skip("kernel: no net_cls controller");
    }
    shows(&json!({"network": {"classID": 1_048_577}}), &[("net_cls", "net_cls.classid", "1048577", "", "")])
}

/// Half of what the container has in memory can't be its limit: v1 refuses it, and v2 would kill.
fn memory_limit_below_the_usage_is_rejected() {
    let script = "dd if=/dev/zero of=/dev/shm/fill bs=1M count=40 2>/dev/null; touch /ready; exec sleep 1000";
    let resources = json!({"memory": {"limit": 134_217_728, "swap": 134_217_728, "checkBeforeUpdate": true}});
    let container = Container::shell(script, with(&resources)).started();
    wharf_tests::wait_until("the memory to be used", || container.rootfs().join("ready").exists());
    let file = container.bundle().join("resources.json");
    let wish = json!({"memory": {"limit": 20_971_520, "swap": 20_971_520, "checkBeforeUpdate": true}});
    std::fs::write(&file, wish.to_string()).unwrap();
    let said = container.verb(&["update", "--resources", file.to_str().unwrap(), &container.id]);
    assert_ne!(said.code, 0, "the update is taken");
    assert_eq!(container.status(), "running");
}

fn quota_smaller_than_the_burst_is_refused() -> Tried {
    shows(
        &json!({"cpu": {"quota": 50_000, "burst": 1}}),
        &[("cpu", "cpu.cfs_burst_us", "1", "cpu.max.burst", "1")],
    )?;
    refused(with(&json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 60_000}})));
    Ok(())
}
