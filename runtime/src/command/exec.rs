//! `exec`: a further process in a running container.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::create::introduce_to_agent;
use super::foreground::{self, Relay, Signals};
use super::{init_of, open};
use crate::cgroup::{Below, allow_every_cpu};
use crate::cli::Globals;
use crate::cli::verbs::Exec;
use crate::container::births::Births;
use crate::container::record::{Identity, Record, write_atomically};
use crate::container::{Container, status};
use crate::error::{Context, Error, Kind, Result};
use crate::init::attributes::Shared;
use crate::init::exec::{self, Inheritance};
use crate::init::namespaces::Owner;
use crate::init::passed::PassedFds;
use crate::launch::spawn::{Birth, Join, spawn};
use crate::launch::sync::Message;
use crate::launch::{Init, host, socket};
use crate::plan::findings::Findings;
use crate::plan::namespaces::KINDS;
use crate::plan::process::ProcessPlan;
use crate::plan::{scheduling, seccomp};
use crate::spec::state::Status;
use crate::spec::{Process, User, from_json};
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::scheduling::sched_setaffinity;

/// What a failed `exec` exits with: 1 could be the program's own (as runc).
pub const FAILED: i32 = 255;

/// The verb.
pub fn exec(globals: &Globals, words: &Exec) -> Result<i32> {
    let id = words.id_and_command.first().map(String::as_str).unwrap_or_default();
    enter(globals, words, id).context("exec failed")
}

fn enter(globals: &Globals, words: &Exec, id: &str) -> Result<i32> {
    let (container, record) = open(globals, id)?;
    let init = init_of(&record)?;
    let (entered, signals, leader) = launch(words, &container, &record, init).map_err(|error| {
        // What went wrong in detail is but a consequence.
        match (container.is_there().unwrap_or(true), init.is_running().unwrap_or(true)) {
            (false, _) => container.does_not_exist(),
            (true, false) => stopped(),
            (true, true) => error,
        }
    })?;
    match signals {
        Some(signals) => foreground::wait(&entered, signals, leader),
        None => Ok(0),
    }
}

fn stopped() -> Error {
    Error::new(Kind::WrongStatus, "cannot exec in a stopped container")
}

/// Follows the process until it has become the program. The second is there for who waits for its end, the third is its terminal's leader.
fn launch(
    words: &Exec,
    container: &Container,
    record: &Record,
    init: Identity,
) -> Result<(Init, Option<Signals>, Option<OwnedFd>)> {
    match status::derive(container, record)? {
        Status::Stopped => return Err(stopped()),
        Status::Paused if !words.ignore_paused => {
            let message = "cannot exec in a paused container (use --ignore-paused to override)";
            return Err(Error::new(Kind::WrongStatus, message));
        }
        _ => {}
    }
    // From the saved config, never from the bundle: edits of that must change nothing any more.
    let process = resolve_process(words, record)?;
    let below = Below::parse(&words.cgroup)?;
    let mut findings = Findings::default();
    let plan = ProcessPlan::resolve(&process, &mut findings).annotated(&record.config.annotations);
    host::check_process(&plan, &mut findings);
    findings.into_result()?;
    let linux = record.config.linux.clone().unwrap_or_default();
    let filter = linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    let personality = linux.personality.as_ref().map(scheduling::personality).transpose()?;
    let memory_policy = linux.memory_policy.as_ref().map(scheduling::memory_policy).transpose()?;
    let pidfd = init.pin()?.ok_or_else(stopped)?;
    let (relay, console) = connect_console(words, &plan)?;
    let pidfd_socket = words.pidfd_socket.as_ref().map(|path| socket::connect("pidfd socket", path));
    let pidfd_socket = pidfd_socket.transpose()?;
    let passed = PassedFds::announced(words.preserve_fds);
    passed.check()?;
    passed.close_others()?;
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    let kinds = differing_namespaces(init.pid)?;
    // Where the moment counts at which its processors are chosen, the runtime sees to all of it.
    let doors = plan.exec_affinity.is_none().then(|| record.cgroup.doors_below(&below)).flatten();
    let enters_v1 = doors.is_some();
    let given = Inheritance {
        process: &plan,
        doors,
        seccomp: filter.as_ref(),
        keyring: (!record.no_new_keyring).then_some(record.id.as_str()),
        in_user_namespace: kinds & libc::CLONE_NEWUSER != 0,
        console,
        passed,
        shared: Shared { personality, memory_policy: memory_policy.as_ref() },
        root: (kinds & libc::CLONE_NEWNS == 0).then(|| open_root(init.pid)).transpose()?,
        owner: Owner::current()?,
        births: Births::announce(&container.dir)?,
    };
    let birth = Birth {
        create: 0,
        join: &Join::Process(pidfd, kinds),
        time_offsets: "",
        oom_score_adj: plan.oom_score_adj,
        cgroup: None,
    };
    let mut entered = spawn(&birth, &given.descriptors(), |runtime| exec::run(given, runtime))?;
    enter_groups(record, &plan, (entered.pid, init.pid), (&below, enters_v1))?;
    if !init.is_alive()? {
        return Err(stopped()); // and the groups may be another container's by now; else whoever deletes it ends us
    }
    let signals = (!words.detach).then(Signals::catch).transpose()?;
    entered.tell(&Message::Mapped)?;
    let leader = relay.map(Relay::receive_leader);
    if filter.is_some_and(|filter| filter.notifies()) {
        let pid = entered.pid;
        entered.hand_over_listener(|fd| introduce_to_agent(record, Status::Running, pid, &fd))?;
    }
    entered.wait_for_execution()?;
    if let Some(socket) = &pidfd_socket {
        socket::send(socket, &entered.pidfd, b"pidfd").context("--pidfd-socket")?;
    }
    if let Some(path) = &words.pid_file {
        write_atomically(path, entered.pid.to_string().as_bytes())?;
    }
    entered.release();
    Ok((entered, signals, leader.transpose()?))
}

