//! The child's side: everything between clone and execve, in the order the kernel demands.
//!
//! [`run`] is the story of a container's init, [`exec::run`] the shorter one of a process that enters a
//! container. Both end in execve or in an error that travels home.

pub mod attributes;
pub mod cgroupfs;
pub mod devices;
pub mod exec;
pub mod identity;
pub mod mounts;
pub mod namespaces;
pub mod passed;
pub mod paths;
pub mod payload;
pub mod procfs;
pub mod rootfs;
pub mod terminal;

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::cgroup::{Doors, Shown};
use crate::container::births::Births;
use crate::container::fifo::Parked;
use crate::container::record::Record;
use crate::error::{Context, Error, Result};
use crate::hooks;
use crate::launch::sources::{self, Sources};
use crate::launch::sync::{Message, Sync};
use crate::plan::Plan;
use crate::plan::seccomp::Program;
use crate::spec::state::Status;
use crate::sys::process::{exit_now, exit_on};
use attributes::Shared;
use mounts::Stage;
use namespaces::Owner;
use passed::PassedFds;
use procfs::Proc;

/// What init inherits from the runtime besides the plan.
#[derive(Debug)]
pub struct Inheritance<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// For the state that hooks read.
    pub record: &'a Record,
    /// What a mount of type `cgroup` shows, if there is one.
    pub cgroups: Option<&'a Shown>,
    /// The compiled system call filter.
    pub seccomp: Option<&'a Program>,
    /// The control groups that init goes into by itself; `None` where the runtime moves it.
    pub doors: Option<Doors>,
    /// Opened by the runtime before the clone; `None` where it could not, and init has to.
    pub sources: Option<Sources>,
    /// Our ends of the start pipes.
    pub parked: Parked,
    /// Where the terminal's leader goes.
    pub console: Option<OwnedFd>,
    /// Use a moving mount and chroot instead of pivot_root(2): for roots on ramfs.
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors that go to the program.
    pub passed: PassedFds,
    /// Whose the runtime is.
    pub owner: Owner,
    /// Says that we are on the way, until we are in our control groups.
    pub births: Option<Births>,
}

impl Inheritance<'_> {
    /// All the descriptors in it.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let sources = self.sources.iter().flat_map(Sources::descriptors);
        let console = self.console.iter().map(AsRawFd::as_raw_fd);
        let doors = self.doors.iter().flat_map(Doors::descriptors);
        sources
            .chain(console)
            .chain(doors)
            .chain(self.births.iter().map(AsRawFd::as_raw_fd))
            .chain(self.parked.descriptors())
            .chain(self.passed.numbers())
            .collect()
    }
}

