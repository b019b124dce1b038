//! The mount options, in one table that `features` prints and the planner obeys.
//!
//! An option either changes the mount (attribute bits), its propagation, the superblock, or the way the
//! mount is made; whatever is none of these is the file system's own and handed to it.

use libc::{
    MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NODEV as NODEV,
    MOUNT_ATTR_NODIRATIME as NODIRATIME, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_NOSUID as NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW as NOSYMFOLLOW, MOUNT_ATTR_RDONLY as RDONLY, MOUNT_ATTR_RELATIME as RELATIME,
    MOUNT_ATTR_STRICTATIME as STRICTATIME,
};

use crate::sys::mount::MountAttr;

const PRIVATE: u64 = libc::MS_PRIVATE;
const SHARED: u64 = libc::MS_SHARED;
const SLAVE: u64 = libc::MS_SLAVE;
const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// The flags that a bind loses when options are given and these are not among them.
const CLEARED_BY_OMISSION: u64 = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;

/// The flags that a user namespace may not take off a mount that it did not make (mount_namespaces(7)).
const LOCKABLE: u64 = RDONLY | NOSUID | NODEV | NOEXEC;

/// What the options ask of the mount itself, in the words of mount(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `MOUNT_ATTR_*` bits to set, but for those of access times.
    pub set: u64,
    /// Bits that were named as to be off.
    pub cleared: u64,
    /// `MOUNT_ATTR_RELATIME`, `NOATIME` or `STRICTATIME`, if one was named.
    pub atime: Option<u64>,
    /// Whether any option was one of mount(2)'s.
    pub given: bool,
}

impl Flags {
    /// For a mount that starts with none.
    pub fn of_new(self) -> MountAttr {
        MountAttr { set: self.set | self.atime.unwrap_or(RELATIME), ..MountAttr::default() }
    }

    /// For a mount that has flags already. As mount(2) with MS_REMOUNT and MS_BIND, and so as runc and crun:
    /// what is not named is off, but access times stay as they are unless named; `nodiratime` names relatime.
    pub fn of_existing(self) -> MountAttr {
        let mut attr = MountAttr { set: self.set, clear: CLEARED_BY_OMISSION & !self.set, propagation: 0 };
        if let Some(atime) = self.access_times() {
            attr.set |= atime;
            attr.clear |= (ATIME | NODIRATIME) & !attr.set;
        }
        attr
    }

    /// The same where the flags that the mount has, `existing`, are locked: what is not named stays. `None` if
    /// something that was named would take one off.
    pub fn of_locked(self, existing: u64) -> Option<MountAttr> {
        let changes_atime = |atime| atime != existing & (ATIME | NODIRATIME);
        if self.cleared & existing & LOCKABLE != 0 || self.access_times().is_some_and(changes_atime) {
            return None;
        }
        let mut attr = MountAttr { set: self.set, clear: CLEARED_BY_OMISSION & !self.set, propagation: 0 };
        attr.clear &= !(existing & LOCKABLE);
        Some(attr)
    }

    fn access_times(self) -> Option<u64> {
        let nodiratime = self.set & NODIRATIME;
        (self.atime.is_some() || nodiratime != 0).then(|| self.atime.unwrap_or(RELATIME) | nodiratime)
    }
}

enum Effect {
    /// Id-mapped, and whether recursively.
    Idmap(bool),
    Set(u64),
    Clear(u64),
    /// How access times are kept.
    AccessTimes(u64),
    /// Takes back what an earlier option said of them; does nothing else, as in mount(2).
    NotAccessTimes(u64),
    SetAll(u64),
    ClearAll(u64),
    Superblock,
    Propagate(u64, bool),
    Bind(bool),
    Remount,
    CopyUp,
    Nothing,
}

