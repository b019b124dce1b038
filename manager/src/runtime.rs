//! The OCI runtime as a process: one method per verb of the command line that runc defined, so that
//! any runtime which speaks it can stand in. What went wrong is read from its log, whose last record
//! of level error is the cause.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::container::store::Container;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;

/// The runtime that is used if none is asked for.
pub const DEFAULT: &str = "wharf-runtime";

/// Longest that a verb which only signals or cleans up may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A runtime with the place of its state and the log of one container.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    root: PathBuf,
    log: PathBuf,
    id: String,
}

impl Runtime {
    /// The runtime of a container, as its record names it.
    pub fn of(container: &Container, paths: &Paths) -> Self {
        Self {
            program: container.record.runtime.clone().into(),
            root: paths.run.join("runtime"),
            log: container.run_dir.join("runtime.log"),
            id: container.record.id.clone(),
        }
    }

    /// `create`: builds the container and leaves its init waiting. Its stdio becomes the container's.
    pub fn create(&self, bundle: &Path, pid_file: &Path, stdio: Stdio3) -> Result<()> {
        let mut command = self.command("create");
        command.arg("--bundle").arg(bundle).arg("--pid-file").arg(pid_file);
        stdio.apply(&mut command);
        command.arg(&self.id);
        let status = command.status().context(self.run_what("create"))?;
        self.check(status, "create")
    }

    /// `start`: lets init go.
    pub fn start(&self) -> Result<()> {
        self.simple("start", &[])
    }

    /// `kill`: sends a signal, by name or number, to init.
    pub fn kill(&self, signal: &str) -> Result<()> {
        let mut command = self.command("kill");
        command.arg(&self.id).arg(signal);
        self.bounded(command, "kill")
    }

    /// `delete`: removes cgroup and state; `force` kills what still runs.
    pub fn delete(&self, force: bool) -> Result<()> {
        self.simple("delete", if force { &["--force"] } else { &[] })
    }

    /// `exec --detach`, not waited for: the caller supervises both it and the process it leaves.
    pub fn spawn_exec(&self, process: &Path, pid_file: &Path, stdio: Stdio3) -> Result<Child> {
        let mut command = self.command("exec");
        command.arg("--process").arg(process).arg("--pid-file").arg(pid_file).arg("--detach");
        stdio.apply(&mut command);
        command.arg(&self.id);
        command.spawn().context(self.run_what("exec"))
    }

    /// The same runtime with its log elsewhere, so that concurrent verbs don't read each other's.
    pub fn with_log(&self, log: PathBuf) -> Self {
        Self { log, ..self.clone() }
    }

    /// Turns a failed verb into the error that its log names.
    pub fn check(&self, status: ExitStatus, verb: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let message = self.logged_error().unwrap_or_else(|| format!("{verb}: {status}"));
        let kind = kind_of(&message);
        Err(Error::new(kind, format!("OCI runtime {verb} failed: {message}")))
    }

    fn simple(&self, verb: &str, flags: &[&str]) -> Result<()> {
        let mut command = self.command(verb);
        command.args(flags).arg(&self.id);
        self.bounded(command, verb)
    }

    /// Runs a verb that must not take long; one that does is killed.
    fn bounded(&self, mut command: Command, verb: &str) -> Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context(self.run_what(verb))?;
        let deadline = Instant::now() + PATIENCE;
        if !wait_until(&child, deadline)? {
            child.kill().context(self.run_what(verb))?;
            child.wait().context(self.run_what(verb))?;
            return Err(Error::new(
                Kind::System,
                format!("{}: no answer within {PATIENCE:?}", self.run_what(verb)),
            ));
        }
        let status = child.wait().context(self.run_what(verb))?;
        self.check(status, verb)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(&self.log).args([
            "--log-format",
            "json",
            verb,
        ]);
        // A fresh log, so that the last error in it is this verb's; a log that can't be emptied
        // costs at worst a stale message.
        if let Err(error) = fs::remove_file(&self.log) {
            log::debug!("remove {}: {error}", self.log.display());
        }
        // Its own process group: a Ctrl-C for the client is not for the runtime.
        command.process_group(0);
        command
    }

    fn run_what(&self, verb: &str) -> String {
        format!("run {} {verb}", self.program.display())
    }

    fn logged_error(&self) -> Option<String> {
        let mut text = String::new();
        fs::File::open(&self.log).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
        last_error(&text)
    }
}

/// The three streams for a process in a container, or a console socket instead.
#[derive(Debug)]
pub struct Stdio3 {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// Where the runtime sends the terminal's leader.
    pub console_socket: Option<PathBuf>,
}

impl Stdio3 {
    fn apply(self, command: &mut Command) {
        command.stdin(self.stdin).stdout(self.stdout).stderr(self.stderr);
        if let Some(socket) = self.console_socket {
            command.arg("--console-socket").arg(socket);
        }
    }
}

/// The runtime's executable: a path as it is, a name beside our own executable or on PATH.
pub fn find(name: Option<&str>) -> Result<String> {
    let name = name.unwrap_or(DEFAULT);
    if name.contains('/') {
        let path = fs::canonicalize(name).context(format!("find runtime {name}"))?;
        return Ok(path.to_string_lossy().into_owned());
    }
    let ours = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ours
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file());
    found.map(|file| file.to_string_lossy().into_owned()).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("find runtime {name}: neither beside wharf nor on PATH"))
    })
}

/// Waits for a child by its pidfd, without reaping it. False if the deadline passed.
fn wait_until(child: &Child, deadline: Instant) -> Result<bool> {
    let pid = rustix::process::Pid::from_child(child);
    let pidfd =
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).context("open pidfd")?;
    crate::shim::wait_readable(&pidfd, Some(deadline))
}

/// The message of the last record of level error in a JSON log.
fn last_error(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).ok()?;
        (record["level"] == "error").then(|| record["msg"].as_str().map(str::to_owned))?
    })
}

/// What the texts that engines match mean, see docker's exit codes 126 and 127.
fn kind_of(message: &str) -> Kind {
    let message = message.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has(&["executable file not found", "no such file or directory"]) {
        Kind::CommandNotFound
    } else if has(&["permission denied", "is a directory", "exec format error"]) {
        Kind::NotExecutable
    } else {
        Kind::System
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_the_cause() {
        let log = "{\"level\":\"error\",\"msg\":\"one\"}\n{\"level\":\"error\",\"msg\":\"two\"}\n{\"level\":\"info\",\"msg\":\"x\"}\nbroken";
        assert_eq!(last_error(log).as_deref(), Some("two"));
        assert_eq!(last_error("nothing"), None);
    }

    #[test]
    fn messages_choose_dockers_exit_codes() {
        assert_eq!(kind_of("exec: \"x\": executable file not found in $PATH"), Kind::CommandNotFound);
        assert_eq!(kind_of("exec: \"/etc\": permission denied"), Kind::NotExecutable);
        assert_eq!(kind_of("cgroup busy"), Kind::System);
    }
}
