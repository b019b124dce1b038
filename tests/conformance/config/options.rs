//! config.md: "Linux mount options", those that a runtime MUST know and the two of symlinks, each seen in mountinfo.
//!
//! An option that sets something is put on a fresh tmpfs. One that clears something is put on a bind of a mount that
//! has it, which is the only place where it can be told from the default; but for access times, of which mount(2) keeps
//! on a bind whatever no other mode replaces.

use nix::mount::MsFlags;
use serde_json::json;

use super::mounts::{Mounted, mounts_inside, parse_mounts, tmpfs};
use crate::container::{Container, add, inside};
use crate::world::Mounting;

section! { SECTION = "config.md" # "configLinuxMountOptions";
    "Runtimes MUST/SHOULD/MAY implement the following option strings for Linux:" => ("the heading of the table, whose rows follow"),
    "async | MUST" => [async_takes_sync_back],
    "atime | MUST" => [atime_takes_noatime_back],
    "bind | MUST" => [bind_shows_a_file_or_a_folder_without_what_is_mounted_below],
    "defaults | MUST" => [defaults_change_nothing],
    "dev | MUST" => [dev_takes_nodev_off_a_bind],
    "diratime | MUST" => [diratime_takes_nodiratime_back],
    "dirsync | MUST" => [dirsync_is_set],
    "exec | MUST" => [exec_takes_noexec_off_a_bind],
    "iversion | MUST" => [iversion_is_taken],
    "lazytime | MUST" => [lazytime_is_set],
    "loud | MUST" => [loud_is_taken],
    "noatime | MUST" => [noatime_is_set],
    "nodev | MUST" => [nodev_is_set_and_devices_do_not_open],
    "nodiratime | MUST" => [nodiratime_is_set],
    "noexec | MUST" => [noexec_is_set_and_programs_do_not_run],
    "noiversion | MUST" => [noiversion_is_taken],
    "nolazytime | MUST" => [nolazytime_takes_lazytime_back],
    "norelatime | MUST" => [norelatime_is_taken],
    "nostrictatime | MUST" => [nostrictatime_takes_strictatime_back],
    "nosuid | MUST" => [nosuid_is_set],
    "nosymfollow | SHOULD" => [nosymfollow_is_set_and_links_are_not_followed],
    "private | MUST" => [private_bind_is_in_no_peer_group],
    "rbind | MUST" => [rbind_shows_what_is_mounted_below],
    "relatime | MUST" => [relatime_takes_noatime_off_a_bind],
    "remount | MUST" => [remount_changes_the_mount_that_is_there],
    "ro | MUST" => [ro_is_set_on_new_mounts_and_on_binds],
    "rprivate | MUST" => [rprivate_reaches_all_mounts_below],
    "rshared | MUST" => [rshared_reaches_all_mounts_below],
    "rslave | MUST" => [rslave_reaches_all_mounts_below],
    "runbindable | MUST" => [runbindable_reaches_all_mounts_below],
    "rw | MUST" => [rw_takes_ro_off_a_bind],
    "shared | MUST" => [shared_mount_has_a_peer_group],
    "silent | MUST" => [silent_is_taken],
    "slave | MUST" => [slave_bind_has_a_master],
    "strictatime | MUST" => [strictatime_is_set],
    "suid | MUST" => [suid_takes_nosuid_off_a_bind],
    "symfollow | SHOULD" => [symfollow_takes_nosymfollow_off_a_bind],
    "sync | MUST" => [sync_is_set],
    "tmpcopyup | MAY" => [tmpcopyup_shows_what_the_tmpfs_covers],
    "unbindable | MUST" => [unbindable_mount_is_so],
}

/// A fresh tmpfs with these options.
#[track_caller]
fn fresh(options: &[&str]) -> Mounted {
    mounts_inside(|c| add(&mut c["mounts"], tmpfs("/t", options)))["/t"].clone()
}

#[track_caller]
fn sets(options: &[&str], seen: &str) {
    let mounted = fresh(options);
    assert!(mounted.has(seen), "no {seen}: {mounted:?}");
}

#[track_caller]
fn clears(options: &[&str], unseen: &str) {
    let mounted = fresh(options);
    assert!(!mounted.has(unseen), "{unseen}: {mounted:?}");
}

