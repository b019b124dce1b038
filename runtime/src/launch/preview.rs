//! What `create` would run into on this host, found without making anything: for `validate`.
//!
//! [`super::host`] has what `create` itself checks first. What is here would come out by itself when it is done,
//! as an error of the kernel; asking beforehand would only cost every container time.

use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use super::{host, idmap, program, sources};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind};
use crate::place::Place;
use crate::plan::findings::Findings;
use crate::plan::lists::{self, Mask};
use crate::plan::mounts::{NewFs, What};
use crate::plan::namespaces::KINDS;
use crate::plan::process::resource;
use crate::plan::{Plan, sysctl};
use crate::rdt::Group;
use crate::spec::{Linux, Process, Spec};
use crate::sys::again::again;
use crate::sys::capabilities::has_capability;
use crate::sys::files;

/// Everything that this host lacks for the plan, and for the limits, which are no part of it.
pub fn check(spec: &Spec, plan: &Plan, cgroup: Option<&Cgroup>, findings: &mut Findings) {
    host::check(plan, findings);
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    check_namespaces(linux, findings);
    check_privileges(plan, findings);
    check_filesystems(plan, findings);
    check_sysctl(linux, findings);
    check_seccomp(linux, findings);
    check_numbers(spec, linux, findings);
    for device in plan.net_devices.iter().filter(|device| !exists("/sys/class/net", &device.host_name)) {
        let place = Place::parse("linux.netDevices").key(&device.host_name);
        lacks(place.to_string(), "this host has no such network device", findings);
    }
    if let Some(Err(error)) = plan.rdt.as_ref().map(Group::resolve) {
        findings.push(error);
    }
    if let Some(process) = &spec.process {
        check_process(process, findings);
    }
    program::check(plan, findings);
    if let (Some(cgroup), Some(resources)) = (cgroup, &linux.resources) {
        cgroup.check(resources, findings);
    }
}

fn lacks(field: impl Into<String>, message: impl std::fmt::Display, findings: &mut Findings) {
    findings.push(Error::at_as(Kind::Unsupported, field, message));
}

fn exists(folder: &str, name: &str) -> bool {
    Path::new(folder).join(name).exists()
}

fn read(path: &str) -> String {
    files::read_to_string(path).unwrap_or_default()
}

/// Kinds that the kernel was built without, or that the host's owner has turned off (namespaces(7)).
fn check_namespaces(linux: &Linux, findings: &mut Findings) {
    for (index, wish) in linux.namespaces.iter().enumerate() {
        if !KINDS.iter().any(|(name, _)| *name == wish.kind) {
            continue;
        }
        let field = format!("linux.namespaces[{index}].type");
        let (file, limit) = match wish.kind.as_str() {
            "mount" => ("mnt", "mnt"),
            "network" => ("net", "net"),
            other => (other, other),
        };
        if !exists("/proc/self/ns", file) {
            lacks(field, format_args!("the kernel has no {} namespaces", wish.kind), findings);
        } else if wish.path.is_empty()
            && read(&format!("/proc/sys/user/max_{limit}_namespaces")).trim() == "0"
        {
            lacks(field, format_args!("this host allows no new {} namespaces", wish.kind), findings);
        }
    }
}

/// File systems that are neither in the kernel nor a module of it.
fn check_filesystems(plan: &Plan, findings: &mut Findings) {
    let built_in = read("/proc/filesystems");
    let release = read("/proc/sys/kernel/osrelease");
    let modules = std::cell::OnceCell::new();
    for step in &plan.mounts {
        let What::New(fs) = &step.what else { continue };
        let kind = fs.kind.split('.').next().unwrap_or_default();
        let known = built_in.lines().any(|line| line.split_whitespace().next_back() == Some(kind));
        let modules =
            || modules.get_or_init(|| read(&format!("/lib/modules/{}/modules.dep", release.trim())));
        if known {
            check_options(step.index, fs, findings);
        } else if !modules().contains(&format!("/{kind}.ko")) {
            let field = format!("mounts[{}].type", step.index);
            lacks(field, format_args!("the kernel has no file system {kind:?}"), findings);
        }
    }
}

