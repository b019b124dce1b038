//! What a valid config asks of this host in particular, checked before anything is made.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Cause as _, Error, Kind};
use crate::plan::Plan;
use crate::plan::findings::Findings;
use crate::plan::mounts::{MountStep, What};
use crate::plan::process::ProcessPlan;
use crate::sys::again::again;
use crate::sys::files;

/// linux/magic.h
const SELINUX_MAGIC: i64 = 0xf97c_ff8c;

/// Everything that this host lacks for the plan.
pub fn check(plan: &Plan, findings: &mut Findings) {
    if !files::is_dir(&plan.rootfs).unwrap_or(true) {
        let message = format_args!("{} is not a directory: no such file or directory", plan.rootfs.display());
        findings.push(
            Error::at_as(Kind::NotFound, "root.path", message).with_errno(libc::ENOENT).on_path(&plan.rootfs),
        );
    }
    if let Some(process) = &plan.process {
        check_process(process, findings);
    }
    for step in &plan.mounts {
        check_source(step, findings);
    }
    for (kind, path) in &plan.namespaces.join {
        if let Err(error) = files::metadata(path) {
            findings.push(out_of_reach("linux.namespaces", "", path, error.into_error()));
        } else if is_own(*kind, path) && !plan.sysctl.is_empty() && *kind == libc::CLONE_NEWNET {
            let network = plan.sysctl.iter().find(|(name, _)| name.starts_with("net"));
            if let Some((name, _)) = network {
                let message = format_args!("{} would change the host's network namespace", name.display());
                findings.push(Error::at("linux.sysctl", message));
            }
        }
    }
}

/// Takes out of the plan what has nobody on this host to mean anything to. Without SELinux no mount has a label, and
/// none is protected or exposed for want of one (so crun); a label of a process is a wish to confine it, though.
pub fn leave_out_the_meaningless(plan: &mut Plan) {
    if !plan.mount_label.is_empty() && !selinux_is_enabled() {
        log::warn!("linux.mountLabel: is ignored, selinux is disabled or not supported");
        plan.mount_label.clear();
    }
}

const NO_SELINUX: &str = "selinux label is specified in config, but selinux is disabled or not supported";

/// The same for a process alone, as `exec` has it.
pub fn check_process(process: &ProcessPlan, findings: &mut Findings) {
    if !process.selinux_label.is_empty() && !selinux_is_enabled() {
        findings.push(Error::at_as(Kind::Unsupported, "process.selinuxLabel", NO_SELINUX));
    }
    if !process.apparmor_profile.is_empty() && !apparmor_is_enabled() {
        let message = "an apparmor profile is specified in config, but apparmor is not enabled on this host";
        findings.push(Error::at_as(Kind::Unsupported, "process.apparmorProfile", message));
    }
}

fn check_source(step: &MountStep, findings: &mut Findings) {
    if let What::Bind { source, inside: None, .. } = &step.what
        && let Err(error) = files::symlink_metadata(source)
    {
        let field = format!("mounts[{}].source", step.index);
        findings.push(out_of_reach(field, "bind source ", source, error.into_error()));
    }
}

/// What is not there, or there and not for us to see.
fn out_of_reach(field: impl Into<String>, what: &str, path: &Path, error: Error) -> Error {
    let message = format_args!("{what}{}: {error}", path.display());
    let errno = error.errno().unwrap_or(libc::ENOENT);
    Error::at_as(error.kind(), field, message).with_errno(errno).on_path(path)
}

/// Whether the namespace file is that of this process.
fn is_own(kind: i32, path: &Path) -> bool {
    let own = if kind == libc::CLONE_NEWNET { "/proc/self/ns/net" } else { return false };
    let identity = |path: &Path| files::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    identity(path).is_some_and(|it| Some(it) == identity(Path::new(own)))
}

/// Our own hard limit of a resource, by its number; `None` is unlimited.
pub fn hard_limit(number: u32) -> Option<u64> {
    use rustix::process::Resource::{
        As, Core, Cpu, Data, Fsize, Locks, Memlock, Msgqueue, Nice, Nofile, Nproc, Rss, Rtprio, Rttime,
        Sigpending, Stack,
    };
    let in_order = [
        Cpu, Fsize, Data, Stack, Core, Rss, Nproc, Nofile, Memlock, As, Locks, Sigpending, Msgqueue, Nice,
        Rtprio, Rttime,
    ];
    rustix::process::getrlimit(*in_order.get(number as usize)?).maximum
}

/// Whether SELinux is loaded: its file system is then mounted (selinux(8)).
pub fn selinux_is_enabled() -> bool {
    again(|| rustix::fs::statfs("/sys/fs/selinux")).is_ok_and(|fs| fs.f_type == SELINUX_MAGIC)
}

/// Whether AppArmor is loaded and enabled (apparmor(7)).
pub fn apparmor_is_enabled() -> bool {
    files::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}
