//! `exec`: a further process in a running container.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};

use super::create::set_oom_score;
use super::foreground::{self, Relay};
use super::open;
use crate::cli::Globals;
use crate::cli::verbs::Exec;
use crate::container::record::{Record, write_atomically};
use crate::container::status;
use crate::error::{Context, Error, Kind, Result};
use crate::init::exec::{self, Inheritance};
use crate::launch::console;
use crate::launch::spawn::{Join, spawn};
use crate::launch::sync::Message;
use crate::plan::namespaces::{KINDS, Namespaces};
use crate::plan::process::ProcessPlan;
use crate::plan::seccomp;
use crate::spec::state::Status;
use crate::spec::{Process, User};

/// What a failed `exec` exits with: 1 could be the program's own (as runc).
pub const FAILED: i32 = 255;

/// The verb.
pub fn exec(globals: &Globals, words: &Exec) -> Result<i32> {
    let id = words.id_and_command.first().map(String::as_str).unwrap_or_default();
    enter(globals, words, id).with_context(|| format!("exec in {id:?}"))
}

fn enter(globals: &Globals, words: &Exec, id: &str) -> Result<i32> {
    let (container, record) = open(globals, id)?;
    match status::derive(&container.dir, &record) {
        Status::Stopped => return Err(Error::new(Kind::WrongStatus, "cannot exec in a stopped container")),
        Status::Paused if !words.ignore_paused => {
            let message = "cannot exec in a paused container (use --ignore-paused to override)";
            return Err(Error::new(Kind::WrongStatus, message));
        }
        _ => {}
    }
    let init =
        record.init.ok_or_else(|| Error::new(Kind::WrongStatus, "cannot exec in a stopped container"))?;
    // From the saved config, never from the bundle: edits of that must change nothing any more.
    let process = resolve_process(words, &record)?;
    let plan = ProcessPlan::resolve(&process)?;
    let linux = record.config.linux.clone().unwrap_or_default();
    let filter = linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    let in_user_namespace = Namespaces::resolve(&linux)?.has(libc::CLONE_NEWUSER);
    let pidfd = Pid::from_raw(init.pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    let pidfd = pidfd.ok_or_else(|| Error::new(Kind::System, "no init"))?.context("open pidfd of init")?;
    if !init.is_alive() {
        return Err(Error::new(Kind::WrongStatus, "cannot exec in a stopped container")); // asked of what is pinned
    }
    let (relay, console) = connect_console(words, &plan)?;
    let join = Join::Process(pidfd, differing_namespaces(init.pid)?);
    let given = Inheritance {
        process: &plan,
        seccomp: filter.as_ref(),
        in_user_namespace,
        console,
        preserve_fds: words.preserve_fds,
    };
    let mut entered = spawn(0, &join, |runtime| exec::run(given, runtime))?;
    record.cgroup.join(entered.pid)?;
    if let Some(score) = plan.oom_score_adj {
        set_oom_score(entered.pid, score)?;
    }
    entered.tell(&Message::Mapped)?;
    let leader = relay.map(Relay::receive_leader);
    entered.wait_for_execution()?;
    if let Some(path) = &words.pid_file {
        write_atomically(path, entered.pid.to_string().as_bytes())?;
    }
    entered.release();
    if words.detach { Ok(0) } else { foreground::wait(&entered, leader.transpose()?) }
}

fn connect_console(words: &Exec, plan: &ProcessPlan) -> Result<(Option<Relay>, Option<OwnedFd>)> {
    match (&words.console_socket, plan.terminal.is_some()) {
        (Some(path), true) => Ok((None, Some(console::connect(path)?))),
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
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        return serde_json::from_str(&text)
            .map_err(|e| Error::invalid(e.to_string()))
            .with_context(|| format!("parse {}", path.display()));
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
    if let Some(user) = &words.user {
        let (uid, gid) = parse_user(user)?;
        process.user = User { uid, gid: gid.unwrap_or(0), ..process.user };
    }
    // Without sets in the config the process keeps all that the runtime has, and there is nothing to add.
    if let Some(sets) = &mut process.capabilities {
        for capability in &words.cap {
            // Not inheritable and not ambient: those would hand it on to files unasked (CVE-2022-29162).
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                set.push(capability.clone());
            }
        }
    }
    Ok(process)
}

/// `UID[:GID]`, plain decimal numbers below 2³².
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
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
            std::fs::read_link(format!("/proc/{who}/ns/{file}"))
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
