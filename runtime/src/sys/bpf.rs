//! bpf(2): loading a device program, putting it on a cgroup and taking an earlier one off (Linux 4.15).
//!
//! Each command reads the start of `union bpf_attr`, so each has a struct of its own here, as long as what it reads.

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::io::Result;

use super::again::again;
use super::mount::last_errno;

/// One eBPF instruction (`struct bpf_insn`): code, registers (source in the upper half), offset, immediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source in the high four.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Immediate.
    pub immediate: i32,
}

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// The name that our programs carry, so that we can tell them from others on the same cgroup.
const NAME: [u8; 16] = *b"wharf_devices\0\0\0";

/// More programs on one cgroup than the kernel takes.
const MAX_PROGRAMS: usize = 64;

#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
}

#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct AskInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name. Zero lengths ask for none of the arrays that it points to.
#[repr(C)]
struct ProgramInfo {
    before_name: [u64; 8],
    name: [u8; 16],
}

fn bpf<T>(command: u32, attributes: &mut T) -> Result<i32> {
    again(|| {
        // SAFETY: the kernel reads and writes `size` bytes of the struct that is borrowed for the call; the pointers
        // in it, if any, were made by the callers below from what they hold across the call.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
        if result < 0 { Err(last_errno()) } else { Ok(result as i32) }
    })
}

/// Loads a program; the kernel's verifier judges it.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    let mut load = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: NAME,
    };
    let fd = bpf(PROG_LOAD, &mut load)?;
    // SAFETY: the kernel has just made this descriptor, which nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads the program and attaches it to the cgroup directory, in the place of ours before it. There is no instant
/// without one: while both are there, what both allow is allowed.
pub fn attach_device_program(cgroup: &File, program: &[Instruction]) -> Result<()> {
    let program = load_device_program(program)?;
    // Asked only where we may: without CAP_SYS_ADMIN the attaching fails too, and says so better.
    let earlier = attached(cgroup).unwrap_or_default();
    change(PROG_ATTACH, cgroup, &program, ALLOW_MULTI)?;
    for id in earlier {
        let old = open(id)?;
        if name(&old)? == NAME {
            change(PROG_DETACH, cgroup, &old, 0)?;
        }
    }
    Ok(())
}

fn change(command: u32, cgroup: &File, program: &OwnedFd, attach_flags: u32) -> Result<()> {
    let mut attach = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags,
    };
    bpf(command, &mut attach).map(drop)
}

/// The numbers of the device programs that the directory itself has.
pub fn attached(cgroup: &File) -> Result<Vec<u32>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
    };
    bpf(PROG_QUERY, &mut query)?;
    Ok(ids.into_iter().take(query.prog_cnt as usize).collect())
}

fn open(id: u32) -> Result<OwnedFd> {
    let mut by_id = ById { prog_id: id, next_id: 0, open_flags: 0 };
    let fd = bpf(PROG_GET_FD_BY_ID, &mut by_id)?;
    // SAFETY: the kernel has just made this descriptor, which nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn name(program: &OwnedFd) -> Result<[u8; 16]> {
    let mut info = ProgramInfo { before_name: [0; 8], name: [0; 16] };
    let mut ask = AskInfo {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<ProgramInfo>() as u32,
        info: &raw mut info as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut ask)?;
    Ok(info.name)
}
