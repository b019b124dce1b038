//! Sealing this program before anything else has been done in it (see [`crate::seal`]).
//!
//! What seals itself starts twice, and the start of a static program is dear: the C library asks the processor what
//! it can do, which traps where a hypervisor is, and relocates and copies pages, all of which the first of the two
//! throws away. So the kernel enters here, before the C library's own first step: 0.35 ms of the 5.5 that `run` takes.
//!
//! It is for the ordinary case alone. Where anything is in the way, all is put back and the start goes on as ever, and
//! [`crate::seal::ensure`] has other means, and words for what went wrong.
//!
//! Nothing is relocated yet, and there is no thread-local memory: so nothing but system calls and pointers to what the
//! kernel has handed over; no tables of pointers; and no loops that a compiler could replace by calls of the C library
//! (bytes are read and written as volatile).

use std::arch::{asm, global_asm};

use crate::seal::{MARK, SECOND_LAYER};

// The kernel enters with the arguments on the stack; rdx is for the C library. Both are as they were afterwards. Below
// is the room that `begin` is given.
global_asm!(
    ".globl wharf_start",
    ".type wharf_start, @function",
    "wharf_start:",
    "xor ebp, ebp",
    "mov rbx, rsp",
    "mov r12, rdx",
    "mov rdi, rsp",
    "sub rsp, {size}",
    "mov rsi, rsp",
    "call {begin}",
    "mov rsp, rbx",
    "mov rdx, r12",
    "jmp _start",
    size = const ROOM * ROOMS,
    begin = sym begin,
);

/// Long enough for most paths; a longer one is a case for the ordinary start.
const ROOM: usize = 1024;
const ROOMS: usize = 4;

/// # Safety
/// `stack` is where the kernel has put the number of arguments, the arguments and the environment; of `room` on there
/// are [`ROOMS`] times [`ROOM`] bytes that are nobody else's.
unsafe extern "C" fn begin(stack: *mut usize, room: *mut u8) {
    // SAFETY: the first word is the number of arguments.
    let count = unsafe { stack.read() };
    let arguments = Arguments { count, first: stack.wrapping_add(1).cast() };
    let room = |number: usize| Room { at: room.wrapping_add(number.wrapping_mul(ROOM)), used: 0 };
    seal(&arguments, [room(0), room(1), room(2), room(3)]);
}

/// argv, followed by a null pointer and the environment.
struct Arguments {
    count: usize,
    first: *mut Text,
}

impl Arguments {
    fn get(&self, number: usize) -> Option<Text> {
        if number >= self.count {
            return None;
        }
        // SAFETY: the kernel has put as many pointers there as it says.
        Some(unsafe { self.first.wrapping_add(number).read() })
    }

    fn rename(&self, name: Text) {
        // SAFETY: only called when there is a zeroth argument; nobody else has seen the array yet.
        unsafe { self.first.write(name) };
    }

    /// Whether there is a verb that enters a container. Another word that reads the same costs a start and does no
    /// harm.
    fn has_verb(&self) -> bool {
        let is_one = |word: Text| word.is(b"run") || word.is(b"create") || word.is(b"exec");
        (1..self.count).any(|number| self.get(number).is_some_and(is_one))
    }

    fn environment(&self) -> *mut Text {
        self.first.wrapping_add(self.count).wrapping_add(1)
    }
}

/// Ends with a NUL; lives as long as the program, or in a room.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Text(*const u8);

impl Text {
    fn byte(self, at: usize) -> u8 {
        // SAFETY: nobody asks for a byte beyond the NUL.
        unsafe { self.0.wrapping_add(at).read_volatile() }
    }

    fn length(self) -> usize {
        let mut length = 0;
        while self.byte(length) != 0 {
            length = length.wrapping_add(1);
        }
        length
    }

    fn is(self, word: &[u8]) -> bool {
        self.length() == word.len() && self.ends_with(word)
    }

    fn ends_with(self, end: &[u8]) -> bool {
        let Some(from) = self.length().checked_sub(end.len()) else { return false };
        end.iter().enumerate().all(|(at, byte)| self.byte(from.wrapping_add(at)) == *byte)
    }
}

/// [`ROOM`] bytes to put something together in.
struct Room {
    at: *mut u8,
    used: usize,
}

impl Room {
    /// Adds a byte, and the NUL after it.
    fn put(&mut self, byte: u8) -> Option<()> {
        let next = self.used.wrapping_add(1);
        if next >= ROOM {
            return None;
        }
        // SAFETY: both places are in the room.
        unsafe { self.at.wrapping_add(self.used).write_volatile(byte) };
        // SAFETY: as above.
        unsafe { self.at.wrapping_add(next).write_volatile(0) };
        self.used = next;
        Some(())
    }

    fn put_all(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.iter().try_for_each(|byte| self.put(*byte))
    }

    /// The text in it from a place on.
    fn text(&self, from: usize) -> Text {
        Text(self.at.wrapping_add(from))
    }
}

/// Closed when it is dropped.
struct Descriptor(usize);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours alone; there is no pointer.
        let _closed = unsafe { call(libc::SYS_close, [self.0, 0, 0, 0, 0]) };
    }
}

/// `None` on error.
///
/// # Safety
/// The arguments are those that the system call wants, and its pointers are valid for what it does with them.
unsafe fn call(number: libc::c_long, [a, b, c, d, e]: [usize; 5]) -> Option<usize> {
    let result: isize;
    // SAFETY: the caller's promise; these are the registers of the kernel's convention, and those it overwrites.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    usize::try_from(result).ok()
}

