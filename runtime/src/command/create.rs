//! `create`: load, resolve, record, make; and undo all of it if anything goes wrong (runtime.md, "Create":
//! an error must leave things as if create had never been asked for).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::output;
use crate::cgroup::Cgroup;
use crate::cli::Globals;
use crate::cli::verbs::{Create, Making};
use crate::container::Container;
use crate::container::fifo;
use crate::container::id::ContainerId;
use crate::container::record::{Identity, Record, write_atomically};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::init::{self, Inheritance};
use crate::launch::spawn::{Join, spawn};
use crate::launch::sync::Message;
use crate::launch::{Init, console, idmap, sources};
use crate::plan::seccomp::Program;
use crate::plan::{Plan, seccomp};
use crate::spec;
use crate::spec::state::Status;

/// The verb.
pub fn create(globals: &Globals, words: &Create) -> Result<()> {
    let (id, making, named_by_bundle) = resolve_id(&words.id, &words.making)?;
    if making.console_socket.is_none() && wants_terminal(&making.bundle) {
        return Err(Error::invalid(
            "process.terminal: cannot allocate tty if wharf-runtime will detach without --console-socket",
        ));
    }
    make(globals, &id, &making, None).with_context(|| format!("create {:?}", id.as_str()))?;
    if named_by_bundle {
        writeln!(output(), "{}", id.as_str())?;
    }
    Ok(())
}

fn wants_terminal(bundle: &Path) -> bool {
    spec::load(bundle).is_ok_and(|spec| spec.process.is_some_and(|process| process.terminal))
}

/// A lone word with a slash can't be an ID: it is the bundle, and its folder's name is the ID.
pub fn resolve_id(word: &str, making: &Making) -> Result<(ContainerId, Making, bool)> {
    if !word.contains('/') || making.bundle != Path::new(".") {
        return Ok((word.parse()?, making.clone(), false));
    }
    let bundle = std::fs::canonicalize(word).with_context(|| format!("open bundle {word}"))?;
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
    console: Option<std::os::fd::OwnedFd>,
) -> Result<Made> {
    let bundle: PathBuf = std::fs::canonicalize(&making.bundle)
        .with_context(|| format!("open bundle {}", making.bundle.display()))?;
    let spec = spec::load(&bundle)?;
    // All that can be wrong with the config is found before anything is touched.
    let plan = Plan::resolve(id.as_str(), &bundle, &spec)?;
    let linux = spec.linux.clone().unwrap_or_default();
    let program = linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    let cgroup = Cgroup::resolve(&linux.cgroups_path, id.as_str())?;
    let opened = sources::open(&plan)?;
    let console = match (&making.console_socket, plan.process.as_ref().and_then(|p| p.terminal)) {
        (Some(path), Some(_)) => Some(console::connect(path)?),
        (Some(_), None) => return Err(Error::invalid("--console-socket: the process has no terminal")),
        (None, _) => console,
    };
    for warning in plan.process.iter().flat_map(|process| &process.warnings) {
        log::warn!("{warning}");
    }

    let container = Container::reserve(&globals.root, id)?;
    if let Err(error) = cgroup.refuse_used() {
        container.remove()?;
        return Err(error);
    }
    let record = Record {
        id: id.as_str().to_owned(),
        bundle,
        rootfs: plan.rootfs.clone(),
        created: super::time::now(),
        creator: Identity::of(std::process::id() as i32)
            .ok_or_else(|| Error::new(Kind::System, "read /proc/self/stat"))?,
        init: None,
        complete: false,
        cgroup,
        config: spec,
    };
    let mut undo = Undo { container: Some(container), record };
    let init = undo.build(&plan, program.as_ref(), opened, console, making)?;
    let Undo { container, record } = &mut undo;
    match container.take() {
        Some(container) => Ok(Made { container, record: record.clone(), init }),
        None => Err(Error::new(Kind::System, "the container is gone")),
    }
}

/// What has been made so far; dropped before the end, it is unmade. The init kills itself (see [`Init`]), and
/// is dropped, that is waited for, before this.
struct Undo {
    container: Option<Container>,
    record: Record,
}

impl Undo {
    fn build(
        &mut self,
        plan: &Plan,
        program: Option<&Program>,
        opened: sources::Sources,
        console: Option<std::os::fd::OwnedFd>,
        making: &Making,
    ) -> Result<Init> {
        let Some(container) = &self.container else {
            return Err(Error::new(Kind::System, "nothing to build"));
        };
        let dir = container.dir.clone();
        self.record.save(&dir)?; // the intent, before the resource
        let parked = fifo::create(&dir)?;
        self.record.cgroup.create()?;
        let resources = self.record.config.linux.as_ref().and_then(|linux| linux.resources.clone());
        self.record.cgroup.apply(&resources.unwrap_or_default())?;

        let record = &self.record;
        let given = Inheritance {
            plan,
            record,
            cgroup: &record.cgroup,
            seccomp: program,
            sources: opened,
            parked,
            console,
            no_pivot: making.no_pivot,
            no_new_keyring: making.no_new_keyring,
            preserve_fds: making.preserve_fds,
        };
        let join = Join::Paths(plan.namespaces.join.clone());
        let mut init = spawn(plan.namespaces.create, &join, |runtime| init::run(given, runtime))?;
        self.record.init = Identity::of(init.pid);
        record_and_prepare(&self.record, &dir, plan, &init)?;
        init.tell(&Message::Mapped)?;
        init.wait_for(&Message::RunHooks)?;
        let state = self.record.state(Status::Creating, init.pid);
        hooks::run("prestart", &plan.hooks.prestart, &state)?;
        hooks::run("createRuntime", &plan.hooks.create_runtime, &state)?;
        init.tell(&Message::HooksDone)?;
        init.wait_for(&Message::Ready)?;
        self.record.complete = true;
        self.record.save(&dir)?;
        if let Some(path) = &making.pid_file {
            write_atomically(path, init.pid.to_string().as_bytes())?;
        }
        init.tell(&Message::Release)?;
        init.wait_for_execution()?;
        init.release();
        Ok(init)
    }
}

/// What only the parent can do for the new process.
fn record_and_prepare(record: &Record, dir: &Path, plan: &Plan, init: &Init) -> Result<()> {
    record.save(dir)?;
    record.cgroup.join(init.pid)?;
    if plan.namespaces.creates(libc::CLONE_NEWUSER) {
        idmap::write(init.pid, &plan.namespaces.uid_map, &plan.namespaces.gid_map)?;
    }
    if let Some(score) = plan.process.as_ref().and_then(|process| process.oom_score_adj) {
        set_oom_score(init.pid, score)?;
    }
    Ok(())
}

/// Writes proc(5) oom_score_adj of a process of ours.
pub fn set_oom_score(pid: i32, score: i32) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(&path, score.to_string())
        .with_context(|| format!("process.oomScoreAdj: write {score} to {path}"))
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        let steps = [
            self.record.cgroup.kill(nix::sys::signal::Signal::SIGKILL),
            self.record.cgroup.remove(),
            container.remove(),
        ];
        for error in steps.into_iter().filter_map(Result::err) {
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