/// Options that the file system does not take. The kernel reads them one by one, and nothing comes of it unless it
/// is told to make the file system (fsconfig(2)). Old file systems say nothing until then, and an ordinary user may
/// not even ask.
fn check_options(index: usize, fs: &NewFs, findings: &mut Findings) {
    let Ok(context) = again(|| rustix::mount::fsopen(fs.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)) else {
        return;
    };
    for (key, value) in &fs.parameters {
        let taken = match value {
            Some(value) => {
                again(|| rustix::mount::fsconfig_set_string(context.as_fd(), key.as_str(), value.as_str()))
            }
            None => again(|| rustix::mount::fsconfig_set_flag(context.as_fd(), key.as_str())),
        };
        if taken == Err(Errno::INVAL) && key != "iversion" {
            let option = value.as_ref().map_or(key.clone(), |value| format!("{key}={value}"));
            let field = format!("mounts[{index}].options");
            lacks(field, format_args!("{} does not take the option {option:?}", fs.kind), findings);
        }
    }
}

/// Parameters that the kernel does not have. Those of a network device are not looked for: the container's
/// devices are others than ours.
fn check_sysctl(linux: &Linux, findings: &mut Findings) {
    for name in linux.sysctl.keys() {
        let path = sysctl::path_of(name);
        let of_device = path.contains("/conf/") || path.contains("/neigh/");
        if sysctl::is_namespaced(&path) && !of_device && !exists("/proc/sys", &path) {
            let place = Place::parse("linux.sysctl").key(name);
            lacks(place.to_string(), "the kernel has no such parameter", findings);
        }
    }
}

/// What the kernel calls the actions in `actions_avail` (seccomp(2), "/proc interfaces").
const ACTIONS: [(&str, &str); 9] = [
    ("SCMP_ACT_ALLOW", "allow"),
    ("SCMP_ACT_ERRNO", "errno"),
    ("SCMP_ACT_KILL", "kill_thread"),
    ("SCMP_ACT_KILL_PROCESS", "kill_process"),
    ("SCMP_ACT_KILL_THREAD", "kill_thread"),
    ("SCMP_ACT_LOG", "log"),
    ("SCMP_ACT_NOTIFY", "user_notif"),
    ("SCMP_ACT_TRACE", "trace"),
    ("SCMP_ACT_TRAP", "trap"),
];

fn check_seccomp(linux: &Linux, findings: &mut Findings) {
    let Some(seccomp) = &linux.seccomp else { return };
    let available = read("/proc/sys/kernel/seccomp/actions_avail");
    if available.is_empty() {
        return lacks("linux.seccomp", "the kernel has no system call filters", findings);
    }
    let rules = seccomp.syscalls.iter().enumerate();
    let rules = rules.map(|(index, rule)| (format!("linux.seccomp.syscalls[{index}].action"), &rule.action));
    let default = ("linux.seccomp.defaultAction".to_owned(), &seccomp.default_action);
    for (field, action) in std::iter::once(default).chain(rules) {
        let word = ACTIONS.iter().find(|(name, _)| name == action);
        if word.is_some_and(|(_, word)| !available.split_whitespace().any(|one| one == *word)) {
            lacks(field, format_args!("the kernel does not have {action}"), findings);
        }
    }
    if !seccomp.listener_path.is_empty() && !Path::new(&seccomp.listener_path).exists() {
        let message = format_args!("{}: no such file or directory", seccomp.listener_path);
        findings.push(Error::at_as(Kind::NotFound, "linux.seccomp.listenerPath", message));
    }
}