/// Every option this runtime knows; `features` prints the names, the planner obeys the effects.
const OPTIONS: &[(&str, Effect)] = &[
    ("async", Effect::Superblock),
    ("atime", Effect::NotAccessTimes(NOATIME)),
    ("bind", Effect::Bind(false)),
    ("defaults", Effect::Nothing),
    ("dev", Effect::Clear(NODEV)),
    ("diratime", Effect::Clear(NODIRATIME)),
    ("dirsync", Effect::Superblock),
    ("exec", Effect::Clear(NOEXEC)),
    ("idmap", Effect::Idmap(false)),
    ("iversion", Effect::Superblock),
    ("lazytime", Effect::Superblock),
    ("loud", Effect::Nothing),
    ("mand", Effect::Superblock),
    ("noatime", Effect::AccessTimes(NOATIME)),
    ("nodev", Effect::Set(NODEV)),
    ("nodiratime", Effect::Set(NODIRATIME)),
    ("noexec", Effect::Set(NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Superblock),
    ("nomand", Effect::Superblock),
    ("norelatime", Effect::NotAccessTimes(RELATIME)),
    ("nostrictatime", Effect::NotAccessTimes(STRICTATIME)),
    ("nosuid", Effect::Set(NOSUID)),
    ("nosymfollow", Effect::Set(NOSYMFOLLOW)),
    ("private", Effect::Propagate(PRIVATE, false)),
    ("ratime", Effect::ClearAll(NOATIME)),
    ("rbind", Effect::Bind(true)),
    ("rdev", Effect::ClearAll(NODEV)),
    ("rdiratime", Effect::ClearAll(NODIRATIME)),
    ("relatime", Effect::AccessTimes(RELATIME)),
    ("remount", Effect::Remount),
    ("rexec", Effect::ClearAll(NOEXEC)),
    ("ridmap", Effect::Idmap(true)),
    ("rnoatime", Effect::SetAll(NOATIME)),
    ("rnodev", Effect::SetAll(NODEV)),
    ("rnodiratime", Effect::SetAll(NODIRATIME)),
    ("rnoexec", Effect::SetAll(NOEXEC)),
    ("rnorelatime", Effect::ClearAll(RELATIME)),
    ("rnostrictatime", Effect::ClearAll(STRICTATIME)),
    ("rnosuid", Effect::SetAll(NOSUID)),
    ("rnosymfollow", Effect::SetAll(NOSYMFOLLOW)),
    ("ro", Effect::Set(RDONLY)),
    ("rprivate", Effect::Propagate(PRIVATE, true)),
    ("rrelatime", Effect::ClearAll(ATIME)),
    ("rro", Effect::SetAll(RDONLY)),
    ("rrw", Effect::ClearAll(RDONLY)),
    ("rshared", Effect::Propagate(SHARED, true)),
    ("rslave", Effect::Propagate(SLAVE, true)),
    ("rstrictatime", Effect::SetAll(STRICTATIME)),
    ("rsuid", Effect::ClearAll(NOSUID)),
    ("rsymfollow", Effect::ClearAll(NOSYMFOLLOW)),
    ("runbindable", Effect::Propagate(UNBINDABLE, true)),
    ("rw", Effect::Clear(RDONLY)),
    ("shared", Effect::Propagate(SHARED, false)),
    ("silent", Effect::Nothing),
    ("slave", Effect::Propagate(SLAVE, false)),
    ("strictatime", Effect::AccessTimes(STRICTATIME)),
    ("suid", Effect::Clear(NOSUID)),
    ("symfollow", Effect::Clear(NOSYMFOLLOW)),
    ("sync", Effect::Superblock),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Effect::Propagate(UNBINDABLE, false)),
];

/// The names of all known options, sorted.
pub fn known_options() -> Vec<&'static str> {
    OPTIONS.iter().map(|(name, _)| *name).collect()
}

/// Whether an option is in the table.
pub(super) fn is_option(name: &str) -> bool {
    OPTIONS.binary_search_by(|(known, _)| (*known).cmp(name)).is_ok()
}

/// What a mount's options add up to, before it is known what kind of mount it is.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub flags: Flags,
    pub recursive_attr: MountAttr,
    pub propagation: Vec<(u64, bool)>,
    pub parameters: Vec<(String, Option<String>)>,
    pub bind: Option<bool>,
    pub remount: bool,
    pub copy_up: bool,
    pub idmap: Option<bool>,
    /// crun's `idmap=uids=…;gids=…`.
    pub idmap_text: Option<String>,
}

