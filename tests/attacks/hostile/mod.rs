//! The attacks, by what they aim at.

mod cgroups;
mod dev;
mod entering;
mod hanging;
mod mounts;
mod names;
mod procfs;
mod protect;

use crate::case::Case;

/// All of them.
pub fn cases() -> Vec<Case> {
    let groups = [
        dev::cases(),
        mounts::cases(),
        procfs::cases(),
        protect::cases(),
        entering::cases(),
        hanging::cases(),
        names::cases(),
        cgroups::cases(),
    ];
    groups.into_iter().flatten().collect()
}