/// CPUs and memory nodes that the host does not have.
fn check_numbers(spec: &Spec, linux: &Linux, findings: &mut Findings) {
    let (cpus, nodes) = ("/sys/devices/system/cpu/possible", "/sys/devices/system/node/possible");
    let affinity = spec.process.as_ref().and_then(|process| process.exec_cpu_affinity.as_ref());
    let cpu = linux.resources.as_ref().and_then(|resources| resources.cpu.as_ref());
    let policy = linux.memory_policy.as_ref();
    // A control group takes a list whole; for the calls it is enough that one of the numbers is there.
    let lists = [
        ("process.execCPUAffinity.initial", affinity.map(|a| &a.initial), "CPU", cpus, false),
        ("process.execCPUAffinity.final", affinity.map(|a| &a.last), "CPU", cpus, false),
        ("linux.resources.cpu.cpus", cpu.map(|c| &c.cpus), "CPU", cpus, true),
        ("linux.resources.cpu.mems", cpu.map(|c| &c.mems), "memory node", nodes, true),
        ("linux.memoryPolicy.nodes", policy.map(|p| &p.nodes), "memory node", nodes, false),
    ];
    for (field, wish, what, path, whole) in lists {
        let (Some(wish), Ok(present)) = (wish, lists::parse(path, read(path).trim())) else { continue };
        // A list that is none is found elsewhere, or is of a form that only the kernel reads.
        let wish = lists::parse(field, wish).unwrap_or_default();
        let some_there = wish.0.iter().zip(&present.0).any(|(wish, present)| wish & present != 0);
        if let Some(number) = first_beyond(&wish, &present).filter(|_| whole || !some_there) {
            lacks(field, format_args!("this host has no {what} {number}"), findings);
        }
    }
}

fn first_beyond(wish: &Mask, present: &Mask) -> Option<usize> {
    wish.0.iter().enumerate().find_map(|(at, word)| {
        let beyond = word & !present.0.get(at).copied().unwrap_or(0);
        (beyond != 0).then(|| at.saturating_mul(64).saturating_add(beyond.trailing_zeros() as usize))
    })
}

/// What an ordinary user lacks: the right to make namespaces without one of users, and the programs that give ids.
fn check_privileges(plan: &Plan, findings: &mut Findings) {
    if sources::can_open() {
        return;
    }
    let namespaces = &plan.namespaces;
    if !namespaces.has(libc::CLONE_NEWUSER) {
        lacks("linux.namespaces", "needs a user namespace, because we lack CAP_SYS_ADMIN", findings);
    }
    let folders: Vec<_> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (field, program, map, own) in [
        ("linux.uidMappings", "newuidmap", &namespaces.uid_map, uid),
        ("linux.gidMappings", "newgidmap", &namespaces.gid_map, gid),
    ] {
        if !map.is_empty() && !idmap::is_only(map, own) && !folders.iter().any(|f| f.join(program).exists()) {
            lacks(
                field,
                format_args!("needs {program} (package uidmap) for other ids than our own"),
                findings,
            );
        }
    }
}

/// What takes a privilege that this process does not have, and profiles that nobody has loaded.
fn check_process(process: &Process, findings: &mut Findings) {
    let may_raise = has_capability("CAP_SYS_RESOURCE");
    if !may_raise.unwrap_or(false) {
        for (index, wish) in process.rlimits.iter().enumerate() {
            let own = resource(&wish.kind).and_then(host::hard_limit);
            if own.is_some_and(|own| wish.hard > own) {
                let field = format!("process.rlimits[{index}].hard");
                lacks(field, "is above our own limit, and we lack CAP_SYS_RESOURCE", findings);
            }
        }
        let own: i32 = read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0);
        if process.oom_score_adj.is_some_and(|score| score < own) {
            lacks("process.oomScoreAdj", "is below our own, and we lack CAP_SYS_RESOURCE", findings);
        }
    }
    let loaded = read("/sys/kernel/security/apparmor/profiles");
    let profile = process.apparmor_profile.as_str();
    let is_loaded = |line: &str| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile);
    if !matches!(profile, "" | "unconfined") && !loaded.is_empty() && !loaded.lines().any(is_loaded) {
        let message = format_args!("no profile {profile:?} is loaded on this host");
        findings.push(Error::at_as(Kind::NotFound, "process.apparmorProfile", message));
    }
}
