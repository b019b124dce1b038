//! The child's side: everything between clone and execve, in the order the kernel demands.
//!
//! [`run`] is the story of a container's init, [`exec::run`] the shorter one of a process that enters a
//! container. Both end in execve or in an error that travels home.

pub mod cgroupfs;
pub mod devices;
pub mod exec;
pub mod identity;
pub mod mounts;
pub mod namespaces;
pub mod paths;
pub mod payload;
pub mod procfs;
pub mod rootfs;
pub mod terminal;

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use crate::cgroup::Cgroup;
use crate::container::fifo::Parked;
use crate::container::record::Record;
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::launch::sources::Sources;
use crate::launch::sync::{Message, Sync};
use crate::plan::Plan;
use crate::plan::seccomp::Program;
use crate::spec::state::Status;

/// What init inherits from the runtime besides the plan.
#[derive(Debug)]
pub struct Inheritance<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// For the state that hooks read.
    pub record: &'a Record,
    /// Where the container's cgroups are, for mounts of type `cgroup`.
    pub cgroup: &'a Cgroup,
    /// The compiled system call filter.
    pub seccomp: Option<&'a Program>,
    /// Opened by the runtime before the clone.
    pub sources: Sources,
    /// Our ends of the start pipes.
    pub parked: Parked,
    /// Where the terminal's leader goes.
    pub console: Option<OwnedFd>,
    /// Use a moving mount and chroot instead of pivot_root(2): for roots on ramfs.
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors 3 to 2+N go to the program.
    pub preserve_fds: u32,
}

/// The container's init. Returns only with an error.
pub fn run(mut given: Inheritance<'_>, runtime: Sync) -> Result<Infallible> {
    let plan = given.plan;
    // We are PID 1 of new namespaces but still see the host. Until `create` has returned we die with it.
    namespaces::die_with_parent()?;
    runtime.wait_for(&Message::Mapped)?;
    namespaces::become_root_inside(plan)?;
    namespaces::enter_session(plan, given.no_new_keyring)?;

    // Build the root file system while the host is still visible.
    let root = rootfs::attach(plan)?;
    mounts::perform(&root, plan, &mut given.sources, given.cgroup)?;
    devices::create(&root, plan, &given.sources).context("create devices")?;
    runtime.send(&Message::RunHooks)?;
    runtime.wait_for(&Message::HooksDone)?;
    let state = given.record.state(Status::Creating, std::process::id() as i32);
    hooks::run("createContainer", &plan.hooks.create_container, &state)?;

    // After this line the host is out of reach.
    rootfs::switch_to(&root, given.no_pivot)?;
    let root = rootfs::open_current()?;
    let proc = procfs::open(&root)?;
    if let (Some(size), Some(socket)) = (plan.process.as_ref().and_then(|p| p.terminal), &given.console) {
        terminal::attach(&root, size, socket).context("attach terminal")?;
    }
    paths::write_sysctl(&proc, &plan.sysctl)?;
    paths::protect(&root, plan, &given.sources)?;
    rootfs::finish(plan)?;

    let Some(process) = &plan.process else {
        // `create` works without a program; the specification puts that error at `start`.
        return park(given.parked, &runtime, |_| {
            Err(Error::invalid("process: is missing, so there is nothing to start"))
        });
    };
    // Give up power. Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before capabilities
    // go; with it, as late as possible, so that the profile need not allow what we do in between.
    terminal::give_streams_to(process.user.0, process.user.1)?;
    let cwd = payload::open_cwd(&root, process)?;
    let mut program = payload::prepare(&root, process)?;
    if !process.no_new_privileges {
        load_filter(given.seccomp)?;
    }
    identity::become_user(process)?;
    payload::enter_cwd(&cwd, process)?;
    program.find()?;
    namespaces::die_with_parent()?; // the change of ids has cleared it
    park(given.parked, &runtime, |_| {
        let state = given.record.state(Status::Created, std::process::id() as i32);
        hooks::run("startContainer", &plan.hooks.start_container, &state)?;
        if process.no_new_privileges {
            load_filter(given.seccomp)?;
        }
        program.execute(given.preserve_fds)
    })
}

/// Loads the container's system call filter, if it has one.
fn load_filter(program: Option<&Program>) -> Result<()> {
    match program {
        Some(program) => crate::sys::seccomp::load(program).context("load seccomp filter"),
        None => Ok(()),
    }
}

/// Says that all is ready, lets go of the runtime, waits for `start` and goes on with `next`, whose error is
/// `start`'s to print.
fn park(
    mut parked: Parked,
    runtime: &Sync,
    next: impl FnOnce(()) -> Result<Infallible>,
) -> Result<Infallible> {
    runtime.send(&Message::Ready)?;
    runtime.wait_for(&Message::Release)?;
    namespaces::live_without_parent()?;
    runtime.close();
    parked.wait()?;
    match next(()) {
        Ok(never) => match never {},
        Err(error) => {
            parked.report(&error)?;
            Err(Error::new(Kind::System, error.to_string()))
        }
    }
}
