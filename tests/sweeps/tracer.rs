//! Runs a command under ptrace(2) and stops every process that it starts at every system call, on the way in and on
//! the way out.
//!
//! A place is called the same in every run: a [`Role`], which says who the process is, and how many calls it has made.
//! So one run lists the points, and in each of the next ones something is done at one of them.
//!
//! Only what the kernel could tell apart is a point: between a call's way out and the next call's way in, a process
//! changes nothing but its own memory. To do something once per state, do it on the way in. A process that is killed
//! there has not made the call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, wait, waitpid};
use syscalls::Sysno;

/// Who a process is: empty for the first one, then which child of whom, counted from 1. `[2, 1]` is the first
/// child of the second child. What was there before the command (see [`Traced::besides`]) is `[0]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(pub Vec<u32>);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "caller")?;
        self.0.iter().try_for_each(|nth| write!(f, ".{nth}"))
    }
}

/// A place that can be found again in the next run: the `call`th system call, from 1, of that process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Whose.
    pub role: Role,
    /// Which.
    pub call: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.role, self.call)
    }
}

/// A process that stands at a system call.
#[derive(Debug)]
pub struct Stop<'a> {
    /// The process, or thread, as we number it.
    pub pid: Pid,
    /// Where it stands.
    pub point: &'a Point,
    /// What it calls; `None` for a number that nobody knows.
    pub call: Option<Sysno>,
    /// The call's arguments.
    pub arguments: [u64; 6],
    /// On the way in, nothing is done yet: `None`. On the way out, what the call returned.
    pub result: Option<i64>,
}

impl Stop<'_> {
    /// Whether the call is still to be made.
    pub fn is_entry(&self) -> bool {
        self.result.is_none()
    }

    /// The NUL-terminated text that an argument points to, cut at 4096 bytes; `None` where there is none.
    pub fn text(&self, argument: usize) -> Option<String> {
        let memory = File::open(format!("/proc/{}/mem", self.pid)).ok()?;
        let mut bytes = vec![0; 4096];
        let length = memory.read_at(&mut bytes, self.arguments[argument]).ok()?; // less, at the end of a mapping
        let end = bytes[..length].iter().position(|byte| *byte == 0).unwrap_or(length);
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// The words that an argument points to; `None` where there are fewer.
    pub fn words<const N: usize>(&self, argument: usize) -> Option<[u64; N]> {
        let memory = File::open(format!("/proc/{}/mem", self.pid)).ok()?;
        let mut bytes = vec![0; N * 8];
        memory.read_exact_at(&mut bytes, self.arguments[argument]).ok()?;
        let mut words = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        Some(std::array::from_fn(|_| words.next().unwrap()))
    }

    /// The call by name.
    pub fn name(&self) -> &'static str {
        self.call.map_or("unknown", |call| call.name())
    }
}

/// What becomes of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Go,
    /// On the way in: the call is not made, and fails with this. As the kernel fails them: close(2) has closed all the
    /// same, and brk(2) has no errors, it answers with the end of memory as it was.
    Fail(Errno),
    /// The first process is killed, and only it.
    KillCaller,
    /// This process is killed.
    KillThis,
    /// All of them are killed.
    KillAll,
}

/// How a traced command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code, or 128+n.
    pub code: i32,
    /// All calls, in the order in which they were stopped at.
    pub calls: Vec<Call>,
    /// Where each process stood when the deadline had passed and all were killed. Empty if it ended by itself.
    pub hung: Vec<String>,
    /// Those that outlived the command and were let go: the container's own, if all is well.
    pub released: Vec<Pid>,
}

/// A call that was made, or was about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where.
    pub point: Point,
    /// Its name.
    pub name: &'static str,
}

/// A command that is to be traced.
#[derive(Debug)]
pub struct Traced<'a> {
    /// Program, arguments, environment and working directory; its streams are not looked at.
    pub command: &'a Command,
    /// Takes standard output and standard error.
    pub output: &'a Path,
    /// Longer than this, and it hangs.
    pub deadline: Duration,
    /// A process that is there already and is traced as well, a parked init for one. It is let go at the end.
    pub besides: Option<Pid>,
}

