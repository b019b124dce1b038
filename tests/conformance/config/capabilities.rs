//! config.md: "Linux Process": capabilities, oom score, scheduler, I/O priority, affinity, labels.

use serde_json::{Value, json};

use crate::container::{Container, inside, refused, required};
use crate::linux::resources::need_real_time;
use crate::requirement::{Tried, skip};

section! { SECTION = "config.md" # "configLinuxProcess";
    "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise MUST be logged as a warning by the runtime." => [
        unknown_capability_is_a_warning],
    "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be granted" => [
        capability_that_cannot_be_granted_is_no_failure],
    "If oomScoreAdj is set, the runtime MUST set oom_score_adj to the given value." => [
        oom_score_is_as_configured],
    "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj." => [
        oom_score_is_the_callers_unless_set],
    "policy (string, REQUIRED) represents the scheduling policy." => [
        scheduler_without_a_policy_is_refused, unknown_scheduling_policy_is_refused],
    "class (string, REQUIRED) specifies the I/O scheduling class." => [
        io_priority_without_a_class_is_refused, unknown_io_class_is_refused],
    "priority (int, REQUIRED) specifies the priority level within the class." => [
        io_priority_out_of_range_is_refused],
    "If omitted or empty, runtime SHOULD NOT change process' CPU affinity after the process is moved to container's cgroup, and the final affinity is determined by the Linux kernel." => [
        affinity_of_exec_is_the_kernels_unless_final_is_given],
}

const SETS: [(&str, &str); 5] = [
    ("bounding", "CapBnd"),
    ("effective", "CapEff"),
    ("inheritable", "CapInh"),
    ("permitted", "CapPrm"),
    ("ambient", "CapAmb"),
];

fn capabilities(sets: &Value) -> impl Fn(&mut Value) + use<> {
    let sets = sets.clone();
    move |c| c["process"]["capabilities"] = sets.clone()
}

/// One set of the program, as a mask.
#[track_caller]
fn mask(status: &str, set: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(set)).unwrap();
    u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap()
}

/// With these sets in the config, the set called `name` has just `names`.
#[track_caller]
fn set_is(sets: &Value, name: &str, bits: u64) {
    let status = inside("cat /proc/self/status", capabilities(sets));
    let (_, field) = SETS.iter().find(|(set, _)| *set == name).unwrap();
    assert_eq!(mask(&status, field), bits, "{name}");
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const BIND: u64 = 1 << 10;

fn different_sets() -> Value {
    let (chown, kill, bind) = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE");
    json!({"bounding": [chown, kill, bind], "permitted": [chown, kill, bind], "effective": [chown, kill, bind],
        "inheritable": [chown, bind], "ambient": [bind]})
}

pub fn bounding_set_is_as_configured() {
    set_is(&different_sets(), "bounding", CHOWN | KILL | BIND);
}

/// The program is root's: execve(2) gives it all that the bounding set leaves (capabilities(7)).
pub fn effective_set_is_as_configured() {
    set_is(&different_sets(), "effective", CHOWN | KILL | BIND);
}

pub fn inheritable_set_is_as_configured() {
    set_is(&different_sets(), "inheritable", CHOWN | BIND);
}

pub fn permitted_set_is_as_configured() {
    set_is(&different_sets(), "permitted", CHOWN | KILL | BIND);
}

/// For another user than root, what is ambient is all that remains.
pub fn ambient_set_is_as_configured() {
    let status = inside("cat /proc/self/status", |c| {
        capabilities(&different_sets())(c);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(mask(&status, "CapAmb"), BIND);
    assert_eq!(mask(&status, "CapEff"), BIND);
    assert_eq!(mask(&status, "CapPrm"), BIND);
}

pub fn empty_capabilities_are_none() {
    for (set, _) in SETS {
        set_is(&json!({}), set, 0);
    }
}

fn unknown_capability_is_a_warning() {
    let container = Container::shell("echo ran", capabilities(&json!({"bounding": ["CAP_NOSUCH"]})));
    let log = container.bundle().join("log");
    let (log_path, bundle) = (log.to_str().unwrap(), container.bundle().to_str().unwrap());
    let said = container.verb(&["--log", log_path, "run", "--bundle", bundle, &container.id]);
    let logged = std::fs::read_to_string(&log).unwrap_or_default() + &said.err;
    assert_eq!(said.ok(), "ran\n");
    assert!(logged.contains("CAP_NOSUCH"), "no warning: {logged:?}");
}

/// What is not permitted can't be ambient.
fn capability_that_cannot_be_granted_is_no_failure() {
    let sets =
        json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]});
    let container = Container::shell("grep CapAmb /proc/self/status", capabilities(&sets));
    assert_eq!(mask(&container.run().ok(), "CapAmb") & CHOWN, 0);
}

pub fn no_new_privileges_is_as_configured() {
    for (wish, seen) in [(true, "1"), (false, "0")] {
        let out =
            inside("grep NoNewPrivs /proc/self/status", |c| c["process"]["noNewPrivileges"] = json!(wish));
        assert_eq!(out, format!("NoNewPrivs:\t{seen}\n"));
    }
}

