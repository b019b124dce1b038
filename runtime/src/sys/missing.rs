//! Which of the calls that we can't do without a kernel lacks.
//!
//! Some have no older call with the same safety (openat2(2) keeps links inside of the root, mounts by descriptor never
//! show in a path), so without them there is only to say what is missing. A kernel that is new enough may lack them too,
//! under a system call filter that is older than they are.

use rustix::io::Errno;

use super::mount::last_errno;

/// Name, number, and the version of Linux that brought it.
const NEEDED: [(&str, libc::c_long, &str); 13] = [
    ("memfd_create", libc::SYS_memfd_create, "3.17"),
    ("execveat", libc::SYS_execveat, "3.19"),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, "5.1"),
    ("open_tree", libc::SYS_open_tree, "5.2"),
    ("move_mount", libc::SYS_move_mount, "5.2"),
    ("fsopen", libc::SYS_fsopen, "5.2"),
    ("fsconfig", libc::SYS_fsconfig, "5.2"),
    ("fsmount", libc::SYS_fsmount, "5.2"),
    ("pidfd_open", libc::SYS_pidfd_open, "5.3"),
    ("openat2", libc::SYS_openat2, "5.6"),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, "5.6"),
    ("close_range", libc::SYS_close_range, "5.9"),
    ("mount_setattr", libc::SYS_mount_setattr, "5.12"),
];

/// Those that are missing, each with the version that has it.
pub fn calls() -> Vec<(&'static str, &'static str)> {
    let is_missing = |number: libc::c_long| {
        // SAFETY: descriptor -1 and null pointers: each of these calls refuses that with an error and does nothing.
        // For close_range it is an empty range.
        let result = unsafe { libc::syscall(number, -1, 0, 0, 0, 0) };
        result < 0 && last_errno() == Errno::NOSYS
    };
    NEEDED
        .into_iter()
        .filter(|(_, number, _)| is_missing(*number))
        .map(|(name, _, version)| (name, version))
        .collect()
}
