//! `create`: load, resolve, record, make; and undo all of it if anything goes wrong (runtime.md, "Create":
//! an error must leave things as if create had never been asked for).

use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::delete::unmake;
use super::output;
use crate::cgroup::Cgroup;
use crate::cli::Globals;
use crate::cli::verbs::{Create, Making};
use crate::container::births::Births;
use crate::container::id::ContainerId;
use crate::container::record::{Identity, Record, write_atomically};
use crate::container::{Container, fifo, notify, processes};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::init::namespaces::Owner;
use crate::init::passed::PassedFds;
use crate::init::{self, Inheritance};
use crate::launch::spawn::{Birth, Join, spawn};
use crate::launch::sync::Message;
use crate::launch::{Init, host, idmap, network, socket, sources};
use crate::plan::findings::Findings;
use crate::plan::mounts::What;
use crate::plan::seccomp::Program;
use crate::plan::{Plan, seccomp};
use crate::rdt::Group;
use crate::spec;
use crate::spec::state::{ContainerProcessState, Status};
use crate::sys::files;

/// The verb.
pub fn create(globals: &Globals, words: &Create) -> Result<()> {
    let (id, making, named_by_bundle) = resolve_id(&words.id, &words.making)?;
    let context = || format!("{} create failed", crate::log::program());
    let bundle = Bundle::open(&making).with_context(context)?;
    if making.console_socket.is_none() && bundle.wants_terminal() {
        return Err(Error::invalid(
            "process.terminal: cannot allocate tty if wharf-runtime will detach without --console-socket",
        ));
    }
    make(globals, &id, &making, bundle, None).with_context(context)?;
    if named_by_bundle {
        writeln!(output(), "{}", id.as_str()).context(super::STDOUT)?;
    }
    Ok(())
}

/// A bundle whose config was read.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    spec: spec::Spec,
}

impl Bundle {
    /// Reads it.
    pub fn open(making: &Making) -> Result<Bundle> {
        let path = files::canonicalize(&making.bundle)
            .with_context(|| format!("open bundle {}", making.bundle.display()))?;
        let spec = spec::load(&path)?;
        Ok(Bundle { path, spec })
    }

    /// Whether its process has a terminal.
    pub fn wants_terminal(&self) -> bool {
        self.spec.process.as_ref().is_some_and(|process| process.terminal)
    }
}

/// A lone word with a slash can't be an ID: it is the bundle, and its folder's name is the ID.
pub fn resolve_id(word: &str, making: &Making) -> Result<(ContainerId, Making, bool)> {
    if !word.contains('/') || making.bundle != Path::new(".") {
        return Ok((word.parse()?, making.clone(), false));
    }
    let bundle = files::canonicalize(word).with_context(|| format!("open bundle {word}"))?;
    let name = bundle.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((name.parse()?, Making { bundle, ..making.clone() }, true))
}

/// A container that was made, with its init still our child.
#[derive(Debug)]
pub struct Made {
    /// Its folder.
    pub container: Container,
    /// Its record.
    pub record: Record,
    /// Its init.
    pub init: Init,
}

