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

/// The names of libseccomp and the architectures that a process can have where this program runs.
const ARCHITECTURES: [(&str, Option<Arch>); 23] = [
    ("SCMP_ARCH_AARCH64", Some(Arch::Aarch64)),
    ("SCMP_ARCH_ARM", None),
    ("SCMP_ARCH_LOONGARCH64", None),
    ("SCMP_ARCH_M68K", None),
    ("SCMP_ARCH_MIPS", None),
    ("SCMP_ARCH_MIPS64", None),
    ("SCMP_ARCH_MIPS64N32", None),
    ("SCMP_ARCH_MIPSEL", None),
    ("SCMP_ARCH_MIPSEL64", None),
    ("SCMP_ARCH_MIPSEL64N32", None),
    ("SCMP_ARCH_PARISC", None),
    ("SCMP_ARCH_PARISC64", None),
    ("SCMP_ARCH_PPC", None),
    ("SCMP_ARCH_PPC64", None),
    ("SCMP_ARCH_PPC64LE", None),
    ("SCMP_ARCH_RISCV64", None),
    ("SCMP_ARCH_S390", None),
    ("SCMP_ARCH_S390X", None),
    ("SCMP_ARCH_SH", None),
    ("SCMP_ARCH_SHEB", None),
    ("SCMP_ARCH_X32", Some(Arch::X32)),
    ("SCMP_ARCH_X86", Some(Arch::X86)),
    ("SCMP_ARCH_X86_64", Some(Arch::X86_64)),
];

/// The names of all architectures that a config can name, sorted.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name)
}

impl Arch {
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NATIVE: Arch = Arch::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(crate) const NATIVE: Arch = Arch::Aarch64;

    /// `None` for architectures that no process on this machine can have.
    pub(crate) fn parse(field: &str, name: &str) -> Result<Option<Arch>> {
        if name == "SCMP_ARCH_NATIVE" {
            return Ok(Some(Arch::NATIVE));
        }
        let known = ARCHITECTURES.iter().find(|(known, _)| *known == name);
        let native_is_arm = Arch::NATIVE == Arch::Aarch64;
        known
            .map(|(_, arch)| arch.filter(|arch| (*arch == Arch::Aarch64) == native_is_arm))
            .ok_or_else(|| Error::at(field, format_args!("unknown architecture {name:?}")))
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
                if let Some((number, _)) = (512..).zip(X32_OWN).find(|(_, own)| *own == name) {
                    return Some(X32_BIT | number);
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
        let socket = (1..).zip(SOCKETCALLS).find(|(_, call)| *call == name).map(|(number, _)| (102, number));
        socket.or_else(|| IPC_CALLS.iter().find(|(call, _)| *call == name).map(|(_, number)| (117, *number)))
    }
}
