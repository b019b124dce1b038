//! One run of one runtime on a bundle: what the program inside printed, and how the runtime ended.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use serde_json::Value;

use crate::place::Host;
use crate::view;

/// What one runtime made of a config.
pub struct Outcome {
    /// Whether the program ran and the runtime had nothing to complain about.
    pub accepted: bool,
    /// The exit code.
    pub code: i32,
    /// The view, made comparable.
    pub lines: Vec<String>,
    /// Standard error; with a terminal, what the program did not print.
    pub err: String,
}

impl Outcome {
    /// How it ended; the last word on standard error is the error, warnings come before it.
    pub fn summary(&self) -> String {
        let first = self.lines.first().map_or("", String::as_str);
        format!("{} {first:?} {:?}", self.code, self.err.trim().lines().last().unwrap_or_default())
    }
}

/// Runs `runtime` on the bundle as the container `id` in the foreground, with a terminal if the config wants one.
pub fn run(runtime: &Path, (host, id): (&Host, &str), state: &Path, config: &Value) -> Outcome {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60"]).arg(runtime).arg("--root").arg(state);
    command.args(["run", "--bundle"]).arg(&host.bundle).arg(id);
    let (code, out, err) =
        if config["process"]["terminal"] == true { in_terminal(command) } else { piped(command, state) };
    let complained = err.contains(" run failed: ");
    let accepted = out.starts_with("begin\n") && !complained;
    Outcome { accepted, code, lines: view::lines(&out, id), err }
}

/// Output goes to files: a process that outlives the runtime must not hold anybody up.
fn piped(mut command: Command, state: &Path) -> (i32, String, String) {
    let (out, err) = (state.with_extension("out"), state.with_extension("err"));
    let file = |path: &Path| Stdio::from(File::create(path).unwrap());
    let status = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).status().unwrap();
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    (status.code().unwrap_or(-1), read(&out), read(&err))
}

fn in_terminal(mut command: Command) -> (i32, String, String) {
    let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(Some(&size), None).unwrap();
    let follower = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = command.stdin(follower()).stdout(follower()).stderr(follower()).spawn().unwrap();
    drop(command); // it has the follower too
    drop(pair.slave);
    let mut leader = File::from(pair.master);
    let mut all = Vec::new();
    // Who is left behind may hold the terminal for ever, so its end is that of the runtime, with nothing to read.
    while read_some(&mut leader, &mut all) || child.try_wait().unwrap().is_none() {}
    let code = child.wait().unwrap().code().unwrap_or(-1);
    let text = String::from_utf8_lossy(&all).replace("\r\n", "\n");
    let log = ["level=", "\u{1b}[3", "wharf-runtime: ", "wharf-runtime run"]; // runc colours what goes to a terminal
    let (err, out): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| log.iter().any(|word| line.contains(word)));
    (code, out.join("\n") + "\n", err.join("\n"))
}

/// Waits a little for output; says whether there was any. Reading a terminal that nobody has open is an error.
fn read_some(leader: &mut File, all: &mut Vec<u8>) -> bool {
    let mut part = [0; 4096];
    let ready =
        poll(&mut [PollFd::new(leader.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20u8)).unwrap() > 0;
    let count = if ready { leader.read(&mut part).unwrap_or(0) } else { 0 };
    all.extend_from_slice(&part[..count]);
    count > 0
}