/// Makes a container. `console` stands in for `--console-socket` where the caller is the terminal's user.
pub fn make(
    globals: &Globals,
    id: &ContainerId,
    making: &Making,
    Bundle { path: bundle, spec }: Bundle,
    console: Option<OwnedFd>,
) -> Result<Made> {
    // All that can be wrong with the config is found before anything is touched.
    let mut findings = Findings::default();
    let mut plan = Plan::resolve_all(id.as_str(), &bundle, &spec, &mut findings);
    host::check(&plan, &mut findings);
    findings.into_result()?;
    host::leave_out_the_meaningless(&mut plan);
    let linux = spec.linux.clone().unwrap_or_default();
    let seccomp = linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    if let Some(program) = &seccomp {
        log::debug!("seccomp filter flags: {}", program.flags);
    }
    let rdt = plan.rdt.as_ref().map(Group::resolve).transpose()?;
    let passed = PassedFds::announced(making.preserve_fds);
    passed.check()?;
    // Without the right to make detached mounts here, init has it in its own user namespace.
    let sources = sources::open_if_permitted(&plan)?;
    let console = match (&making.console_socket, plan.process.as_ref().and_then(|p| p.terminal)) {
        (Some(path), Some(_)) => Some(socket::connect("console socket", path)?),
        (Some(_), None) => return Err(Error::invalid("--console-socket: the process has no terminal")),
        (None, _) => console,
    };
    let pidfd_socket = making.pidfd_socket.as_ref().map(|path| socket::connect("pidfd socket", path));
    let pidfd_socket = pidfd_socket.transpose()?;
    passed.close_others()?;
    for step in &plan.mounts {
        for option in &step.without_effect {
            log::warn!("mounts[{}].options: {option:?} has no effect on a bind mount", step.index);
        }
    }
    for warning in plan.process.iter().flat_map(|process| &process.warnings) {
        log::warn!("{warning}");
    }

    let mut undo = begin(globals, id, bundle, spec)?;
    undo.record.rdt = rdt;
    undo.record.no_new_keyring = making.no_new_keyring;
    let init = undo.build(Wanted { plan, seccomp, sources, console, pidfd_socket, passed }, making)?;
    let Undo { container, record, .. } = &mut undo;
    match container.take() {
        Some(container) => Ok(Made { container, record: record.clone(), init }),
        None => Err(Error::new(Kind::System, "the container is gone")),
    }
}

/// Takes the ID and writes the record.
pub(super) fn begin(globals: &Globals, id: &ContainerId, bundle: PathBuf, spec: spec::Spec) -> Result<Undo> {
    let cgroups_path = spec.linux.as_ref().map(|linux| linux.cgroups_path.as_str()).unwrap_or_default();
    let cgroup = Cgroup::resolve(globals.cgroup_driver, cgroups_path, id.as_str())?
        .tolerating(globals.tolerates_missing_cgroups())?;
    let (creator, standard_streams) = (Identity::of(std::process::id() as i32)?, standard_streams());
    let (container, lock) = Container::reserve(&globals.root, id)?;
    let births = Births::announce(&container.dir).and_then(|births| cgroup.refuse_used().map(|()| births));
    let births = births.inspect_err(|_| {
        // Nobody else would. It can be there all the same only if both go wrong, and the first error is the one to tell.
        container.remove().or_else(|_| container.remove()).ok();
    })?;
    let record = Record {
        id: id.as_str().to_owned(),
        rootfs: spec.root.as_ref().map(|root| bundle.join(&root.path)).unwrap_or_default(),
        bundle,
        created: super::time::now(),
        creator,
        init: None,
        complete: false,
        cgroup,
        standard_streams,
        rdt: None,
        no_new_keyring: false,
        config: spec,
    };
    let mut undo = Undo { container: Some(container), record, births: Some(births) };
    undo.save()?;
    drop(lock); // who wants to delete it now knows whom to end first
    Ok(undo)
}

/// What the streams that init will inherit are; nothing for one that is closed.
fn standard_streams() -> Vec<String> {
    let name = |fd: u32| files::read_link(format!("/proc/self/fd/{fd}"));
    (0..3).map(|fd| name(fd).map(|path| path.display().to_string()).unwrap_or_default()).collect()
}

/// What is known before anything is made.
struct Wanted {
    plan: Plan,
    seccomp: Option<Program>,
    sources: Option<sources::Sources>,
    console: Option<OwnedFd>,
    pidfd_socket: Option<OwnedFd>,
    passed: PassedFds,
}

/// What has been made so far; dropped before the end, it is unmade. The init kills itself (see [`Init`]), and
/// is dropped, that is waited for, before this.
pub(super) struct Undo {
    pub(super) container: Option<Container>,
    pub(super) record: Record,
    /// Until init, which inherits it, has been put into the control groups.
    pub(super) births: Option<Births>,
}

