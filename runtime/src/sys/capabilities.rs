//! What a privileged process may do, in parts (capabilities(7)).

use rustix::io::{Errno, Result};

use super::again::done;

/// All, each at the place that is its number (linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The bit of a capability in a mask.
pub fn mask_of(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

/// `struct __user_cap_header_struct` (linux/capability.h), for this thread.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

impl CapabilityHeader {
    /// _LINUX_CAPABILITY_VERSION_3
    const OWN: CapabilityHeader = CapabilityHeader { version: 0x2008_0522, pid: 0 };
}

/// capget(2) of this thread: the effective and the permitted set, each a mask of bits `1 << capability`.
pub fn capget() -> Result<(u64, u64)> {
    let mut header = CapabilityHeader::OWN;
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: version 3 reads a header and writes two triples of 32-bit words, which live across the call.
    done(|| unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    let [[effective, permitted, _], [effective_high, permitted_high, _]] = sets;
    let whole = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Ok((whole(effective, effective_high), whole(permitted, permitted_high)))
}

/// Whether this thread may use the capability of this name.
pub fn has_capability(name: &str) -> Result<bool> {
    let mask = mask_of(name).ok_or(Errno::INVAL)?;
    Ok(capget()?.0 & mask != 0)
}

/// capset(2) on this thread, each set a mask of bits `1 << capability`.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let mut header = CapabilityHeader::OWN;
    let half = |mask: u64, shift: u32| ((mask >> shift) & 0xffff_ffff) as u32;
    let sets: [[u32; 3]; 2] =
        [0, 32].map(|shift| [half(effective, shift), half(permitted, shift), half(inheritable, shift)]);
    // SAFETY: version 3 reads a header and two triples of 32-bit words, which is what is passed.
    done(|| unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, number) in [("CAP_CHOWN", 0), ("CAP_SYS_ADMIN", 21), ("CAP_CHECKPOINT_RESTORE", 40)] {
            assert_eq!(mask_of(name), Some(1 << number), "{name}");
        }
        assert_eq!(mask_of("chown"), None);
    }
}