impl Traced<'_> {
    /// Runs it until the first process has ended; then those that are left are let go. `at` is asked at each stop.
    /// While it is asked, the other processes run on until they come to a call of their own.
    pub fn run(&self, at: impl FnMut(&Stop) -> Action + Send) -> Outcome {
        // Tracees are a thread's. One of their own has no other children to wait for by mistake.
        std::thread::scope(|scope| scope.spawn(|| self.run_here(at)).join()).unwrap()
    }

    fn run_here(&self, at: impl FnMut(&Stop) -> Action) -> Outcome {
        let first = self.spawn();
        let watch = Watch::start(self.deadline);
        let mut tracer = Tracer {
            at,
            first,
            watch: &watch,
            tracees: HashMap::new(),
            early: HashSet::new(),
            calls: Vec::new(),
            code: None,
            doomed: false,
            released: Vec::new(),
            hung: Vec::new(),
        };
        tracer.seize(first, Role::default(), false);
        if let Some(pid) = self.besides {
            tracer.seize(pid, Role(vec![0]), true);
            ptrace::interrupt(pid).unwrap();
            // Out of the call that it is in, which it then begins again, before the command can end that.
            let options = WaitOptions::from_bits_retain(WALL);
            waitpid(rustix::process::Pid::from_raw(pid.as_raw()), options).unwrap();
            resume(pid, None);
        }
        // It waits for this before it becomes the command.
        nix::sys::signal::kill(first, Signal::SIGCONT).unwrap();
        tracer.follow();
        let Tracer { calls, code, hung, released, .. } = tracer;
        watch.stop();
        Outcome { code: code.unwrap(), calls, hung, released }
    }

    /// Starts a shell that stops itself, and goes on as the command.
    fn spawn(&self) -> Pid {
        let output = File::create(self.output).unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(self.command.get_program());
        shell.args(self.command.get_args()).stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell.stdout(output.try_clone().unwrap()).stderr(output);
        let pid = Pid::from_raw(shell.spawn().unwrap().id() as i32);
        let stopped = waitpid(rustix::process::Pid::from_raw(pid.as_raw()), WaitOptions::UNTRACED);
        assert!(stopped.unwrap().unwrap().1.stopped(), "the shell does not stop itself");
        pid
    }
}

/// Ends all at the deadline. A thread, because nothing else wakes a wait for tracees.
struct Watch {
    pids: Arc<Mutex<Watched>>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Watched {
    pids: Vec<Pid>,
    expired: bool,
}

impl Watch {
    fn start(deadline: Duration) -> Watch {
        let pids = Arc::new(Mutex::new(Watched::default()));
        let (stop, stopped) = channel();
        let theirs = Arc::clone(&pids);
        let thread = std::thread::spawn(move || {
            if stopped.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
                let mut watched = theirs.lock().unwrap();
                watched.expired = true;
                // Not waited for, so the numbers are still theirs: they leave the list before.
                watched.pids.iter().for_each(|pid| kill(*pid));
            }
        });
        Watch { pids, stop, thread }
    }

    fn stop(self) {
        self.stop.send(()).ok(); // it may have ended
        self.thread.join().unwrap();
    }
}

/// One that is dead already is as good.
fn kill(pid: Pid) {
    nix::sys::signal::kill(pid, Signal::SIGKILL).ok();
}

struct Tracee {
    role: Role,
    children: u32,
    calls: u32,
    /// The call that it is in.
    inside: Option<Inside>,
    /// Before the command itself is executed, nothing counts.
    counts: bool,
    /// Whether it was there before the command.
    besides: bool,
}

#[derive(Clone, Copy)]
struct Inside {
    call: Option<Sysno>,
    arguments: [u64; 6],
    fails: Option<Errno>,
}

struct Tracer<'a, F> {
    at: F,
    first: Pid,
    watch: &'a Watch,
    tracees: HashMap<Pid, Tracee>,
    /// Stopped before their parent has told of them.
    early: HashSet<Pid>,
    calls: Vec<Call>,
    code: Option<i32>,
    /// All are to die.
    doomed: bool,
    released: Vec<Pid>,
    hung: Vec<String>,
}