impl Undo {
    fn save(&mut self) -> Result<()> {
        self.container.as_ref().map_or(Ok(()), |container| self.record.save(&container.dir))
    }

    /// Makes the control groups, with the limits in force, as far as they can be made without a process in them.
    pub(super) fn make_cgroup(&mut self, dir: &Path) -> Result<()> {
        let mut cgroup = self.record.cgroup.clone();
        cgroup.create(|intended| {
            self.record.cgroup = intended.clone();
            self.record.save(dir) // the intent, before the resource
        })?;
        self.record.cgroup = cgroup;
        let resources = self.record.config.linux.as_ref().and_then(|linux| linux.resources.clone());
        self.record.cgroup.prepare(&resources.unwrap_or_default())
    }

    fn build(&mut self, mut wanted: Wanted, making: &Making) -> Result<Init> {
        let Some(container) = &self.container else {
            return Err(Error::new(Kind::System, "nothing to build"));
        };
        let dir = container.dir.clone();
        self.make_cgroup(&dir)?;
        if self.record.cgroup.dirs.is_empty() && !processes::has_own_namespace(&self.record) {
            // The words are runc's.
            log::warn!(
                "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is \
                 strongly discouraged (as it is impossible to properly kill all container's processes)"
            );
        }
        let parked = fifo::create(&dir)?;
        if notify::manager().is_some() {
            wanted.add_notify_socket(&dir)?;
        }
        if let (Some(group), Some(rdt)) = (&self.record.rdt, &wanted.plan.rdt) {
            group.create(rdt)?;
        }

        let (plan, record) = (&wanted.plan, &self.record);
        let shows_cgroups = plan.mounts.iter().any(|step| matches!(step.what, What::Cgroup { .. }));
        let cgroups = shows_cgroups.then(|| record.cgroup.shown()).transpose()?;
        let doors = record.cgroup.doors()?;
        let (goes_in_alone, birthplace) = (doors.is_some(), record.cgroup.birthplace());
        let given = Inheritance {
            plan,
            record,
            doors,
            cgroups: cgroups.as_ref(),
            seccomp: wanted.seccomp.as_ref(),
            sources: wanted.sources,
            parked,
            console: wanted.console,
            no_pivot: making.no_pivot,
            no_new_keyring: making.no_new_keyring,
            passed: wanted.passed,
            owner: Owner::current()?,
            births: self.births.take(),
        };
        let join = Join::Paths(plan.namespaces.join.clone());
        let (create, time_offsets) = (plan.namespaces.at_birth(), plan.namespaces.time_offsets.as_str());
        let oom_score_adj = plan.process.as_ref().and_then(|process| process.oom_score_adj);
        let cgroup = birthplace.as_ref().map(OwnedFd::as_fd);
        let birth = Birth { create, join: &join, time_offsets, oom_score_adj, cgroup };
        let mut init = spawn(&birth, &given.descriptors(), |runtime| init::run(given, runtime))?;
        self.record.init = Some(Identity::of(init.pid)?);
        // Until `create` has returned init dies with us, so the record without it is enough to clean up by. It is
        // for those who ask meanwhile, and hooks and agents alone can; writing it takes some 0.1 ms.
        let asked = !plan.hooks.lists().iter().all(|(_, list)| list.is_empty())
            || wanted.seccomp.as_ref().is_some_and(|program| program.notifies());
        if asked {
            self.record.save(&dir)?;
        }
        match (goes_in_alone, init.born_inside) {
            (true, true) => {}
            (true, false) => self.record.cgroup.join_unified(init.pid)?,
            (false, _) => self.record.cgroup.admit(&self.record.id, init.pid, &self.record.config)?,
        }
        prepare(&self.record, plan, &init)?;
        init.tell(&Message::Mapped)?;
        init.wait_for_mounts()?;
        // Hooks come after the environment, and with that "creating", is done (runtime.md, "Lifecycle", 2 to 5).
        let state = self.record.state(Status::Created, init.pid);
        hooks::run("prestart", &plan.hooks.prestart, &state)?;
        hooks::run("createRuntime", &plan.hooks.create_runtime, &state)?;
        init.tell(&Message::HooksDone)?;
        if plan.process.is_some() && wanted.seccomp.is_some_and(|program| program.notifies()) {
            let pid = init.pid;
            init.hand_over_listener(|fd| introduce_to_agent(&self.record, Status::Creating, pid, &fd))?;
        }
        init.wait_for(&Message::Ready)?;
        if let Some(socket) = &wanted.pidfd_socket {
            socket::send(socket, &init.pidfd, b"pidfd").context("--pidfd-socket")?;
        }
        if let Some(path) = &making.pid_file {
            write_atomically(path, init.pid.to_string().as_bytes())?;
        }
        self.record.complete = true;
        self.record.save(&dir)?;
        // From here on others may kill and delete it, so nothing is left for us to undo. If init is gone by now, it was
        // created all the same. It waits where we can't be reached by: the end of the dialogue is ours.
        if let Err(error) = init.tell(&Message::Release)
            && !init.has_ended()
        {
            return Err(error);
        }
        init.release();
        Ok(init)
    }
}