impl Wishes {
    pub fn read(options: &[String]) -> Wishes {
        let mut wishes = Wishes::default();
        for option in options.iter().flat_map(|o| o.split(',')).filter(|o| !o.is_empty()) {
            let at = OPTIONS.binary_search_by(|(name, _)| (*name).cmp(option));
            match at.ok().and_then(|at| OPTIONS.get(at)) {
                Some((_, effect)) => wishes.obey(option, effect),
                None => wishes.keep(option),
            }
        }
        wishes
    }

    fn obey(&mut self, option: &str, effect: &Effect) {
        let flags = &mut self.flags;
        match *effect {
            Effect::Set(bits) => {
                (flags.set, flags.cleared, flags.given) = (flags.set | bits, flags.cleared & !bits, true);
            }
            Effect::Clear(bits) => {
                (flags.set, flags.cleared, flags.given) = (flags.set & !bits, flags.cleared | bits, true);
            }
            Effect::AccessTimes(mode) => (flags.atime, flags.given) = (Some(mode), true),
            Effect::NotAccessTimes(mode) => {
                flags.atime = flags.atime.filter(|said| *said != mode);
                flags.given = true;
            }
            Effect::SetAll(bits) => change(&mut self.recursive_attr, bits, 0),
            Effect::ClearAll(bits) => change(&mut self.recursive_attr, 0, bits),
            Effect::Superblock => {
                self.parameters.push((option.to_owned(), None));
                flags.given = true;
            }
            Effect::Propagate(kind, recursive) => self.propagation.push((kind, recursive)),
            Effect::Bind(recursive) => self.bind = Some(recursive || self.bind.unwrap_or(false)),
            Effect::Remount => self.remount = true,
            Effect::CopyUp => self.copy_up = true,
            Effect::Idmap(recursive) => self.idmap = Some(recursive || self.idmap.unwrap_or(false)),
            Effect::Nothing => {}
        }
    }

    /// An option that the table does not have is the file system's.
    fn keep(&mut self, option: &str) {
        if let Some(text) = option.strip_prefix("idmap=").or_else(|| option.strip_prefix("ridmap=")) {
            self.idmap = Some(option.starts_with('r'));
            self.idmap_text = Some(text.to_owned());
            return;
        }
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (option, None),
        };
        self.parameters.push((key.to_owned(), value));
    }
}

fn change(attr: &mut MountAttr, set: u64, clear: u64) {
    let chosen = attr.set & ATIME;
    if set == 0 && clear & ATIME != 0 && clear != ATIME && chosen & clear == 0 && chosen != 0 {
        return; // "ratime" takes back "rnoatime" and nothing else, "rnostrictatime" likewise
    }
    if (set | clear) & ATIME != 0 {
        attr.set &= !ATIME; // the last word on access times counts
        attr.clear |= ATIME;
    }
    attr.set = (attr.set & !clear) | set;
    attr.clear = (attr.clear & !set) | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(options: &[&str]) -> Flags {
        Wishes::read(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).flags
    }

    #[test]
    fn options_are_sorted_for_the_search() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn what_a_bind_does_not_name_is_off_but_for_access_times() {
        let attr = flags(&["dev"]).of_existing();
        assert_eq!((attr.set, attr.clear), (0, RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW));
        let attr = flags(&["ro", "noatime", "relatime"]).of_existing();
        assert_eq!(attr.set, RDONLY);
        assert_eq!(attr.clear & (ATIME | NODIRATIME), ATIME | NODIRATIME);
        assert_eq!(flags(&["nodiratime", "norelatime"]).of_existing().set, NODIRATIME);
    }

    #[test]
    fn locked_flags_stay_unless_named_and_named_ones_are_refused() {
        let locked = RDONLY | NODEV | NOATIME;
        let attr = flags(&["nosuid", "symfollow"]).of_locked(locked).unwrap();
        assert_eq!((attr.set, attr.clear), (NOSUID, NOEXEC | NOSYMFOLLOW));
        for refused in ["rw", "dev", "relatime", "nodiratime", "strictatime"] {
            assert_eq!(flags(&[refused]).of_locked(locked), None, "{refused}");
        }
        assert!(flags(&["atime", "noatime"]).of_locked(locked).is_some());
    }
}
