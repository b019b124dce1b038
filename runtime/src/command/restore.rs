//! `restore`: a container as `create` would make it, but with its processes out of criu's images.
//!
//! The runtime makes what is outside of the processes: the record, the control groups, the place of the root.
//! criu makes the processes and tells of each step; at those steps the hooks run, the terminal is handed over
//! and the new init is recorded, while the program still waits. Whatever fails, all is unmade.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use super::checkpoint::{Folders, read_streams};
use super::create::{Undo, begin};
use super::delete::{delete_own, or_delete_own};
use super::foreground::{self, Relay, Signals};
use crate::cli::Globals;
use crate::cli::criu::Restore;
use crate::container::id::ContainerId;
use crate::container::record::{Identity, Record, write_atomically};
use crate::criu::message::{Flag, Options, Request, Text, Type};
use crate::criu::service::{Notification, Service, Streams, require_version};
use crate::criu::{external, stage};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::init::namespaces::enter_keyring;
use crate::launch::{Init, network, socket, sync};
use crate::plan::Plan;
use crate::spec::state::Status;
use crate::sys::files;

/// criu's log, which engines copy for the user.
const LOG: &str = "restore.log";

/// The first criu that puts another security profile in place of the saved one.
const NEW_PROFILES: i32 = 31_600;

/// The verb.
pub fn restore(globals: &Globals, words: &Restore) -> Result<i32> {
    let id = words.id.parse::<ContainerId>()?;
    restore_container(globals, words, &id).with_context(|| format!("restore {:?}", words.id))
}

fn restore_container(globals: &Globals, words: &Restore, id: &ContainerId) -> Result<i32> {
    let bundle = files::canonicalize(&words.bundle)
        .with_context(|| format!("open bundle {}", words.bundle.display()))?;
    let spec = crate::spec::load(&bundle)?;
    let plan = Plan::resolve(id.as_str(), &bundle, &spec)?;
    let namespaces = open_namespaces(&plan)?;
    let (relay, console) = connect_console(words, &plan)?;
    let streams = read_streams(&words.both.image_path)?;
    let names_profile = words.lsm_profile.is_some() || words.lsm_mount_context.is_some();
    require_version(if names_profile { NEW_PROFILES } else { 0 })?;

    let mut undo = begin(globals, id, bundle, spec)?;
    undo.record.no_new_keyring = words.no_new_keyring;
    undo.births = None; // criu puts all into their control groups
    let given = Given { words, plan: &plan, streams, namespaces, console };
    let init = undo.restore(given)?;
    let Some(container) = undo.container.take() else {
        return Err(Error::new(Kind::System, "the container is gone"));
    };
    let follow = || {
        let leader = relay.map(Relay::receive_leader).transpose()?;
        let signals = (!words.detach).then(Signals::catch).transpose()?;
        signals.map(|signals| foreground::wait(&init, signals, leader)).transpose()
    };
    match or_delete_own(&container, follow())? {
        None => Ok(0),
        Some(code) => delete_own(&container).map(|()| code),
    }
}

/// What a restore works with.
struct Given<'a> {
    words: &'a Restore,
    plan: &'a Plan,
    /// What the dumped program's standard streams were.
    streams: Vec<String>,
    /// Namespaces that the processes are put in, by their names in the images.
    namespaces: Vec<(&'static str, File)>,
    /// Where the terminal's leader goes.
    console: Option<OwnedFd>,
}

impl Undo {
    fn restore(&mut self, given: Given<'_>) -> Result<Init> {
        let Some(container) = &self.container else {
            return Err(Error::new(Kind::System, "nothing to restore"));
        };
        let dir = container.dir.clone();
        self.make_cgroup(&dir)?;
        if !given.words.no_new_keyring {
            let in_user_namespace = given.plan.namespaces.has(libc::CLONE_NEWUSER);
            enter_keyring(&self.record.id, in_user_namespace)?; // criu and all it restores inherit it
        }

        let place = dir.join("criu-root");
        files::create_dir(&place).with_context(|| format!("create {}", place.display()))?;
        let place = files::canonicalize(&place).on("find", &place)?;
        stage::in_private_mounts(|| stage::make_mount_points(given.plan, &place))?;
        let passed: Vec<_> = given.namespaces.iter().map(|(_, file)| file.as_fd()).collect();
        // criu mounts in its working folder, so that must be of its own mount namespace too.
        let (service, folders) = stage::in_private_mounts(|| {
            stage::attach_root(&given.plan.rootfs, &place)?;
            let folders = Folders::open(&given.words.both, false)?;
            Ok((Service::start(Streams::Ours, &passed)?, folders))
        })?;
        self.record.cgroup.admit(&self.record.id, service.pid(), &self.record.config)?;
        let mut service = service.logging_to(folders.log(LOG)?);
        let mut options = options(&given, &folders, &self.record)?;
        options.text(Text::Root, &place);
        add_cgroup_roots(&mut options, service.pid())?;

        let mut init = None;
        let request = Request::with_options(Type::Restore, &options);
        service.ask(&request, &mut |notification| match notification.script.as_str() {
            "setup-namespaces" => prepare_namespaces(given.plan, &self.record, notification.pid),
            "orphan-pts-master" => hand_over_terminal(&given.console, notification),
            "post-restore" => {
                init = Some(adopt(notification.pid)?);
                self.record.init = Some(Identity::of(notification.pid)?);
                self.record.save(&dir)
            }
            _ => Ok(()),
        })?;
        service.end(Type::Restore)?;
        let mut init =
            init.ok_or_else(|| Error::new(Kind::System, "criu did not tell of the restored init"))?;
        files::remove_dir(&place).with_context(|| format!("remove {}", place.display()))?;
        self.record.complete = true;
        self.record.save(&dir)?;
        if let Some(path) = &given.words.pid_file {
            write_atomically(path, init.pid.to_string().as_bytes())?;
        }
        init.release();
        Ok(init)
    }
}

