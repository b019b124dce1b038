//! First steps in the new namespaces: who we are there, the session, the keyring, host name, loopback.

use std::ffi::CString;

use rustix::thread::UnshareFlags;

use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;
use crate::sys::process::{join_session_keyring, prctl};

/// Asks to be killed when the runtime dies, and makes sure that it has not died before we asked.
pub fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).context("set parent-death signal")
}

/// Takes that back.
pub fn live_without_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, 0, 0).context("clear parent-death signal")
}

/// In another user namespace our ids mean nothing until we take those it maps to its root.
pub fn become_root_inside(plan: &Plan) -> Result<()> {
    // Not dumpable: nobody of the container may trace us or open our descriptors (CVE-2016-9962).
    prctl(libc::PR_SET_DUMPABLE, 0, 0).context("become undumpable")?;
    if !plan.namespaces.has(libc::CLONE_NEWUSER) {
        return Ok(());
    }
    let (root, group) = (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0));
    nix::unistd::setresgid(group, group, group).context("become group 0 of the user namespace")?;
    nix::unistd::setresuid(root, root, root).context("become user 0 of the user namespace")?;
    die_with_parent() // the change of ids has cleared it
}

/// A session of our own, a keyring of our own, and the names that a UTS namespace holds.
pub fn enter_session(plan: &Plan, no_new_keyring: bool) -> Result<()> {
    rustix::process::setsid().context("create session")?;
    if !no_new_keyring {
        new_keyring(&plan.id)?;
    }
    // Only now: a cgroup namespace takes the cgroup its creator is in as its root.
    if plan.namespaces.create_cgroup {
        #[allow(deprecated, reason = "unshare_unsafe differs only for CLONE_FILES, which is not asked for")]
        rustix::thread::unshare(UnshareFlags::NEWCGROUP).context("create cgroup namespace")?;
    }
    if !plan.hostname.is_empty() {
        rustix::system::sethostname(plan.hostname.as_bytes()).context("set host name")?;
    }
    if !plan.domainname.is_empty() {
        rustix::system::setdomainname(plan.domainname.as_bytes()).context("set domain name")?;
    }
    if plan.namespaces.creates(libc::CLONE_NEWNET) {
        crate::sys::network::set_loopback_up().context("set lo up")?;
    }
    Ok(())
}

fn new_keyring(id: &str) -> Result<()> {
    let name = CString::new(format!("_ses.{id}")).map_err(|_| Error::invalid("container ID holds a NUL"))?;
    match join_session_keyring(&name) {
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