/// Mounts /m, a bind of a tmpfs that has a further one below, both with `flags`; returns both as seen inside.
#[track_caller]
pub fn bound(flags: MsFlags, options: &[&str]) -> (Mounted, Option<Mounted>) {
    let container = Container::shell("cat /proc/self/mountinfo", |c| {
        add(&mut c["mounts"], json!({"destination": "/m", "source": "outer", "options": options}));
    });
    let outer = container.bundle().join("outer");
    let _outer = Mounting::tmpfs(&outer, MsFlags::empty());
    let _inner = Mounting::tmpfs(&outer.join("inner"), flags);
    Mounting::change(&outer, flags);
    let mounts = parse_mounts(&container.run().ok());
    (mounts["/m"].clone(), mounts.get("/m/inner").cloned())
}

/// A bind with this option of a mount that has `flags` lacks `unseen`.
#[track_caller]
fn bind_clears(flags: MsFlags, option: &str, unseen: &str) {
    let (mounted, _) = bound(flags, &["bind", option]);
    assert!(!mounted.has(unseen), "{unseen}: {mounted:?}");
}

fn async_takes_sync_back() {
    clears(&["sync", "async"], "sync");
}

fn atime_takes_noatime_back() {
    clears(&["noatime", "atime"], "noatime");
}

fn bind_shows_a_file_or_a_folder_without_what_is_mounted_below() {
    let (mounted, below) = bound(MsFlags::empty(), &["bind"]);
    assert_eq!((mounted.kind.as_str(), below.is_some()), ("tmpfs", false));
    let out = inside("head -c1 /file", |c| {
        add(&mut c["mounts"], json!({"destination": "/file", "source": "config.json", "options": ["bind"]}));
    });
    assert_eq!(out, "{");
}

fn defaults_change_nothing() {
    let mounted = fresh(&["defaults"]);
    let (options, plain) = (mounted.options, fresh(&[]).options);
    assert_eq!(options, plain);
    assert!(options.contains(&"rw".to_owned()));
}

fn dev_takes_nodev_off_a_bind() {
    bind_clears(MsFlags::MS_NODEV, "dev", "nodev");
}

fn diratime_takes_nodiratime_back() {
    clears(&["nodiratime", "diratime"], "nodiratime");
}

fn dirsync_is_set() {
    sets(&["dirsync"], "dirsync");
}

fn exec_takes_noexec_off_a_bind() {
    bind_clears(MsFlags::MS_NOEXEC, "exec", "noexec");
}

/// No file system shows it; passed on as a parameter, tmpfs would refuse it.
fn iversion_is_taken() {
    fresh(&["iversion"]);
}

fn lazytime_is_set() {
    sets(&["lazytime"], "lazytime");
}

fn loud_is_taken() {
    fresh(&["silent", "loud"]);
}

fn noatime_is_set() {
    sets(&["noatime"], "noatime");
}

fn nodev_is_set_and_devices_do_not_open() {
    sets(&["nodev"], "nodev");
    let out = inside("mknod /t/zero c 1 5; head -c1 /t/zero 2>/dev/null || echo refused", |c| {
        add(&mut c["mounts"], tmpfs("/t", &["nodev"]));
    });
    assert_eq!(out, "refused\n");
}

fn nodiratime_is_set() {
    sets(&["nodiratime"], "nodiratime");
}

fn noexec_is_set_and_programs_do_not_run() {
    sets(&["noexec"], "noexec");
    let out = inside("cp /bin/busybox /t/sh; /t/sh -c true 2>/dev/null; echo $?", |c| {
        add(&mut c["mounts"], tmpfs("/t", &["noexec"]));
    });
    assert_eq!(out, "126\n");
}

fn noiversion_is_taken() {
    fresh(&["iversion", "noiversion"]);
}

fn nolazytime_takes_lazytime_back() {
    clears(&["lazytime", "nolazytime"], "lazytime");
}

/// The kernel's own default is relatime, so all that can be seen is that nothing else changed.
fn norelatime_is_taken() {
    clears(&["norelatime"], "noatime");
}

fn nostrictatime_takes_strictatime_back() {
    sets(&["strictatime", "nostrictatime"], "relatime");
}

fn nosuid_is_set() {
    sets(&["nosuid"], "nosuid");
}

