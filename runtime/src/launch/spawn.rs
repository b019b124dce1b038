//! One clone: the new process is in all new namespaces at once. Only where a namespace must be joined first
//! does an intermediate process do that, and clone init as a sibling of itself, so that init is our child
//! either way.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd};
use std::path::PathBuf;

use nix::sched::CloneFlags;

use super::sync::{Message, Sync};
use super::{Init, sync};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::process::{Cloned, clone3, close_all_but, exit_now, prctl};
use crate::sys::stream::Stream;

/// What a new process joins before it is made.
#[derive(Debug)]
pub enum Join {
    /// Namespaces by kind and path, in this order.
    Paths(Vec<(i32, PathBuf)>),
    /// All these kinds of the process that the pidfd refers to, in one call (setns(2), Linux 5.8).
    Process(std::os::fd::OwnedFd, i32),
}

/// A process to be made.
#[derive(Debug)]
pub struct Birth<'a> {
    /// Namespaces to create: `CLONE_NEW*`.
    pub create: u64,
    /// What it joins before.
    pub join: &'a Join,
    /// For a new time namespace: the text for timens_offsets.
    pub time_offsets: &'a str,
    /// For proc(5) oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// The directory of the unified hierarchy to be born in, if there is no intermediate process.
    pub cgroup: Option<BorrowedFd<'a>>,
}

impl Birth<'_> {
    /// What does is out of an ordinary user's reach from then on, so it sets its own score before. To a process that
    /// is made in a new one it must be given from outside.
    fn joins_user_namespace(&self) -> bool {
        match self.join {
            Join::Process(_, kinds) => kinds & libc::CLONE_NEWUSER != 0,
            Join::Paths(paths) => paths.iter().any(|(kind, _)| *kind == libc::CLONE_NEWUSER),
        }
    }

    fn set_oom_score(&self, process: impl std::fmt::Display) -> Result<()> {
        let Some(score) = self.oom_score_adj else { return Ok(()) };
        let path = format!("/proc/{process}/oom_score_adj");
        files::write(&path, score.to_string())
            .on(&format!("write {score} to"), &path)
            .in_field("process.oomScoreAdj")
    }
}

/// Makes a process; in it, `story` runs and never returns but with an error, which then travels home. Of the runtime's
/// descriptors it has the standard streams, `given` and its end of the dialogue.
///
/// A new time namespace needs an intermediate process as well: its clocks can be set only while nobody is in
/// it, which the kernel allows by letting only children enter (time_namespaces(7)). That process then makes the
/// new user namespace too, which is to own the other one.
pub fn spawn(
    birth: &Birth<'_>,
    given: &[RawFd],
    story: impl FnOnce(&mut Sync) -> Result<Infallible>,
) -> Result<Init> {
    const TIME: u64 = libc::CLONE_NEWTIME as u64;
    // The words of this and init's debug records are those that runc's own tests look for.
    log::debug!("nsexec container setup: create namespaces {:#x}", birth.create);
    let (ours, theirs) = sync::pair()?;
    let has_clocks = birth.create & TIME != 0;
    let direct = !has_clocks && matches!(birth.join, Join::Paths(paths) if paths.is_empty());
    let first = match (direct, has_clocks) {
        (true, _) => birth.create,
        (false, true) => birth.create & libc::CLONE_NEWUSER as u64,
        (false, false) => 0,
    };
    // The kernel may refuse to have it born there for reasons of many kinds; then it is moved, which has its own
    // error.
    let place = birth.cgroup.filter(|_| direct);
    let born = place.and_then(|place| clone3(first, Some(place)).ok());
    let moved_in = born.is_some();
    let cloned = match born {
        Some(cloned) => cloned,
        None => clone3(first, None).context("clone: create namespaces").about("linux.namespaces")?,
    };
    match cloned {
        Cloned::Parent(pid, _pidfd) => {
            drop(theirs);
            let mut init = if direct { Init::adopt(pid, ours)? } else { follow_intermediate(pid, ours)? };
            init.born_inside = moved_in;
            if !birth.joins_user_namespace() {
                birth.set_oom_score(init.pid)?;
            }
            Ok(init)
        }
        Cloned::Child => {
            drop(ours);
            if direct {
                tell(given, story, theirs)
            } else {
                let rest = birth.create & !(first | TIME);
                intermediate(&Birth { create: rest, ..*birth }, has_clocks, theirs, |theirs| {
                    tell(given, story, theirs)
                })
            }
        }
    }
}

