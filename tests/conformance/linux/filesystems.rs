//! config-linux.md: "Default Filesystems".

use crate::container::inside;

section! { SECTION = "config-linux.md" # "configLinuxDefaultFilesystems";
    "The following filesystems SHOULD be made available in each container's filesystem:" => [
        proc_is_the_containers, sys_is_a_sysfs, dev_pts_is_a_devpts_of_its_own, dev_shm_is_a_tmpfs],
}

/// The type of what is mounted at a path.
#[track_caller]
fn kind(path: &str) -> String {
    let mounts = crate::config::mounts_inside(|_| ());
    mounts.get(path).map(|mount| mount.kind.clone()).unwrap_or_default()
}

fn proc_is_the_containers() {
    assert_eq!(kind("/proc"), "proc");
    assert_eq!(inside("cat /proc/1/comm", |_| ()), "cat\n");
}

fn sys_is_a_sysfs() {
    assert_eq!(kind("/sys"), "sysfs");
}

fn dev_pts_is_a_devpts_of_its_own() {
    assert_eq!(kind("/dev/pts"), "devpts");
    assert_eq!(inside("ls /dev/pts", |_| ()), "ptmx\n");
}

fn dev_shm_is_a_tmpfs() {
    assert_eq!(kind("/dev/shm"), "tmpfs");
    assert_eq!(inside("echo x > /dev/shm/x; cat /dev/shm/x", |_| ()), "x\n");
}
