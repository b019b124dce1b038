//! First steps in the new namespaces: who we are there, the session, the keyring, host name, loopback.

use std::ffi::CString;

use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;
use crate::sys::again::again;
use crate::sys::capabilities::has_capability;
use crate::sys::process::{Searcher, join_session_keyring, prctl, unshare};

/// Whose the runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// One who may look into every process.
    Privileged,
    /// One who may look only into processes that are dumpable: `exec` and hooks need that of init, and the
    /// runtime needs it to take a seccomp listener (ptrace(2), "Ptrace access mode checking").
    Ordinary,
}

impl Owner {
    /// That of this process.
    pub fn current() -> Result<Owner> {
        let privileged = has_capability("CAP_SYS_PTRACE");
        let privileged = privileged.context("ask for own capabilities")?;
        Ok(if privileged { Owner::Privileged } else { Owner::Ordinary })
    }

    /// Lets an ordinary owner look into us. Nothing of the host, and no unmasked /proc, may be open any more.
    pub fn let_in(self) -> Result<()> {
        if self == Owner::Ordinary { set_dumpable(true) } else { Ok(()) }
    }
}

/// Asks to be killed when the runtime dies, and makes sure that it has not died before we asked.
pub fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).context("set parent-death signal")
}

/// Takes that back.
pub fn live_without_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, 0, 0).context("clear parent-death signal")
}

/// Whether processes of our user may trace us and open our descriptors and namespaces (prctl(2)). As long as we
/// hold anything of the host that others of the container could reach for, they may not (CVE-2016-9962).
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable), 0).context("set dumpable")
}

/// In another user namespace our ids mean nothing until we take those it maps to its root.
pub fn become_root_inside(plan: &Plan, owner: Owner) -> Result<()> {
    // Where nobody but us is in any of the namespaces, an ordinary user's hooks may look into them.
    let dumpable = owner == Owner::Ordinary && plan.namespaces.join.is_empty();
    set_dumpable(dumpable)?;
    if !plan.namespaces.has(libc::CLONE_NEWUSER) {
        return Ok(());
    }
    become_user_0()?;
    set_dumpable(dumpable)?; // the change of ids may have cleared both
    die_with_parent()?;
    let later = plan.namespaces.create & !plan.namespaces.at_birth();
    #[expect(clippy::cast_possible_truncation, reason = "the flags of namespaces are in the lower half")]
    let later = later as i32;
    if later == 0 { Ok(()) } else { unshare(later).context("create IPC namespace") }
}

/// Becomes user and group 0 of the user namespace that we are in.
pub fn become_user_0() -> Result<()> {
    let (root, group) = (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0));
    again(|| nix::unistd::setresgid(group, group, group)).context("become group 0 of the user namespace")?;
    again(|| nix::unistd::setresuid(root, root, root)).context("become user 0 of the user namespace")
}

/// A session of our own, a keyring of our own, and the names that a UTS namespace holds.
pub fn enter_session(plan: &Plan, no_new_keyring: bool) -> Result<()> {
    again(rustix::process::setsid).context("create session")?;
    if !no_new_keyring {
        enter_keyring(&plan.id, plan.namespaces.has(libc::CLONE_NEWUSER))?;
    }
    // Only now: a cgroup namespace takes the cgroup its creator is in as its root.
    if plan.namespaces.create_cgroup {
        unshare(libc::CLONE_NEWCGROUP).context("create cgroup namespace").about("linux.namespaces")?;
    }
    if !plan.hostname.is_empty() {
        again(|| rustix::system::sethostname(plan.hostname.as_bytes()))
            .context("set host name")
            .about("hostname")?;
    }
    if !plan.domainname.is_empty() {
        again(|| rustix::system::setdomainname(plan.domainname.as_bytes()))
            .context("set domain name")
            .about("domainname")?;
    }
    if plan.namespaces.creates(libc::CLONE_NEWNET) {
        crate::sys::network::set_loopback_up().context("set lo up")?;
    }
    Ok(())
}

/// The container's session keyring: made by init, joined by whoever enters later, so that nobody in the
/// container has the caller's.
pub fn enter_keyring(id: &str, in_user_namespace: bool) -> Result<()> {
    let name = CString::new(format!("_ses.{id}")).map_err(|_| Error::invalid("container ID holds a NUL"))?;
    let searcher = if in_user_namespace { Searcher::Anybody } else { Searcher::Owner };
    match join_session_keyring(&name, searcher) {
        Err(rustix::io::Errno::NOSYS) => Ok(()), // a kernel without CONFIG_KEYS has none to leak
        Err(errno) => Err(errno).context("join session keyring").map_err(|e| hint_quota(e, errno)),
        Ok(()) => Ok(()),
    }
}

fn hint_quota(error: Error, errno: rustix::io::Errno) -> Error {
    if errno != rustix::io::Errno::DQUOT {
        return error;
    }
    Error::new(Kind::System, format!("{error} (hint: raise kernel.keys.maxkeys, or use --no-new-keyring)"))
}