/// It has said what there is to say when it ends. To wait for its word instead could be for ever: what it has cloned
/// holds the other end of the dialogue too, and waits for us.
fn follow_intermediate(intermediate: i32, ours: Sync) -> Result<Init> {
    let intermediate = rustix::process::Pid::from_raw(intermediate);
    again(|| rustix::process::waitpid(intermediate, rustix::process::WaitOptions::empty()))
        .context("wait for intermediate")?;
    match ours.has_word()?.then(|| ours.receive()).transpose()?.flatten() {
        Some(Message::Spawned(pid)) => Init::adopt(pid, ours),
        Some(Message::Failed(error)) => Err(error),
        _ => Err(Error::new(Kind::System, "intermediate process ended without a word")),
    }
}

/// Runs `story` in the new process, and sends its error home.
fn tell(given: &[RawFd], story: impl FnOnce(&mut Sync) -> Result<Infallible>, mut theirs: Sync) -> ! {
    let tell = |theirs: &mut Sync| -> Result<Infallible> {
        let own = theirs.descriptor().context("find the dialogue")?.as_raw_fd();
        let log = crate::log::descriptor();
        close_all_but(&[given, &[own], log.as_slice()].concat())
            .context("close the runtime's descriptors")?;
        story(theirs)
    };
    let Err(error) = tell(&mut theirs);
    exit_now(if theirs.send(&Message::Failed(error)).is_ok() { 1 } else { 2 })
}

fn intermediate(
    birth: &Birth<'_>,
    has_clocks: bool,
    theirs: Sync,
    tell: impl FnOnce(Sync) -> Infallible,
) -> ! {
    let enter = || -> Result<Cloned> {
        if birth.joins_user_namespace() {
            birth.set_oom_score("self")?;
        }
        if !matches!(birth.join, Join::Paths(paths) if paths.is_empty()) {
            // From the first join on, whoever is root in there, or sees us by its numbers, could trace us and reach for
            // the runtime's descriptors and memory (CVE-2016-9962). What is cloned inherits this.
            prctl(libc::PR_SET_DUMPABLE, 0, 0).context("set dumpable")?;
        }
        join_all(birth.join)?;
        if has_clocks {
            create_time_namespace(birth.time_offsets)?;
        }
        clone3(birth.create | libc::CLONE_PARENT as u64, None)
            .context("clone: create namespaces")
            .about("linux.namespaces")
    };
    let code = match enter() {
        Ok(Cloned::Child) => match tell(theirs) {},
        Ok(Cloned::Parent(pid, _)) => i32::from(theirs.send(&Message::Spawned(pid)).is_err()),
        Err(error) => {
            if theirs.send(&Message::Failed(error)).is_ok() {
                1
            } else {
                2
            }
        }
    };
    exit_now(code)
}

fn create_time_namespace(offsets: &str) -> Result<()> {
    // Opened first: the kernel asks who opened it whether the clocks may be set, and joins the file to whatever
    // namespace our children will have when it is written.
    let path = "/proc/self/timens_offsets";
    let file = again(|| std::fs::OpenOptions::new().write(true).open(path)).on("open", path)?;
    crate::sys::process::unshare(libc::CLONE_NEWTIME)
        .context("create time namespace")
        .about("linux.namespaces")?;
    if offsets.is_empty() {
        Ok(())
    } else {
        Stream(&file).write_all(offsets.as_bytes()).in_field("linux.timeOffsets")
    }
}

fn join_all(join: &Join) -> Result<()> {
    match join {
        Join::Process(pidfd, kinds) => {
            again(|| nix::sched::setns(pidfd, CloneFlags::from_bits_retain(*kinds)))
                .context("join the container's namespaces")
        }
        Join::Paths(paths) => {
            // All are opened first: after joining a mount namespace the paths would mean something else.
            let open = |path: &PathBuf| files::open(path).on("open namespace", path);
            let files = paths.iter().map(|(kind, path)| Ok((*kind, path, open(path)?)));
            let files = files.collect::<Result<Vec<_>>>()?;
            let (user, others): (Vec<_>, Vec<_>) =
                files.iter().partition(|(kind, ..)| *kind == libc::CLONE_NEWUSER);
            let join = |(kind, _, file): &(i32, &PathBuf, File)| {
                again(|| nix::sched::setns(file.as_fd(), CloneFlags::from_bits_retain(*kind)))
            };
            // Either user namespace, ours or the one to be joined, may be the one with power over the others.
            let refused = |entry: &&(i32, &PathBuf, File)| {
                user.is_empty() || join(entry) == Err(nix::errno::Errno::EPERM)
            };
            let later: Vec<_> = others.into_iter().filter(refused).collect();
            for entry in user.iter().copied().chain(later) {
                join(entry).on("join namespace", entry.1)?;
            }
            Ok(())
        }
    }
}