const EVERYTHING: Options = Options::PTRACE_O_TRACESYSGOOD
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACECLONE)
    .union(Options::PTRACE_O_TRACEEXEC)
    .union(Options::PTRACE_O_EXITKILL);

impl<F: FnMut(&Stop) -> Action> Tracer<'_, F> {
    fn seize(&mut self, pid: Pid, role: Role, besides: bool) {
        ptrace::seize(pid, EVERYTHING).unwrap();
        self.add(pid, Tracee { role, children: 0, calls: 0, inside: None, counts: besides, besides });
    }

    fn add(&mut self, pid: Pid, tracee: Tracee) {
        self.tracees.insert(pid, tracee);
        let mut watched = self.watch.pids.lock().unwrap();
        watched.pids.push(pid);
        self.doomed |= watched.expired;
    }

    fn remove(&mut self, pid: Pid) -> Option<Tracee> {
        self.watch.pids.lock().unwrap().pids.retain(|other| *other != pid);
        self.tracees.remove(&pid)
    }

    fn follow(&mut self) {
        // Until there are none: a child whose parent was killed before it could tell of it is not in the list.
        loop {
            let options = WaitOptions::from_bits_retain(WALL | WNOTHREAD);
            let (pid, status) = match wait(options) {
                Ok(Some((pid, status))) => (Pid::from_raw(pid.as_raw_pid()), status.as_raw()),
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CHILD) => break,
                Err(errno) => panic!("wait for tracees: {errno}"),
            };
            self.note_deadline();
            if status & 0xff == 0x7f {
                self.stopped(pid, (status >> 8) & 0xff, status >> 16);
            } else {
                self.ended(pid, status);
            }
        }
    }

    /// Must be asked after each wait, for where they stood is known only now.
    fn note_deadline(&mut self) {
        if !self.watch.pids.lock().unwrap().expired || !self.hung.is_empty() {
            return;
        }
        self.doomed = true;
        let mut stood: BTreeMap<&Role, String> = BTreeMap::new();
        for tracee in self.tracees.values() {
            let place = match &tracee.inside {
                Some(inside) => inside.call.map_or("unknown", |call| call.name()),
                None => "itself",
            };
            stood.insert(&tracee.role, format!("{}#{} in {place}", tracee.role, tracee.calls));
        }
        self.hung = stood.into_values().collect();
    }

    fn ended(&mut self, pid: Pid, status: i32) {
        self.remove(pid);
        self.early.remove(&pid);
        if pid != self.first {
            return;
        }
        self.code = Some(if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) });
        // What is left is stopped, to be let go; or it dies.
        for pid in self.tracees.keys() {
            if self.doomed {
                kill(*pid);
            } else {
                ptrace::interrupt(*pid).ok(); // it may just have died, and will be waited for
            }
        }
        for pid in std::mem::take(&mut self.early) {
            self.release(pid, None);
        }
    }

    fn stopped(&mut self, pid: Pid, signal: i32, event: i32) {
        if self.doomed {
            kill(pid);
            return;
        }
        let is_call = signal == Signal::SIGTRAP as i32 | 0x80;
        if !self.tracees.contains_key(&pid) {
            if self.code.is_some() {
                self.release(pid, None);
            } else {
                self.early.insert(pid);
            }
            return;
        }
        if event == Event::PTRACE_EVENT_FORK as i32
            || event == Event::PTRACE_EVENT_VFORK as i32
            || event == Event::PTRACE_EVENT_CLONE as i32
        {
            self.born(pid);
        }
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            self.executed(pid);
        }
        // A signal on its way goes on its way. Those that have no name can't be passed on.
        let passes = if is_call || event != 0 { None } else { Signal::try_from(signal).ok() };
        if self.code.is_some() {
            return self.release(pid, passes);
        }
        if is_call && !self.call(pid) {
            return;
        }
        resume(pid, passes);
    }

    fn release(&mut self, pid: Pid, signal: Option<Signal>) {
        let besides = self.remove(pid).is_some_and(|tracee| tracee.besides);
        // On the way in it has yet to make the call, and does so untraced.
        if ptrace::detach(pid, signal).is_ok() && !besides {
            self.released.push(pid);
        }
    }

    fn born(&mut self, parent: Pid) {
        let Ok(child) = ptrace::getevent(parent).map(|pid| Pid::from_raw(pid as i32)) else { return };
        let Some(tracee) = self.tracees.get_mut(&parent) else { return };
        tracee.children += 1;
        let role = Role(tracee.role.0.iter().copied().chain([tracee.children]).collect());
        let (counts, besides) = (tracee.counts, tracee.besides);
        self.add(child, Tracee { role, children: 0, calls: 0, inside: None, counts, besides });
        if self.early.remove(&child) {
            if self.doomed {
                kill(child);
            } else if self.code.is_some() {
                self.release(child, None);
            } else {
                resume(child, None);
            }
        }
    }

    /// A thread that executes takes its leader's number, and all other threads are gone.
    fn executed(&mut self, pid: Pid) {
        let former = ptrace::getevent(pid).map_or(pid, |former| Pid::from_raw(former as i32));
        if former != pid
            && let Some(tracee) = self.remove(former)
        {
            self.remove(pid);
            self.add(pid, tracee);
        }
        if let Some(tracee) = self.tracees.get_mut(&pid)
            && !tracee.counts
        {
            tracee.counts = true; // the shell has become the command; the way out of that call is not the command's
            tracee.inside = Some(Inside { call: None, arguments: [0; 6], fails: None });
        }
    }

    /// Asks what to do at a call; false if the process is gone.
    fn call(&mut self, pid: Pid) -> bool {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return false };
        if !tracee.counts {
            return true;
        }
        let Ok(mut registers) = ptrace::getregs(pid) else { return true };
        let (inside, result) = match tracee.inside.take() {
            None => {
                let r = &registers;
                let arguments = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
                let call = Sysno::new(registers.orig_rax as usize);
                tracee.calls += 1;
                (Inside { call, arguments, fails: None }, None)
            }
            Some(Inside { call: None, .. }) => return true,
            Some(inside) => {
                if let Some(errno) = inside.fails
                    && inside.call != Some(Sysno::brk)
                {
                    registers.rax = -(errno as i64) as u64;
                    ptrace::setregs(pid, registers).ok(); // it may have been killed
                }
                (inside, Some(registers.rax as i64))
            }
        };
        let point = Point { role: tracee.role.clone(), call: tracee.calls };
        let stop = Stop { pid, point: &point, call: inside.call, arguments: inside.arguments, result };
        let action = (self.at)(&stop);
        if result.is_none() {
            self.calls.push(Call { point: point.clone(), name: stop.name() });
            let fails = if let Action::Fail(errno) = action { Some(errno) } else { None };
            tracee.inside = Some(Inside { fails, ..inside });
            if fails.is_some() {
                match inside.call {
                    Some(Sysno::close) => {}
                    Some(Sysno::brk) => registers.rdi = 0, // only asks
                    _ => registers.orig_rax = u64::MAX,    // no such call, so none is made
                }
                ptrace::setregs(pid, registers).ok();
            }
        }
        match action {
            Action::Go | Action::Fail(_) => return true,
            Action::KillCaller => {
                kill(self.first);
                return pid != self.first;
            }
            Action::KillThis => kill(pid),
            Action::KillAll => {
                self.doomed = true;
                let theirs = self.tracees.iter().filter(|(_, tracee)| !tracee.besides);
                theirs.for_each(|(pid, _)| kill(*pid));
            }
        }
        false
    }
}

/// To the next call. What has been killed meanwhile has nothing to be resumed for.
fn resume(pid: Pid, signal: Option<Signal>) {
    ptrace::syscall(pid, signal).ok();
}

/// wait(2)'s `__WALL`: threads, and children of every kind.
const WALL: u32 = 0x4000_0000;

/// Its `__WNOTHREAD`: not those of other threads.
const WNOTHREAD: u32 = 0x2000_0000;
