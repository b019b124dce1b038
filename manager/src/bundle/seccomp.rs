//! The system calls a container may make: Docker's default profile as a table. Everything not named
//! fails with EPERM. The names stand in one text, so that a diff shows what was added or taken.

use serde_json::{Value, json};

/// Allowed to everyone, whatever the arguments.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
    futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
    getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid
    getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl
    ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
    lgetxattr link linkat listen listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
    mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
    name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe
    pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
    process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
    sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr shmat
    shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice
    stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes vfork vmsplice wait4
    waitid waitpid write writev";

/// Allowed to those who hold the capability.
const BY_CAPABILITY: [(&str, &str); 13] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
];

/// The execution domains personality(2) may choose: Linux, 32-bit machine name, old mmap layout,
/// both, and the question which one is set.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The CLONE_NEW* flags that make a namespace.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The profile for a process with these capabilities, as `linux.seccomp` of config.json.
pub fn profile(capabilities: &[&str]) -> Value {
    let mut rules = vec![allow(ALLOWED)];
    for (capability, names) in BY_CAPABILITY {
        if capabilities.contains(&capability) {
            rules.push(allow(names));
        }
    }
    rules.extend(PERSONALITIES.map(|value| allow_if("personality", &[("SCMP_CMP_EQ", value)])));
    // A refused range is the sum of what lies below, between and above: one rule can name an
    // argument several times, but libseccomp refuses that, so each condition is its own rule.
    rules.push(allow_if("socket", &[("SCMP_CMP_LT", AF_ALG)]));
    rules.push(allow_if("socket", &[("SCMP_CMP_EQ", AF_ALG + 1)]));
    rules.push(allow_if("socket", &[("SCMP_CMP_GT", AF_VSOCK)]));
    if !capabilities.contains(&"CAP_SYS_ADMIN") {
        let mut clone = allow_if("clone", &[("SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES)]);
        clone["args"][0]["valueTwo"] = json!(0);
        rules.push(clone);
        // Its flags lie in memory that a filter can't read. ENOSYS makes libc fall back to clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    rules.push(allow(for_this_architecture().1));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": for_this_architecture().0,
        "syscalls": rules,
    })
}

/// The architectures a process here can call as, and the calls that only they have.
fn for_this_architecture() -> (&'static [&'static str], &'static str) {
    if cfg!(target_arch = "aarch64") {
        (
            &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
            "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        )
    } else {
        (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "arch_prctl modify_ldt")
    }
}

fn allow(names: &str) -> Value {
    json!({ "names": names.split_whitespace().collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW" })
}

/// Allows a call if its first argument compares as said.
fn allow_if(name: &str, conditions: &[(&str, u64)]) -> Value {
    let args: Vec<Value> =
        conditions.iter().map(|(op, value)| json!({ "index": 0, "value": value, "op": op })).collect();
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": args })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profile: &Value) -> Vec<&str> {
        let rules = profile["syscalls"].as_array().unwrap();
        rules.iter().flat_map(|rule| rule["names"].as_array().unwrap()).filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_call_that_makes_namespaces_needs_sys_admin() {
        let plain = profile(&["CAP_CHOWN"]);
        assert!(!names(&plain).contains(&"unshare") && !names(&plain).contains(&"mount"));
        assert!(names(&profile(&["CAP_SYS_ADMIN"])).contains(&"unshare"));
    }

    #[test]
    fn no_call_is_named_twice_in_the_common_list() {
        let mut list: Vec<_> = ALLOWED.split_whitespace().collect();
        let count = list.len();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), count);
    }
}