fn oom_score_is_as_configured() {
    for score in [0, 123, 1000] {
        let container =
            Container::shell("cat /proc/self/oom_score_adj", |c| c["process"]["oomScoreAdj"] = json!(score));
        assert_eq!(container.run().ok(), format!("{score}\n"));
    }
}

fn oom_score_is_the_callers_unless_set() {
    let container = Container::shell("cat /proc/self/oom_score_adj", |_| ());
    assert_eq!(container.run_under("echo 321 > /proc/self/oom_score_adj").ok(), "321\n");
}

fn scheduler(wish: &Value) -> impl Fn(&mut Value) + use<> {
    let wish = wish.clone();
    move |c| c["process"]["scheduler"] = wish.clone()
}

/// Nice value, real-time priority and policy of the program, out of proc_pid_stat(5).
#[track_caller]
fn scheduled(change: impl FnOnce(&mut Value)) -> [String; 3] {
    let stat = inside("cat /proc/1/stat", change);
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [16, 37, 38].map(|at| fields[at].to_owned())
}

pub fn scheduler_is_as_configured() {
    assert_eq!(scheduled(scheduler(&json!({"policy": "SCHED_BATCH", "nice": 7}))), ["7", "0", "3"]);
    assert_eq!(scheduled(scheduler(&json!({"policy": "SCHED_IDLE"}))), ["0", "0", "5"]);
    assert_eq!(scheduled(scheduler(&json!({"policy": "SCHED_OTHER", "nice": -5}))), ["-5", "0", "0"]);
}

/// Where the kernel divides real-time among cgroups, the cgroup needs a share first.
pub fn real_time_scheduler_is_as_configured() -> Tried {
    need_real_time()?;
    let seen = scheduled(|c| {
        if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
            c["linux"]["resources"] =
                json!({"cpu": {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}});
        }
        c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 11});
    });
    assert_eq!(seen[1..], ["11", "1"]);
    Ok(())
}

fn scheduler_without_a_policy_is_refused() {
    required("/process/scheduler/policy", scheduler(&json!({"policy": "SCHED_OTHER", "nice": 0})));
}

fn unknown_scheduling_policy_is_refused() {
    for policy in ["SCHED_NOSUCH", "FIFO", ""] {
        refused(scheduler(&json!({"policy": policy})));
    }
}

fn io_priority(wish: &Value) -> impl Fn(&mut Value) + use<> {
    let wish = wish.clone();
    move |c| c["process"]["ioPriority"] = wish.clone()
}

pub fn io_priority_is_as_configured() {
    let seen = |class: &str| inside("ionice -p 1", io_priority(&json!({"class": class, "priority": 6})));
    assert_eq!(seen("IOPRIO_CLASS_BE").trim(), "best-effort: prio 6");
    assert!(seen("IOPRIO_CLASS_IDLE").starts_with("idle"));
}

fn io_priority_without_a_class_is_refused() {
    required("/process/ioPriority/class", io_priority(&json!({"class": "IOPRIO_CLASS_BE", "priority": 0})));
}

fn unknown_io_class_is_refused() {
    refused(io_priority(&json!({"class": "IOPRIO_CLASS_NOSUCH", "priority": 0})));
}

fn io_priority_out_of_range_is_refused() {
    for level in [-1, 8] {
        refused(io_priority(&json!({"class": "IOPRIO_CLASS_BE", "priority": level})));
    }
}

const CPUS: &str = "grep Cpus_allowed_list /proc/self/status | cut -f2";

#[track_caller]
fn two_cpus() -> Tried {
    let count = std::thread::available_parallelism().unwrap().get();
    if count < 2 { skip("hardware: one CPU") } else { Ok(()) }
}

pub fn final_affinity_binds_exec_and_not_init() -> Tried {
    two_cpus()?;
    let container =
        Container::sleeping(|c| c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"}));
    let container = container.started();
    assert_eq!(container.exec(CPUS).ok(), "1\n");
    let init = std::fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    assert!(!init.contains("Cpus_allowed_list:\t1\n"), "init is bound too");
    Ok(())
}

fn affinity_of_exec_is_the_kernels_unless_final_is_given() -> Tried {
    two_cpus()?;
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap();
    for affinity in [json!({"initial": "0"}), json!({"initial": "0", "final": ""})] {
        let container = Container::sleeping(|c| c["process"]["execCPUAffinity"] = affinity).started();
        let seen = container.exec(CPUS).ok();
        assert!(["0", all].contains(&seen.trim()), "{seen}");
    }
    Ok(())
}

/// A profile is applied or refused; ignored it would be a hole.
pub fn apparmor_profile_is_applied_or_refused() {
    let enabled =
        std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|e| e.starts_with('Y'));
    let profile = |name: &str| {
        let name = name.to_owned();
        move |c: &mut Value| c["process"]["apparmorProfile"] = json!(name)
    };
    if enabled {
        assert_eq!(inside("cat /proc/self/attr/current", profile("unconfined")).trim(), "unconfined");
    }
    let container = Container::shell("true", profile("wharf-no-such-profile"));
    assert!(container.create().code != 0 || container.start().code != 0, "the profile was ignored");
}

pub fn selinux_label_is_applied_or_refused() -> Tried {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return skip("kernel: SELinux is on, and what its policy allows is not known");
    }
    refused(|c| c["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0"));
    Ok(())
}
