//! `linux.seccomp`: filters that forbid single calls, and filters that allow nearly all and forbid the rest.
//!
//! The calls in question are those that the probe makes on purpose and can do without.

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::place::Host;

const SPARE: [&[&str]; 12] = [
    &["mkdir", "mkdirat"],
    &["rmdir"],
    &["chmod", "fchmod", "fchmodat", "fchmodat2"],
    &["chown", "fchown", "lchown", "fchownat"],
    &["symlink", "symlinkat"],
    &["link", "linkat"],
    &["mknod", "mknodat"],
    &["setpriority"],
    &["setsid"],
    &["sched_setaffinity"],
    &["ioprio_set"],
    &["no_such_call_ever"],
];

/// What Go, busybox and the runtimes live on; a filter that denies by default allows these.
const NEEDED: &str = "accept access alarm arch_prctl bind brk capget capset chdir clock_gettime clock_nanosleep clone clone3 close \
 close_range connect dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat \
 faccessat2 fadvise64 fchdir fcntl fgetxattr flock fork fstat fstatfs fsync ftruncate futex getcwd getdents getdents64 getegid geteuid \
 getgid getgroups getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage \
 getsid getsockname getsockopt gettid gettimeofday getuid getxattr ioctl ioprio_get kill lgetxattr listxattr lseek lstat madvise membarrier \
 memfd_create mincore mmap mprotect mremap munmap nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 \
 poll ppoll prctl pread64 prlimit64 pselect6 pwrite64 read readlink readlinkat readv recvfrom recvmsg rename renameat \
 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
 sched_getaffinity sched_getparam sched_getscheduler sched_yield seccomp select sendfile sendmsg sendto set_robust_list \
 set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setresgid setresuid setrlimit setsockopt setuid shutdown sigaltstack \
 socket socketpair splice stat statfs statx sync sysinfo tgkill time tkill truncate umask uname unlink unlinkat utime \
 utimensat utimes vfork wait4 waitid write writev chroot mount umount2";

/// Writes `linux.seccomp`, in a third of configs.
pub fn put(dice: &Dice, _: &Host, config: &mut Value) {
    if !dice.chance(35) {
        return;
    }
    let denying = dice.chance(40);
    let mut seccomp = if denying { allow_list(dice) } else { deny_list(dice) };
    if dice.chance(50) {
        seccomp["architectures"] = json!(dice.one(&[
            vec!["SCMP_ARCH_X86_64"],
            vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            vec![]
        ]));
    }
    if dice.chance(4) {
        seccomp["flags"] = json!(dice.one(&[
            vec![],
            vec!["SECCOMP_FILTER_FLAG_LOG"],
            vec!["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            vec!["SECCOMP_FILTER_FLAG_TSYNC"]
        ]));
    }
    if dice.chance(3) {
        seccomp["defaultAction"] = json!("SCMP_ACT_SHRUG");
    }
    config["linux"]["seccomp"] = seccomp;
}

fn allow_list(dice: &Dice) -> Value {
    let mut names: Vec<&str> = NEEDED.split_whitespace().collect();
    for group in dice.some(&SPARE, 50) {
        names.extend(group);
    }
    let mut seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    if dice.chance(50) {
        seccomp["defaultErrnoRet"] = json!(dice.one(&[1, 38, 13]));
    }
    seccomp
}

fn deny_list(dice: &Dice) -> Value {
    let mut rules = Vec::new();
    for group in dice.some(&SPARE, 40) {
        let mut rule = json!({"names": group, "action": dice.pick(&["SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_LOG", "SCMP_ACT_ALLOW"])});
        if rule["action"] == "SCMP_ACT_KILL" && group.contains(&"chown") {
            rule["action"] = json!("SCMP_ACT_ERRNO"); // runc calls it late, and a killed thread would hang the rest
        }
        if rule["action"] == "SCMP_ACT_ERRNO" && dice.chance(60) {
            rule["errnoRet"] = json!(dice.one(&[0, 1, 13, 38, 133]));
        }
        if dice.chance(30) {
            rule["args"] = arguments(dice);
        }
        rules.push(rule);
    }
    let mut seccomp = json!({"defaultAction": dice.pick(&["SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG"]), "syscalls": rules});
    if rules.is_empty() {
        seccomp.as_object_mut().unwrap().remove("syscalls");
    }
    seccomp
}

fn arguments(dice: &Dice) -> Value {
    let one = |dice: &Dice| {
        json!({
            "index": dice.below(3),
            "value": dice.one(&[0u64, 1, 0o600, 5, u64::MAX]),
            "valueTwo": dice.one(&[0u64, 1, 0xff]),
            "op": dice.pick(&["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"]),
        })
    };
    let count = 1 + dice.below(2);
    (0..count).map(|_| one(dice)).collect()
}
