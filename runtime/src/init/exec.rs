//! A process that enters a running container: the shorter story.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::attributes::{self, Shared};
use super::namespaces::Owner;
use super::passed::PassedFds;
use super::procfs::Proc;
use super::{identity, namespaces, payload, procfs, rootfs, terminal};
use crate::cgroup::Doors;
use crate::container::births::Births;
use crate::error::{Context, Result};
use crate::launch::sync::{Message, Sync};
use crate::plan::process::ProcessPlan;
use crate::plan::seccomp::Program;
use crate::sys::again::again;

/// What it inherits from the runtime.
#[derive(Debug)]
pub struct Inheritance<'a> {
    /// The program.
    pub process: &'a ProcessPlan,
    /// The control groups that it goes into by itself; `None` where the runtime moves it.
    pub doors: Option<Doors>,
    /// The container's compiled system call filter.
    pub seccomp: Option<&'a Program>,
    /// The container's ID, which names its session keyring; none if it was made without one.
    pub keyring: Option<&'a str>,
    /// Whether the container has a user namespace of its own.
    pub in_user_namespace: bool,
    /// Where the terminal's leader goes.
    pub console: Option<OwnedFd>,
    /// Descriptors that go to the program.
    pub passed: PassedFds,
    /// What the container's processes have in common.
    pub shared: Shared<'a>,
    /// The container's root, where no mount namespace leads there.
    pub root: Option<OwnedFd>,
    /// Whose the runtime is.
    pub owner: Owner,
    /// Says that we are on the way, until we are in our control groups.
    pub births: Births,
}

impl Inheritance<'_> {
    /// All the descriptors in it.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let own =
            self.console.iter().chain(&self.root).map(AsRawFd::as_raw_fd).chain([self.births.as_raw_fd()]);
        let doors = self.doors.iter().flat_map(Doors::descriptors);
        own.chain(doors).chain(self.passed.numbers()).collect()
    }
}

/// Returns only with an error. Namespaces are joined already; the socket closes by the execve itself.
pub fn run(mut given: Inheritance<'_>, runtime: &mut Sync) -> Result<Infallible> {
    namespaces::die_with_parent()?;
    namespaces::set_dumpable(false)?;
    if let Some(doors) = given.doors.take() {
        doors.enter()?;
    }
    runtime.wait_for(&Message::Mapped)?;
    drop(given.births);
    log::debug!("child process in init()");
    if let Some(root) = &given.root {
        again(|| rustix::process::fchdir(root)).context("enter the container's root")?;
        again(|| rustix::process::chroot(".")).context("change root")?;
    }
    if given.in_user_namespace {
        namespaces::become_user_0()?;
    }
    again(rustix::process::setsid).context("create session")?;
    if let Some(id) = given.keyring {
        namespaces::enter_keyring(id, given.in_user_namespace)?;
    }
    let root = rootfs::open_current()?;
    let process = given.process;
    if let (Some(size), Some(socket)) = (process.terminal, &given.console) {
        terminal::attach_plain(&root, size, socket).context("attach terminal")?;
    }
    terminal::reopen_null(&root)?;
    terminal::give_streams_to(process.user.0)?;
    let entered = payload::enter_cwd(&root, process)?;
    let mut program = payload::prepare(&root, process)?;
    let proc = Proc::new(procfs::mount()?, &root);
    attributes::set(&proc, process, given.shared)?;
    drop((proc, root));
    program.pass_on(&given.passed)?;
    // A detached process outlives the runtime; until here it would only be litter.
    namespaces::live_without_parent()?;
    // As in a container's init.
    let (with_power, without) = match process.no_new_privileges {
        true => (None, given.seccomp),
        false => (given.seccomp, None),
    };
    super::load_filter(with_power, runtime, given.owner)?;
    identity::become_user(process)?;
    payload::enter_cwd_as_user(process, entered)?;
    program.find()?;
    log::debug!("setns_init: about to exec");
    super::load_filter(without, runtime, given.owner)?;
    runtime.send(&Message::Executes)?;
    program.execute()
}