fn options(given: &Given<'_>, folders: &Folders, record: &Record) -> Result<Options> {
    let words = given.words;
    let mut options = folders.options(&words.both, record, LOG)?;
    options.flag(Flag::EvasiveDevices, true);
    options.flag(Flag::RestoreSibling, true); // so that init is our child
    for name in external::for_restore(given.plan, &record.cgroup)? {
        options.text(Text::External, name);
    }
    for (name, file) in &given.namespaces {
        options.inherit(name, file.as_fd());
    }
    for (kind, path) in joined_namespaces(given.plan)? {
        options.join_namespace(kind, path);
    }
    let ours = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (name, fd) in given.streams.iter().zip([ours.0.as_fd(), ours.1.as_fd(), ours.2.as_fd()]) {
        if name.starts_with("pipe:") {
            options.inherit(name, fd);
        }
    }
    if let Some(profile) = &words.lsm_profile {
        if !profile.contains(':') {
            return Err(Error::invalid(format!("--lsm-profile: {profile:?} is not TYPE:NAME")));
        }
        options.text(Text::LsmProfile, profile);
    }
    if let Some(context) = &words.lsm_mount_context {
        options.text(Text::LsmMountContext, context);
    }
    Ok(options)
}

/// Opens the namespaces that criu takes as things from outside.
fn open_namespaces(plan: &Plan) -> Result<Vec<(&'static str, File)>> {
    let mut result = Vec::new();
    for (kind, flag, name) in external::NAMESPACES {
        if let Some((_, path)) = plan.namespaces.join.iter().find(|(joined, _)| *joined == flag) {
            let file =
                files::open(path).with_context(|| format!("open {kind} namespace {}", path.display()))?;
            result.push((name, file));
        }
    }
    Ok(result)
}

/// The other namespaces to join, by criu's names for them.
fn joined_namespaces(plan: &Plan) -> Result<Vec<(&'static str, &PathBuf)>> {
    let outside = |flag: i32| external::NAMESPACES.iter().any(|(_, known, _)| *known == flag);
    let rest = plan.namespaces.join.iter().filter(|(flag, _)| !outside(*flag));
    let name = |flag: i32| match flag {
        libc::CLONE_NEWIPC => Some("ipc"),
        libc::CLONE_NEWUTS => Some("uts"),
        libc::CLONE_NEWUSER => Some("user"),
        libc::CLONE_NEWTIME => Some("time"),
        _ => None,
    };
    rest.map(|(flag, path)| {
        let refused = || {
            let message = format!("linux.namespaces: criu can't restore into {}", path.display());
            Error::new(Kind::Unsupported, message)
        };
        Ok((name(*flag).ok_or_else(refused)?, path))
    })
    .collect()
}

fn connect_console(words: &Restore, plan: &Plan) -> Result<(Option<Relay>, Option<OwnedFd>)> {
    let terminal = plan.process.as_ref().is_some_and(|process| process.terminal.is_some());
    match (&words.console_socket, terminal) {
        (Some(path), true) => Ok((None, Some(socket::connect("console socket", path)?))),
        (Some(_), false) => Err(Error::invalid("--console-socket: the process has no terminal")),
        (None, true) if words.detach => Err(Error::invalid(
            "process.terminal: cannot allocate tty if wharf-runtime will detach without --console-socket",
        )),
        (None, true) => Relay::prepare().map(|(relay, theirs)| (Some(relay), Some(theirs))),
        (None, false) => Ok((None, None)),
    }
}

/// criu makes the control groups of the images anew, below those that it is itself in.
fn add_cgroup_roots(options: &mut Options, criu: i32) -> Result<()> {
    let path = format!("/proc/{criu}/cgroup");
    let text = files::read_to_string(&path).with_context(|| format!("read {path}"))?;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        for controller in controllers.split(',') {
            options.cgroup_root(controller, path);
        }
    }
    Ok(())
}

/// The new namespaces are there and nothing is in them yet: a network's content is not in the images.
fn prepare_namespaces(plan: &Plan, record: &Record, pid: i32) -> Result<()> {
    if plan.namespaces.creates(libc::CLONE_NEWNET) {
        network::set_loopback_up(pid)?;
    }
    let state = record.state(Status::Created, pid);
    hooks::run("prestart", &plan.hooks.prestart, &state)?;
    hooks::run("createRuntime", &plan.hooks.create_runtime, &state)
}

fn hand_over_terminal(console: &Option<OwnedFd>, notification: Notification) -> Result<()> {
    match (console, notification.fd) {
        (Some(given), Some(leader)) => socket::send(given, &leader, b"/dev/ptmx"),
        (None, _) => Err(Error::invalid("the images hold a terminal, and process.terminal is not set")),
        (_, None) => Err(Error::new(Kind::System, "criu did not send the terminal")),
    }
}

/// The restored init is our child but not of our making: it has nothing to say to us.
fn adopt(pid: i32) -> Result<Init> {
    let (ours, _theirs) = sync::pair()?;
    Init::adopt(pid, ours)
}
