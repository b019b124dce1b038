//! Processor affinity for machines of any size: the safe wrappers stop at 1024 processors.

use rustix::io::Result;

use super::again::done;

/// sched_setaffinity(2) with a mask of 8192 ones; the kernel cuts it to the processors there are.
pub fn allow_every_cpu(pid: i32) -> Result<()> {
    let mask = [0xffu8; 1024];
    // SAFETY: the kernel reads `size` bytes of the array, which lives across the call, and writes nothing.
    done(|| unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, mask.len(), mask.as_ptr()) })
}