/// A call that makes a descriptor.
///
/// # Safety
/// As for [`call`].
unsafe fn make(number: libc::c_long, arguments: [usize; 5]) -> Option<Descriptor> {
    // SAFETY: the caller's promise.
    unsafe { call(number, arguments) }.map(Descriptor)
}

/// Returns only where it could not be done, with all as it was.
fn seal(arguments: &Arguments, [mut path, mut layers, mut name, facts]: [Room; 4]) -> Option<()> {
    let own_name = arguments.get(0)?;
    if own_name.ends_with(MARK.as_bytes()) || !arguments.has_verb() {
        return None;
    }
    let link = c"/proc/self/exe".as_ptr() as usize;
    // SAFETY: a text of the program's.
    let own = unsafe { make(libc::SYS_open, [link, FLAGS, 0, 0, 0]) }?;
    if is_read_only(&own, &facts)? {
        return None;
    }
    // SAFETY: a text, and a room that is as large as is said.
    path.used = unsafe { call(libc::SYS_readlink, [link, path.at as usize, ROOM, 0, 0]) }?;
    path.put(0)?; // fails where it was cut off
    let slash = folder(&path, &mut layers)?;
    layers.put_all(b":")?;
    layers.put_all(SECOND_LAYER.as_bytes())?;
    let mount = overlay(layers.text(0))?;
    let file = path.text(slash.wrapping_add(1)).0 as usize;
    // SAFETY: a text in a room.
    let copy = unsafe { make(libc::SYS_openat, [mount.0, file, FLAGS | libc::O_NOFOLLOW as usize, 0, 0]) }?;
    // A file that is mounted on its name is not in the folder's file system, and another may be there.
    if change(&own, &facts)? != change(&copy, &facts)? {
        return None;
    }
    (0..own_name.length()).try_for_each(|at| name.put(own_name.byte(at)))?;
    name.put_all(MARK.as_bytes())?;
    arguments.rename(name.text(0));
    let (argv, env) = (arguments.first as usize, arguments.environment() as usize);
    let flags = libc::AT_EMPTY_PATH as usize;
    // SAFETY: an empty text, and the two arrays of the kernel's own making, each with a null pointer at its end.
    let _failed = unsafe { call(libc::SYS_execveat, [copy.0, c"".as_ptr() as usize, argv, env, flags]) };
    arguments.rename(own_name);
    None
}

const FLAGS: usize = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;

/// Copies what is before the last slash, and says where that is. `None` for what would have to be escaped.
fn folder(path: &Room, into: &mut Room) -> Option<usize> {
    let text = path.text(0);
    let slash = (0..text.length()).rev().find(|at| text.byte(*at) == b'/')?;
    for at in 0..slash.max(1) {
        match text.byte(at) {
            b':' | b'\\' | b',' => return None,
            byte => into.put(byte)?,
        }
    }
    Some(slash)
}

/// A mount that is attached nowhere.
fn overlay(layers: Text) -> Option<Descriptor> {
    const FSOPEN_CLOEXEC: usize = 1;
    const SET_STRING: usize = 1;
    const CREATE: usize = 6;
    const FSMOUNT_CLOEXEC: usize = 1;
    let kind = c"overlay".as_ptr() as usize;
    // SAFETY: a text of the program's.
    let context = unsafe { make(libc::SYS_fsopen, [kind, FSOPEN_CLOEXEC, 0, 0, 0]) }?;
    let set = |key: usize, value: usize| {
        // SAFETY: both are texts.
        unsafe { call(libc::SYS_fsconfig, [context.0, SET_STRING, key, value, 0]) }
    };
    set(c"source".as_ptr() as usize, c"wharf-runtime".as_ptr() as usize)?;
    set(c"lowerdir".as_ptr() as usize, layers.0 as usize)?;
    // SAFETY: there is no pointer.
    unsafe { call(libc::SYS_fsconfig, [context.0, CREATE, 0, 0, 0]) }?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // SAFETY: there is no pointer.
    unsafe { make(libc::SYS_fsmount, [context.0, FSMOUNT_CLOEXEC, attributes as usize, 0, 0]) }
}

fn is_read_only(file: &Descriptor, room: &Room) -> Option<bool> {
    // SAFETY: the room has more bytes than the structure, and is aligned as the stack is.
    unsafe { call(libc::SYS_fstatfs, [file.0, room.at as usize, 0, 0, 0]) }?;
    const FLAGS_AT: usize = 10; // the words before are in `libc::statfs`, this one is not
    // SAFETY: the kernel has just written it.
    let flags = unsafe { room.at.cast::<u64>().wrapping_add(FLAGS_AT).read() };
    Some(flags & libc::ST_RDONLY != 0)
}

/// What an overlay does not change of a file's status and no two files have in common.
fn change(file: &Descriptor, room: &Room) -> Option<(i64, i64, i64)> {
    // SAFETY: as above.
    unsafe { call(libc::SYS_fstat, [file.0, room.at as usize, 0, 0, 0]) }?;
    // SAFETY: the kernel has just written it.
    let facts = unsafe { &*room.at.cast::<libc::stat>() };
    Some((facts.st_ctime, facts.st_ctime_nsec, facts.st_size))
}