/// The container's control groups and the like, and the CPUs around them.
fn enter_groups(
    record: &Record,
    plan: &ProcessPlan,
    (pid, init): (i32, i32),
    (below, enters_v1): (&Below, bool),
) -> Result<()> {
    let affinity = plan.exec_affinity.clone().unwrap_or_default();
    if let Some(mask) = &affinity.initial {
        sched_setaffinity(pid, mask).in_field("process.execCPUAffinity.initial")?;
        // In the words of runc's helper, which are the one trace that this leaves.
        log::debug!("nsexec[{pid}]: affinity: {mask}");
    }
    record.cgroup.join_below(pid, below, init, enters_v1)?;
    match (&affinity.initial, &affinity.last) {
        (_, Some(mask)) => sched_setaffinity(pid, mask).in_field("process.execCPUAffinity.final")?,
        (Some(_), None) => {} // the kernel's business (config.md, "execCPUAffinity")
        (None, None) => allow_every_cpu(pid)?,
    }
    record.rdt.as_ref().map_or(Ok(()), |group| group.join(pid))
}

/// The root directory of a container that has no mount namespace which leads there.
fn open_root(pid: i32) -> Result<OwnedFd> {
    let (path, flags) = (format!("/proc/{pid}/root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
    again(|| rustix::fs::open(&path, flags, Mode::empty())).on("open", &path)
}

fn connect_console(words: &Exec, plan: &ProcessPlan) -> Result<(Option<Relay>, Option<OwnedFd>)> {
    match (&words.console_socket, plan.terminal.is_some()) {
        (Some(path), true) => Ok((None, Some(socket::connect("console socket", path)?))),
        (Some(_), false) => Err(Error::invalid("--console-socket: the process has no terminal")),
        (None, true) if words.detach => Err(Error::invalid(
            "--tty: cannot allocate tty if wharf-runtime will detach without --console-socket",
        )),
        (None, true) => Relay::prepare().map(|(relay, theirs)| (Some(relay), Some(theirs))),
        (None, false) => Ok((None, None)),
    }
}

/// The container's process with the command line's changes, or the one in `--process`.
fn resolve_process(words: &Exec, record: &Record) -> Result<Process> {
    let command = words.id_and_command.get(1..).unwrap_or_default();
    if let Some(path) = &words.process {
        let text = files::read_to_string(path).on("read", path)?;
        let mut process: Process = from_json(&text).on("parse", path)?;
        if process.capabilities.is_none() {
            // A document without capabilities gets the container's, never more (as runc).
            process.capabilities = record.config.process.as_ref().and_then(|init| init.capabilities.clone());
        }
        return Ok(process);
    }
    if command.is_empty() {
        return Err(Error::invalid("process args cannot be empty"));
    }
    let mut process = record.config.process.clone().unwrap_or_default();
    process.args = command.to_vec();
    process.terminal = words.tty;
    process.console_size = None;
    process.env.extend(words.env.iter().cloned());
    process.no_new_privileges |= words.no_new_privs;
    process.user.additional_gids.extend(&words.additional_gids);
    if let Some(cwd) = &words.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(label) = &words.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(profile) = &words.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(user) = &words.user {
        let (uid, gid) = parse_user(user)?;
        process.user = User { uid, gid: gid.unwrap_or(0), ..process.user };
    }
    // Without sets in the config the process keeps all that the runtime has, and there is nothing to add.
    if let Some(sets) = &mut process.capabilities {
        for capability in &words.cap {
            // Not inheritable: that would hand it on to files unasked (CVE-2022-29162).
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                set.push(capability.clone());
            }
            // Ambient only if the config lets it be inherited anyway.
            if sets.inheritable.contains(capability) {
                sets.ambient.push(capability.clone());
            }
        }
    }
    Ok(process)
}

/// `UID[:GID]`, plain decimal numbers below 2³².
pub(crate) fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let value = part.parse::<u32>().ok().filter(|value| plain && *value != u32::MAX);
        value.ok_or_else(|| Error::invalid(format!("--user: {text:?} is not UID or UID:GID")))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// The kinds in which init's namespaces are not ours: joining a user namespace one is in already is an error.
fn differing_namespaces(pid: i32) -> Result<i32> {
    let mut kinds = 0;
    for (name, flag) in KINDS {
        let file = match name {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        let link = |who: &str| {
            files::read_link(format!("/proc/{who}/ns/{file}"))
                .with_context(|| format!("read {name} namespace of {who}"))
        };
        if link(&pid.to_string())? != link("self")? {
            kinds |= flag;
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::parse_user;

    #[test]
    fn users_are_plain_numbers() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        for bad in ["", "1:", ":2", "u", "4294967295", "4294967296", "-1", "+1", "0x1", " 1", "1:2:3"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }
}