impl Wanted {
    /// Gives the container a socket by which it can say that it is ready.
    fn add_notify_socket(&mut self, dir: &Path) -> Result<()> {
        let (step, variable) = notify::prepare(dir, self.plan.mounts.len())?;
        if let Some(sources) = &mut self.sources {
            sources.add(&step, &self.plan)?;
        }
        self.plan.mounts.push(step);
        if let Some(process) = &mut self.plan.process {
            process.env.retain(|entry| !entry.to_bytes().starts_with(b"NOTIFY_SOCKET="));
            process
                .env
                .push(CString::new(variable).map_err(|_| Error::invalid("NOTIFY_SOCKET holds a NUL"))?);
        }
        Ok(())
    }
}

/// Sends a process's seccomp listener to the agent that the config names (config-linux.md, "listenerPath").
pub fn introduce_to_agent(record: &Record, status: Status, pid: i32, listener: &OwnedFd) -> Result<()> {
    let none = spec::Linux::default();
    let seccomp = record.config.linux.as_ref().unwrap_or(&none).seccomp.clone().unwrap_or_default();
    let document = ContainerProcessState {
        oci_version: spec::VERSION,
        fds: ["seccompFd"],
        pid,
        metadata: &seccomp.listener_metadata,
        state: record.state(status, record.init.map_or(pid, |init| init.pid)),
    };
    let text = serde_json::to_vec(&document).map_err(|e| Error::new(Kind::System, e.to_string()))?;
    let agent = socket::connect("seccomp agent", Path::new(&seccomp.listener_path));
    // In the words of runc, by which users search.
    let agent = agent.context("failed to connect with seccomp agent");
    socket::send(&agent.in_field("linux.seccomp.listenerPath")?, listener, &text)
        .in_field("linux.seccomp.listenerPath")
}

/// What only the parent can do for the new process.
fn prepare(record: &Record, plan: &Plan, init: &Init) -> Result<()> {
    if let Some(group) = &record.rdt {
        group.join(init.pid)?;
    }
    if plan.namespaces.creates(libc::CLONE_NEWUSER) {
        idmap::write(init.pid, &plan.namespaces.uid_map, &plan.namespaces.gid_map)?;
    }
    if let Some(owner) = plan.cgroup_owner {
        record.cgroup.give_to(owner)?;
    }
    network::move_in(&plan.net_devices, init.pid)
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        self.births = None; // our own share in the lock that this takes
        if let Err(error) = unmake(&container, &self.record) {
            log::warn!("clean up after a failed create: {error}");
        }
        let state = self.record.state(Status::Stopped, 0);
        let poststop = self.record.config.hooks.as_ref().map(|h| h.poststop.as_slice()).unwrap_or_default();
        if self.record.init.is_some() {
            for error in hooks::run_all("poststop", poststop, &state) {
                log::warn!("{error}");
            }
        }
    }
}
