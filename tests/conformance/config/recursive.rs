//! config.md: the mount options that reach everything below a recursive bind, by mount_setattr(2).
//!
//! Source and a mount below it have the opposite before; both must have the change after.

use nix::mount::MsFlags;

use super::options::bound;
use crate::world::NOSYMFOLLOW;

section! { SECTION = "config.md" # "configLinuxMountOptions (recursive)";
    "ratime | SHOULD" => [ratime_reaches_all_mounts_below],
    "rdev | SHOULD" => [rdev_reaches_all_mounts_below],
    "rdiratime | SHOULD" => [rdiratime_reaches_all_mounts_below],
    "rexec | SHOULD" => [rexec_reaches_all_mounts_below],
    "rnoatime | SHOULD" => [rnoatime_reaches_all_mounts_below],
    "rnodiratime | SHOULD" => [rnodiratime_reaches_all_mounts_below],
    "rnoexec | SHOULD" => [rnoexec_reaches_all_mounts_below],
    "rnorelatime | SHOULD" => [rnorelatime_is_taken],
    "rnostrictatime | SHOULD" => [rnostrictatime_reaches_all_mounts_below],
    "rnosuid | SHOULD" => [rnosuid_reaches_all_mounts_below],
    "rnosymfollow | SHOULD" => [rnosymfollow_reaches_all_mounts_below],
    "rrelatime | SHOULD" => [rrelatime_reaches_all_mounts_below],
    "rro | SHOULD" => [rro_reaches_all_mounts_below],
    "rrw | SHOULD" => [rrw_reaches_all_mounts_below],
    "rstrictatime | SHOULD" => [rstrictatime_reaches_all_mounts_below],
    "rsuid | SHOULD" => [rsuid_reaches_all_mounts_below],
    "rsymfollow | SHOULD" => [rsymfollow_reaches_all_mounts_below],
}

/// Both mounts under `option` have `word`, or both lack it.
#[track_caller]
fn both(before: MsFlags, option: &str, word: &str, expected: bool) {
    let (mounted, below) = bound(before, &["rbind", option]);
    for one in [mounted, below.unwrap()] {
        let has = one.options.iter().any(|have| have == word);
        assert_eq!(has, expected, "{word} in {:?}", one.options);
    }
}

fn ratime_reaches_all_mounts_below() {
    both(MsFlags::MS_NOATIME, "ratime", "noatime", false);
}

fn rdev_reaches_all_mounts_below() {
    both(MsFlags::MS_NODEV, "rdev", "nodev", false);
}

fn rdiratime_reaches_all_mounts_below() {
    both(MsFlags::MS_NODIRATIME, "rdiratime", "nodiratime", false);
}

fn rexec_reaches_all_mounts_below() {
    both(MsFlags::MS_NOEXEC, "rexec", "noexec", false);
}

fn rnoatime_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rnoatime", "noatime", true);
}

fn rnodiratime_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rnodiratime", "nodiratime", true);
}

fn rnoexec_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rnoexec", "noexec", true);
}

/// As `norelatime`: the kernel has no "not relatime" but the other two modes.
fn rnorelatime_is_taken() {
    both(MsFlags::empty(), "rnorelatime", "noatime", false);
}

fn rnostrictatime_reaches_all_mounts_below() {
    both(MsFlags::MS_STRICTATIME, "rnostrictatime", "relatime", true);
}

fn rnosuid_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rnosuid", "nosuid", true);
}

fn rnosymfollow_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rnosymfollow", "nosymfollow", true);
}

fn rrelatime_reaches_all_mounts_below() {
    both(MsFlags::MS_NOATIME, "rrelatime", "relatime", true);
}

fn rro_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rro", "ro", true);
}

fn rrw_reaches_all_mounts_below() {
    both(MsFlags::MS_RDONLY, "rrw", "rw", true);
}

fn rstrictatime_reaches_all_mounts_below() {
    both(MsFlags::empty(), "rstrictatime", "relatime", false);
    both(MsFlags::MS_NOATIME, "rstrictatime", "noatime", false);
}

fn rsuid_reaches_all_mounts_below() {
    both(MsFlags::MS_NOSUID, "rsuid", "nosuid", false);
}

fn rsymfollow_reaches_all_mounts_below() {
    both(NOSYMFOLLOW, "rsymfollow", "nosymfollow", false);
}
