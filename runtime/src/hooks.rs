//! Runs one list of hooks with the container's state on standard input (config.md, "POSIX-platform Hooks").
//!
//! State and output go through memory files, not pipes: a hook that reads nothing or prints a lot can't
//! block us, and we need neither threads nor a poll loop over three streams.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::spec::Hook;
use crate::spec::state::State;
use crate::sys::process::die_with_parent;

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
    let mut input = memory_file()?;
    input.write_all(&json)?;
    input.rewind()?;
    let mut output = memory_file()?;
    let mut command = Command::new(&hook.path);
    if let Some((zeroth, rest)) = hook.args.split_first() {
        command.arg0(zeroth).args(rest);
    }
    if let Some(env) = &hook.env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    } else if let Some(env) = setting.env {
        let pairs = env.iter().filter_map(|entry| split_entry(entry.to_bytes()));
        command.env_clear().envs(pairs);
    }
    if let Some(directory) = setting.directory {
        command.current_dir(directory);
    }
    command
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(output.try_clone()?));
    // It must not go on for ever when nobody is there any more to wait for it.
    die_with_parent(&mut command);
    // A group of its own, so that on a timeout the hook's children end with it.
    let mut child = command.process_group(0).spawn()?;
    let status = match hook.timeout {
        None => child.wait()?,
        Some(seconds) => match wait_at_most(&mut child, seconds)? {
            Some(status) => status,
            None => return Err(Error::new(Kind::System, format!("timeout of {seconds} s: killed"))),
        },
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    output.rewind()?;
    output.take(OUTPUT_SHOWN).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Err(Error::new(Kind::System, format!("{}, output: {}", describe(status), text.trim_end())))
}

fn split_entry(entry: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let mut parts = entry.splitn(2, |byte| *byte == b'=');
    Some((OsStr::from_bytes(parts.next()?), OsStr::from_bytes(parts.next()?)))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}", crate::sys::process::signal_text(signal)),
        (None, None) => status.to_string(),
    }
}

fn wait_at_most(child: &mut std::process::Child, seconds: i64) -> Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Deadline::after(Duration::from_secs(seconds.unsigned_abs()));
    loop {
        let timeout = deadline.left().map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(|_| Error::invalid("timeout is out of range"))?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => break,
            Ok(_) => return Ok(Some(child.wait()?)),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    rustix::process::kill_process_group(pid, Signal::KILL)?;
    child.wait()?;
    Ok(None)
}

fn memory_file() -> Result<File> {
    Ok(rustix::fs::memfd_create(c"hook", MemfdFlags::CLOEXEC)?.into())
}