fn nosymfollow_is_set_and_links_are_not_followed() {
    sets(&["nosymfollow"], "nosymfollow");
    let out = inside("ln -s /etc/passwd /t/link; cat /t/link 2>/dev/null || echo refused", |c| {
        add(&mut c["mounts"], tmpfs("/t", &["nosymfollow"]));
    });
    assert_eq!(out, "refused\n");
}

fn private_bind_is_in_no_peer_group() {
    let (mounted, _) = bound(MsFlags::empty(), &["bind", "private"]);
    assert_eq!(mounted.propagation, "");
}

fn rbind_shows_what_is_mounted_below() {
    let (mounted, below) = bound(MsFlags::empty(), &["rbind"]);
    assert_eq!((mounted.kind.as_str(), below.unwrap().kind.as_str()), ("tmpfs", "tmpfs"));
}

fn relatime_takes_noatime_off_a_bind() {
    bind_clears(MsFlags::MS_NOATIME, "relatime", "noatime");
    sets(&["noatime", "relatime"], "relatime");
}

fn remount_changes_the_mount_that_is_there() {
    let mounts = mounts_inside(|c| {
        add(&mut c["mounts"], tmpfs("/t", &["nosuid"]));
        add(
            &mut c["mounts"],
            json!({"destination": "/t", "source": "tmpfs", "type": "tmpfs", "options": ["remount", "ro", "nosuid"]}),
        );
    });
    assert!(mounts["/t"].has("ro") && mounts["/t"].has("nosuid"), "{:?}", mounts["/t"]);
}

fn ro_is_set_on_new_mounts_and_on_binds() {
    sets(&["ro"], "ro");
    let (mounted, _) = bound(MsFlags::empty(), &["bind", "ro"]);
    assert!(mounted.options.contains(&"ro".to_owned()), "{mounted:?}");
}

/// A recursive bind with a propagation; both mounts as seen inside.
#[track_caller]
fn propagations(option: &str) -> [String; 2] {
    let (mounted, below) = bound(MsFlags::empty(), &["rbind", option]);
    [mounted.propagation, below.unwrap().propagation]
}

fn rprivate_reaches_all_mounts_below() {
    assert_eq!(propagations("rprivate"), ["", ""]);
}

fn rshared_reaches_all_mounts_below() {
    let seen = propagations("rshared");
    assert!(seen.iter().all(|one| one.contains("shared:")), "{seen:?}");
}

fn rslave_reaches_all_mounts_below() {
    let seen = propagations("rslave");
    assert!(seen.iter().all(|one| one.starts_with("master:")), "{seen:?}");
}

fn runbindable_reaches_all_mounts_below() {
    assert_eq!(propagations("runbindable"), ["unbindable", "unbindable"]);
}

fn rw_takes_ro_off_a_bind() {
    let (mounted, _) = bound(MsFlags::MS_RDONLY, &["bind", "rw"]);
    assert!(mounted.options.contains(&"rw".to_owned()), "{mounted:?}");
}

fn shared_mount_has_a_peer_group() {
    let mounted = fresh(&["shared"]);
    assert!(mounted.propagation.contains("shared:"), "{mounted:?}");
}

fn silent_is_taken() {
    fresh(&["silent"]);
}

fn slave_bind_has_a_master() {
    let (mounted, _) = bound(MsFlags::empty(), &["bind", "slave"]);
    assert!(mounted.propagation.starts_with("master:"), "{mounted:?}");
}

fn strictatime_is_set() {
    let mounted = fresh(&["strictatime"]);
    assert!(!mounted.has("relatime") && !mounted.has("noatime"), "{mounted:?}");
}

fn suid_takes_nosuid_off_a_bind() {
    bind_clears(MsFlags::MS_NOSUID, "suid", "nosuid");
}

fn symfollow_takes_nosymfollow_off_a_bind() {
    bind_clears(crate::world::NOSYMFOLLOW, "symfollow", "nosymfollow");
}

fn sync_is_set() {
    sets(&["sync"], "sync");
}

fn tmpcopyup_shows_what_the_tmpfs_covers() {
    let out = inside("cat /etc/passwd >/dev/null && touch /etc/new && echo there; stat -f -c %T /etc", |c| {
        add(&mut c["mounts"], tmpfs("/etc", &["tmpcopyup"]));
    });
    assert_eq!(out, "there\ntmpfs\n");
}

fn unbindable_mount_is_so() {
    let mounted = fresh(&["unbindable"]);
    assert_eq!(mounted.propagation, "unbindable");
}
