//! Who the program is: limits, groups, ids, capabilities, no_new_privs.
//!
//! The order is forced. Limits may be raised only with power. The bounding set can shrink only with
//! CAP_SETPCAP. Groups go before the user id, for changing them needs CAP_SETGID. The change of user id would
//! clear the capabilities, so they are kept over it and then set to what was asked for. Ambient ones come
//! last: they must be permitted and inheritable first. no_new_privs ends it.

use nix::unistd::{Gid, Uid};

use crate::error::{Context, Result};
use crate::plan::process::{CapabilityMasks, ProcessPlan};
use crate::sys::again::again;
use crate::sys::capabilities::{capget, capset, has_capability};
use crate::sys::process::{prctl, setrlimit};

/// Becomes the program's user, with its powers and no others.
pub fn become_user(process: &ProcessPlan) -> Result<()> {
    for (resource, soft, hard) in &process.rlimits {
        let context = || format!("set limit {resource} to {soft}:{hard}");
        setrlimit(*resource, *soft, *hard).with_context(context).in_field("process.rlimits")?;
    }
    if let Some(umask) = process.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    if let Some(masks) = &process.capabilities {
        drop_bounding(masks)?;
    }
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).context("keep capabilities")?;
    process.groups.as_deref().map_or(Ok(()), set_groups)?;
    let (uid, gid) = (Uid::from_raw(process.user.0), Gid::from_raw(process.user.1));
    again(|| nix::unistd::setresgid(gid, gid, gid))
        .with_context(|| format!("become group {gid}"))
        .about("process.user.gid")?;
    again(|| nix::unistd::setresuid(uid, uid, uid))
        .with_context(|| format!("become user {uid}"))
        .about("process.user.uid")?;
    prctl(libc::PR_SET_KEEPCAPS, 0, 0).context("stop keeping capabilities")?;
    if let Some(masks) = &process.capabilities {
        set_capabilities(masks)?;
    }
    if process.no_new_privileges {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).context("set no_new_privs")?;
    }
    Ok(())
}

fn set_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    match again(|| nix::unistd::setgroups(&groups)) {
        // A user namespace made without privilege denies setgroups(2) even to who may set ids; that the groups
        // of the caller are then kept can't be helped.
        Err(nix::errno::Errno::EPERM) if groups.is_empty() && may_set_gid() => Ok(()),
        other => other.in_field("process.user.additionalGids"),
    }
}

fn may_set_gid() -> bool {
    has_capability("CAP_SETGID").unwrap_or(true)
}

fn drop_bounding(masks: &CapabilityMasks) -> Result<()> {
    for capability in 0..64 {
        if masks.bounding & (1 << capability) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // the kernel knows no more of them
            Err(errno) => {
                return Err(errno)
                    .with_context(|| format!("drop capability {capability}"))
                    .about("process.capabilities.bounding");
            }
        }
    }
    Ok(())
}

/// What this process does not have it can't keep: the specification wants a warning, not a failure, for
/// capabilities that can't be granted, so the sets are cut to what is there.
fn set_capabilities(masks: &CapabilityMasks) -> Result<()> {
    let (_, have) = capget().context("ask for own capabilities")?;
    let permitted = masks.permitted & have;
    let effective = masks.effective & permitted;
    let inheritable = masks.inheritable & have;
    capset(effective, permitted, inheritable).context("set capabilities").about("process.capabilities")?;
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
        .context("clear ambient capabilities")?;
    let ambient = masks.ambient & permitted & inheritable;
    for capability in (0..64).filter(|c| ambient & (1 << c) != 0) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability)
            .with_context(|| format!("raise ambient capability {capability}"))
            .about("process.capabilities.ambient")?;
    }
    Ok(())
}
