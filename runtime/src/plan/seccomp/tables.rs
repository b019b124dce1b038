//! Names to numbers, for each architecture that a process on this machine can call through.

use std::str::FromStr as _;

use crate::error::{Error, Result};

/// An architecture as the filter tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
}

/// What is or'ed to x32 numbers (asm/unistd.h, __X32_SYSCALL_BIT).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// x32 calls with a number of their own, 512 and up, in order (arch/x86/entry/syscalls/syscall_64.tbl).
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// 64-bit calls that x32 does not have (the same table, ABI column "64").
const X32_MISSING: [&str; 13] = [
    "_sysctl",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "get_thread_area",
    "map_shadow_stack",
    "nfsservctl",
    "query_module",
    "set_thread_area",
    "uretprobe",
    "uselib",
    "vserver",
];

/// i386 calls behind socketcall(2), from 1 on.
const SOCKETCALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// i386 calls behind ipc(2).
const IPC_CALLS: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

impl Arch {
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NATIVE: Arch = Arch::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(crate) const NATIVE: Arch = Arch::Aarch64;

    /// `None` for architectures that no process on this machine can have.
    pub(crate) fn parse(name: &str) -> Result<Option<Arch>> {
        const FOREIGN: [&str; 19] = [
            "ARM",
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "MIPSEL",
            "MIPSEL64",
            "MIPSEL64N32",
            "PPC",
            "PPC64",
            "PPC64LE",
            "S390",
            "S390X",
            "PARISC",
            "PARISC64",
            "RISCV64",
            "LOONGARCH64",
            "M68K",
            "SH",
            "SHEB",
        ];
        let x86 = cfg!(target_arch = "x86_64");
        Ok(match name.strip_prefix("SCMP_ARCH_") {
            Some("X86_64") => x86.then_some(Arch::X86_64),
            Some("X86") => x86.then_some(Arch::X86),
            Some("X32") => x86.then_some(Arch::X32),
            Some("AARCH64") => (!x86).then_some(Arch::Aarch64),
            Some("NATIVE") => Some(Arch::NATIVE),
            Some(other) if FOREIGN.contains(&other) => None,
            _ => {
                return Err(Error::invalid(format!(
                    "linux.seccomp.architectures: unknown architecture {name:?}"
                )));
            }
        })
    }

    /// `seccomp_data.arch` (linux/audit.h, AUDIT_ARCH_*).
    pub(crate) fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    /// Whether arguments are compared as 32-bit numbers.
    pub(crate) fn is_32_bit(self) -> bool {
        matches!(self, Arch::X86 | Arch::X32)
    }

    /// The number of a call; `None` if this architecture does not have it.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        match self {
            Arch::X86_64 => syscalls::x86_64::Sysno::from_str(name).ok().map(|n| n.id() as u32),
            Arch::X86 => syscalls::x86::Sysno::from_str(name).ok().map(|n| n.id() as u32),
            Arch::Aarch64 => syscalls::aarch64::Sysno::from_str(name).ok().map(|n| n.id() as u32),
            Arch::X32 => {
                if let Some(at) = X32_OWN.iter().position(|own| *own == name) {
                    return Some(X32_BIT | (512 + at as u32));
                }
                let missing = X32_MISSING.contains(&name);
                Arch::X86_64.number(name).filter(|_| !missing).map(|number| X32_BIT | number)
            }
        }
    }

    /// For a call that i386 also has behind another: the other's number and the first argument there.
    pub(crate) fn multiplexed(self, name: &str) -> Option<(u32, u32)> {
        if self != Arch::X86 {
            return None;
        }
        let socket = SOCKETCALLS.iter().position(|call| *call == name).map(|at| (102, at as u32 + 1));
        socket.or_else(|| IPC_CALLS.iter().find(|(call, _)| *call == name).map(|(_, number)| (117, *number)))
    }
}
