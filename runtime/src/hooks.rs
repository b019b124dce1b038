//! Runs one list of hooks with the container's state on standard input (config.md, "POSIX-platform Hooks").
//!
//! State and output go through memory files, not pipes: a hook that reads nothing or prints a lot can't
//! block us, and we need neither threads nor a poll loop over three streams.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::spec::Hook;
use crate::spec::state::State;
use crate::sys::again::again;
use crate::sys::spawn::{Program, Running};
use crate::sys::stream::Stream;

/// The most of a failed hook's output that goes into the error, in bytes.
const OUTPUT_SHOWN: u64 = 1024;

/// Where hooks run, and with what environment unless they have their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting<'a> {
    /// The working directory; `None` leaves it as it is.
    pub directory: Option<&'a Path>,
    /// `None`: that of this process.
    pub env: Option<&'a [CString]>,
}

/// Runs `hooks` in order in the bundle, as runc, and stops at the first failure.
pub fn run(kind: &str, hooks: &[Hook], state: &State) -> Result<()> {
    run_in(Setting::of_runtime(state), kind, hooks, state)
}

/// As [`run`], elsewhere.
pub fn run_in(setting: Setting<'_>, kind: &str, hooks: &[Hook], state: &State) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| numbered(setting, (kind, index), hook, state))
}

/// Runs all `hooks`, whatever each one's outcome, and returns the failures (runtime.md, "Lifecycle", 13: a
/// failing poststop hook is a warning).
pub fn run_all(kind: &str, hooks: &[Hook], state: &State) -> Vec<Error> {
    let setting = Setting::of_runtime(state);
    let one = |(index, hook)| numbered(setting, (kind, index), hook, state).err();
    hooks.iter().enumerate().filter_map(one).collect()
}

impl<'a> Setting<'a> {
    fn of_runtime(state: &'a State) -> Setting<'a> {
        Setting { directory: Some(state.bundle.as_path()).filter(|bundle| bundle.is_dir()), env: None }
    }
}

/// In the words of runc, by which users search.
fn numbered(setting: Setting<'_>, (kind, index): (&str, usize), hook: &Hook, state: &State) -> Result<()> {
    run_one(setting, hook, state)
        .with_context(|| format!("error running {kind} hook #{index}: {}", hook.path.display()))
        .map_err(|error| error.about(format!("hooks.{kind}[{index}]")))
}

fn run_one(setting: Setting<'_>, hook: &Hook, state: &State) -> Result<()> {
    let json = serde_json::to_vec(state).map_err(|e| Error::new(Kind::System, e.to_string()))?;
    let mut input = memory_file().context("make a file for the state")?;
    Stream(&input).write_all(&json).context("write the state for it")?;
    again(|| input.rewind()).context("rewind the state")?;
    let mut output = memory_file().context("make a file for its output")?;
    let path = c_string(hook.path.as_os_str())?;
    let args = match hook.args.is_empty() {
        true => vec![path.clone()],
        false => hook.args.iter().map(c_string).collect::<Result<_>>()?,
    };
    let env = environment(setting, hook)?;
    let directory = setting.directory.map(|directory| c_string(directory.as_os_str())).transpose()?;
    let program = Program {
        path: &path,
        args: &args,
        env: &env,
        directory: directory.as_deref(),
        input: input.as_fd(),
        output: output.as_fd(),
    };
    let child = program.spawn().context("execute")?;
    let status = match hook.timeout {
        None => wait(&child)?,
        Some(seconds) => match wait_at_most(&child, seconds)? {
            Some(status) => status,
            None => return Err(Error::new(Kind::System, format!("timeout of {seconds} s: killed"))),
        },
    };
    if status.exit_status() == Some(0) {
        return Ok(());
    }
    let mut text = Vec::new();
    again(|| output.rewind()).context("rewind its output")?;
    Stream(output).take(OUTPUT_SHOWN).read_to_end(&mut text).context("read its output")?;
    let text = String::from_utf8_lossy(&text);
    Err(Error::new(Kind::System, format!("{}, output: {}", describe(status), text.trim_end())))
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Error::invalid("holds a NUL"))
}

/// The hook's own environment, or that of its setting. Of entries with one name the last counts; what is none is left
/// out.
fn environment(setting: Setting<'_>, hook: &Hook) -> Result<Vec<CString>> {
    let all: Vec<CString> = match (&hook.env, setting.env) {
        (Some(env), _) => env.iter().map(c_string).collect::<Result<_>>()?,
        (None, Some(env)) => env.to_vec(),
        (None, None) => {
            let own =
                std::env::vars_os().map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='));
            own.filter_map(|entry| CString::new(entry).ok()).collect()
        }
    };
    let named = all.into_iter().filter_map(|entry| {
        let end = entry.to_bytes().iter().position(|byte| *byte == b'=')?;
        Some((entry.to_bytes().iter().take(end).copied().collect::<Vec<u8>>(), entry))
    });
    Ok(BTreeMap::from_iter(named).into_values().collect())
}

fn describe(status: WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}", crate::sys::process::signal_text(signal)),
        (None, None) => "an unknown end".to_owned(),
    }
}

fn wait(child: &Running) -> Result<WaitIdStatus> {
    let status = again(|| rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED));
    status.context("wait for it")?.ok_or_else(|| Error::new(Kind::System, "it has no exit status"))
}

fn wait_at_most(child: &Running, seconds: i64) -> Result<Option<WaitIdStatus>> {
    let deadline = Deadline::after(Duration::from_secs(seconds.unsigned_abs()));
    loop {
        let timeout = deadline.left().map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(|_| Error::invalid("timeout is out of range"))?;
        let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => break,
            Ok(_) => return wait(child).map(Some),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno).context("wait for it"),
        }
    }
    again(|| rustix::process::kill_process_group(child.pid, Signal::KILL)).context("kill it")?;
    wait(child)?;
    Ok(None)
}

fn memory_file() -> Result<File> {
    let file = again(|| rustix::fs::memfd_create(c"hook", MemfdFlags::CLOEXEC));
    Ok(file.context("create memory file")?.into())
}
