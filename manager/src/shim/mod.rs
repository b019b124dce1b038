//! The shim: one small process per container, its parent for as long as it lives. It owns the
//! stdio, the log and the exit code, and needs nobody: the command that started it may be gone.
//! One thread, one poll loop; whatever could block is asked first whether it would.

mod client;
pub mod control;
pub mod exit;
pub mod log;
mod server;
mod session;
pub mod stdio;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bundle;
use crate::container::record::{Exit, Running};
use crate::container::store::{self, Container, Containers};
use crate::container::time;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::runtime::Runtime;
use crate::snapshot::Snapshots;
use control::{Failure, Frame};
use server::Server;
use session::Session;
use stdio::{Console, Ends};

/// THE SHIM'S STORY. Standard input is the socket of the client that started us.
pub fn run(paths: &Paths, id: &str) -> Result<()> {
    let client = take_client()?;
    nix::unistd::setsid().context("start a session")?;
    nix::sys::prctl::set_child_subreaper(true).context("become the reaper of what the runtime leaves")?;
    let signals = child_signals()?;

    let containers = Containers::open(paths);
    let container = containers.load(id)?;
    let _alive = store::lock(&container.shim_lock_path())?;
    let runtime = Runtime::of(&container, paths);
    let listener = bind(&socket_path(&container))?;

    // Whatever we mount is seen by us and the runtime alone, and is gone when we are.
    private_mounts()?;
    let snapshots = Snapshots::open(paths)?;
    let (ends, pid) = match bring_up(&container, &runtime, &snapshots) {
        Ok(up) => up,
        Err(error) => {
            let error = undo(
                error,
                [clean_up(&container, &runtime, &snapshots, true), containers.remove(&container)],
            );
            return server::refuse(client, &error);
        }
    };
    let oom = exit::OomCounters::of(pid);

    let main = Session::running(pid, ends, Some(log::Log::open(&container.dir.join("log.json"))?));
    let mut server = Server::new(&container, &runtime, listener, main);
    // Attached before start: not a byte of a short program is lost.
    server.adopt(client, &container.record)?;
    if let Err(error) = runtime.start() {
        let error =
            undo(error, [clean_up(&container, &runtime, &snapshots, true), containers.remove(&container)]);
        server.fail(&error);
        return server.flush();
    }
    server.announce_start();
    let status = server.serve(&signals)?;

    // The truth first, on disk; then the traces; then the news, so that who hears it finds all done.
    let exit = exit::record(status, oom.any());
    let saved = container.save_exit(&exit);
    let cleaned = clean_up(&container, &runtime, &snapshots, container.record.remove);
    let removed =
        if container.record.remove { containers.remove(&container) } else { remove_socket(&container) };
    server.announce_exit(exit.code);
    server.flush()?;
    saved.and(cleaned).and(removed)
}

/// From a record to an init that waits for `start`: its stdio and its pid.
fn bring_up(container: &Container, runtime: &Runtime, snapshots: &Snapshots) -> Result<(Ends, i32)> {
    let root = snapshots.mount(&container.record.id)?;
    let bundle = bundle::make(container, &root)?;
    let pid_file = container.run_dir.join("init.pid");
    let ends = if container.record.tty {
        let console = Console::bind(&container.run_dir, "console.sock")?;
        runtime.create(&bundle, &pid_file, console.stdio())?;
        console.receive()?
    } else {
        let (far, near) = stdio::pipes(container.record.stdin)?;
        runtime.create(&bundle, &pid_file, far)?;
        near
    };
    if let Some((rows, columns)) = container.record.console_size {
        ends.resize(rows, columns);
    }
    let pid = read_pid(&pid_file)?;
    let pid_start = store::start_time(pid).ok_or_else(|| {
        Error::new(Kind::System, format!("the container's init {pid} is gone before start"))
    })?;
    container.save_running(&Running { pid, pid_start, started: time::now() })?;
    Ok((ends, pid))
}

/// Takes back what `bring_up` and the runtime made, all of it whatever fails; with `forget` also what
/// the container has written.
fn clean_up(container: &Container, runtime: &Runtime, snapshots: &Snapshots, forget: bool) -> Result<()> {
    let deleted = runtime.delete(true);
    let unmounted = snapshots.unmount(&container.record.id);
    let unbundled = store::remove_tree(&bundle::bundle_dir(container));
    let forgotten = if forget { snapshots.remove(&container.record.id) } else { Ok(()) };
    deleted.and(unmounted).and(unbundled).and(forgotten)
}

/// The first cause, and behind it what could not be taken back.
fn undo(cause: Error, undone: [Result<()>; 2]) -> Error {
    undone
        .into_iter()
        .filter_map(Result::err)
        .fold(cause, |cause, next| Error::new(cause.kind(), format!("{cause}; then {next}")))
}

/// The exit record for a container whose shim is gone.
pub fn unknown_exit() -> Exit {
    let error = Some("exit code unknown: its shim was killed".into());
    Exit { code: 255, signal: None, finished: time::now(), oom: false, error }
}

/// Where a container's shim listens.
pub fn socket_path(container: &Container) -> PathBuf {
    container.run_dir.join("shim.sock")
}

/// Connects to a container's shim; `None` if it has none.
pub fn connect(container: &Container) -> Result<Option<UnixStream>> {
    let path = socket_path(container);
    let result = through_short_path(&path, |short| UnixStream::connect(short));
    match result {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).context("connect to the container's shim"),
    }
}

/// Waits until an fd is readable. False if the deadline passed first.
pub fn wait_readable(fd: &impl AsFd, deadline: Option<Instant>) -> Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], timeout.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

/// Binds a listening socket at a path of any length.
fn bind(path: &Path) -> Result<UnixListener> {
    through_short_path(path, |short| UnixListener::bind(short))
        .context(format!("listen at {}", path.display()))
}

/// A socket address holds 108 bytes; a longer path is said through a handle on its folder.
fn through_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    use rustix::fs::{Mode, OFlags, open};
    use std::os::fd::AsRawFd;
    if path.as_os_str().len() < 100 {
        return act(path);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return act(path) };
    let dir = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    act(&Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

/// Moves the starting client's socket from standard input to where no child inherits it.
fn take_client() -> Result<UnixStream> {
    let what = "take over the client's socket";
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().context(what)?;
    rustix::stdio::dup2_stdin(stdio::null()?).context(what)?;
    Ok(UnixStream::from(socket))
}

/// SIGCHLD as a file. The standard library clears the mask in the processes it starts.
fn child_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("block SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("open signalfd")
}

fn private_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .context("make mounts private")
}

fn remove_socket(container: &Container) -> Result<()> {
    std::fs::remove_file(socket_path(container)).context("remove the shim's socket")
}

fn read_pid(path: &Path) -> Result<i32> {
    let what = || format!("read {}", path.display());
    std::fs::read_to_string(path).context(what())?.trim().parse().context(what())
}

/// A failure as the client hears it.
fn failure(error: &Error) -> Frame {
    let failure = Failure { message: error.to_string(), code: error.kind().exit_code() };
    Frame::Failed(serde_json::to_vec(&failure).unwrap_or_default())
}