/// The container's init. Returns only with an error.
pub fn run(mut given: Inheritance<'_>, runtime: &mut Sync) -> Result<Infallible> {
    let plan = given.plan;
    // We are PID 1 of new namespaces but still see the host. Until `create` has returned we die with it.
    namespaces::die_with_parent()?;
    if let Some(doors) = given.doors.take() {
        doors.enter()?;
    }
    runtime.wait_for(&Message::Mapped)?;
    given.births = None;
    log::debug!("child process in init()");
    namespaces::become_root_inside(plan, given.owner)?;
    namespaces::enter_session(plan, given.no_new_keyring)?;

    // Build the root file system while the host is still visible.
    let mut sources = match given.sources.take() {
        Some(sources) => sources,
        None => sources::open(plan)?,
    };
    let root = rootfs::attach(plan)?;
    let stage = Stage { root: &root, plan, cgroups: given.cgroups, runtime };
    let read_only_last = stage.perform(&mut sources)?;
    devices::create(&root, plan, &sources).context("create devices")?;
    runtime.send(&Message::RunHooks)?;
    runtime.wait_for(&Message::HooksDone)?;
    let state = given.record.state(Status::Created, std::process::id() as i32);
    let env = plan.process.as_ref().map(|process| process.env.as_slice());
    let setting = hooks::Setting { directory: Some(&plan.rootfs), env };
    hooks::run_in(setting, "createContainer", &plan.hooks.create_container, &state)?;

    let proc = procfs::mount()?;
    // After this line the host is out of reach.
    rootfs::switch_to(&root, plan, given.no_pivot)?;
    // A tree that is attached nowhere takes no more mounts once its first descriptor is closed.
    let detached = (!plan.namespaces.has(libc::CLONE_NEWNS)).then_some(root);
    let root = rootfs::open_current()?;
    let proc = Proc::new(proc, &root);
    if let (Some(size), Some(socket)) = (plan.process.as_ref().and_then(|p| p.terminal), &given.console) {
        terminal::attach(&root, size, socket).context("attach terminal")?;
    }
    drop(given.console);
    terminal::reopen_null(&root)?;
    paths::write_sysctl(&proc, &plan.sysctl)?;
    if let Some(process) = &plan.process {
        payload::make_cwd(&root, process)?;
    }
    paths::protect(&root, plan, &sources)?;
    read_only_last.into_iter().try_for_each(|mount| mounts::make_read_only(&mount))?;
    rootfs::finish(plan)?;
    drop(detached);

    let Some(process) = &plan.process else {
        // `create` works without a program; the specification puts that error at `start`.
        drop((proc, root, sources));
        namespaces::live_without_parent()?;
        end_by_signals()?;
        return park(given.parked, runtime, |_| {
            Err(Error::invalid("process: is missing, so there is nothing to start"))
        });
    };
    terminal::give_streams_to(process.user.0)?;
    let entered = payload::enter_cwd(&root, process)?;
    let mut program = payload::prepare(&root, process)?;
    let memory_policy = plan.memory_policy.as_ref();
    attributes::set(&proc, process, Shared { personality: plan.personality, memory_policy })?;
    drop((proc, root, sources));
    program.pass_on(&given.passed)?;
    end_by_signals()?;
    // From here to the end we wait for nothing but the dialogue, whose end says as well that the runtime is gone.
    namespaces::live_without_parent()?;
    // Give up power. Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before capabilities
    // go; with it, as late as the runtime is there to take a listener, so that the profile need not allow what we
    // do in between.
    let (with_power, without) = match process.no_new_privileges {
        true => (None, given.seccomp),
        false => (given.seccomp, None),
    };
    load_filter(with_power, runtime, given.owner)?;
    identity::become_user(process)?;
    payload::enter_cwd_as_user(process, entered)?;
    program.find()?;
    given.owner.let_in()?; // for an exec before start
    load_filter(without, runtime, given.owner)?;
    park(given.parked, runtime, |parked| {
        let state = given.record.state(Status::Created, std::process::id() as i32);
        let setting = hooks::Setting { directory: None, env: Some(program.environment()) };
        hooks::run_in(setting, "startContainer", &plan.hooks.start_container, &state)?;
        parked.leave()?;
        program.execute()
    })
}

/// As PID 1 we would not even notice the signals that are to end us while we wait for `start`.
fn end_by_signals() -> Result<()> {
    exit_on(&[libc::SIGHUP, libc::SIGINT, libc::SIGTERM]).context("set signal handlers")
}

/// Loads the container's system call filter, if it has one, and has the runtime take its listener, if that has
/// one. From here on we are under the filter.
fn load_filter(program: Option<&Program>, runtime: &Sync, owner: Owner) -> Result<()> {
    let Some(program) = program else { return Ok(()) };
    log::debug!("seccomp filter flags: {}", program.flags);
    if program.notifies() {
        owner.let_in()?;
    }
    match crate::sys::seccomp::load(program).context("load seccomp filter").about("linux.seccomp")? {
        Some(listener) => {
            runtime.send(&Message::Listener(listener.as_raw_fd()))?;
            runtime.wait_for(&Message::ListenerTaken)
        }
        None => Ok(()),
    }
}

/// Says that all is ready, lets go of the runtime, waits for `start` and goes on with `next`, whose error is
/// `start`'s to print.
fn park(
    mut parked: Parked,
    runtime: &mut Sync,
    next: impl FnOnce(&mut Parked) -> Result<Infallible>,
) -> Result<Infallible> {
    if let Err(error) = runtime.send(&Message::Ready).and_then(|()| runtime.wait_for(&Message::Release)) {
        // Nothing is closed but by the end itself: whoever looks would take us for started.
        runtime.send(&Message::Failed(error)).ok();
        exit_now(1);
    }
    log::debug!("init: closing the pipe to signal completion");
    runtime.end();
    crate::log::end();
    let Err(error) = parked.wait().and_then(|()| next(&mut parked));
    // Nobody else is left to hear it; that `start` may be gone too changes nothing.
    parked.report(&error).ok();
    exit_now(1)
}
