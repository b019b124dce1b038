//! A process that enters a running container: the shorter story.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use super::{identity, namespaces, payload, rootfs, terminal};
use crate::error::{Context, Result};
use crate::launch::sync::{Message, Sync};
use crate::plan::process::ProcessPlan;
use crate::plan::seccomp::Program;
use crate::sys::process::prctl;

/// What it inherits from the runtime.
#[derive(Debug)]
pub struct Inheritance<'a> {
    /// The program.
    pub process: &'a ProcessPlan,
    /// The container's compiled system call filter.
    pub seccomp: Option<&'a Program>,
    /// Whether the container has a user namespace of its own.
    pub in_user_namespace: bool,
    /// Where the terminal's leader goes.
    pub console: Option<OwnedFd>,
    /// Descriptors 3 to 2+N go to the program.
    pub preserve_fds: u32,
}

/// Returns only with an error. Namespaces are joined already; the socket closes by the execve itself.
pub fn run(given: Inheritance<'_>, runtime: Sync) -> Result<Infallible> {
    namespaces::die_with_parent()?;
    prctl(libc::PR_SET_DUMPABLE, 0, 0).context("become undumpable")?;
    runtime.wait_for(&Message::Mapped)?;
    if given.in_user_namespace {
        let (root, group) = (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0));
        nix::unistd::setresgid(group, group, group).context("become group 0 of the user namespace")?;
        nix::unistd::setresuid(root, root, root).context("become user 0 of the user namespace")?;
    }
    rustix::process::setsid().context("create session")?;
    let root = rootfs::open_current()?;
    let process = given.process;
    if let (Some(size), Some(socket)) = (process.terminal, &given.console) {
        terminal::attach_plain(&root, size, socket).context("attach terminal")?;
    }
    terminal::give_streams_to(process.user.0, process.user.1)?;
    let cwd = payload::open_cwd(&root, process)?;
    let mut program = payload::prepare(&root, process)?;
    if !process.no_new_privileges {
        super::load_filter(given.seccomp)?;
    }
    identity::become_user(process)?;
    payload::enter_cwd(&cwd, process)?;
    program.find()?;
    // A detached process outlives the runtime; until here it would only be litter.
    namespaces::live_without_parent()?;
    if process.no_new_privileges {
        super::load_filter(given.seccomp)?;
    }
    program.execute(given.preserve_fds)
}
