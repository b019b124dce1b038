//! Who a container's process is. `user[:group]` is looked up in the image's own /etc/passwd and
//! /etc/group, which are hostile: opened below the root by openat2, regular files only, without
//! blocking on a fifo, and no more than 1 MiB read. A string of digits is a number and never a name,
//! so that no image can claim `4294967296` for an account of its choice.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};

const MAX_FILE: u64 = 1 << 20;

/// A resolved user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, from the group file.
    pub groups: Vec<u32>,
    /// Home directory; `/` if unknown.
    pub home: String,
}

/// Resolves `user[:group]` below the root; the empty string is root.
pub fn resolve(root: BorrowedFd, wish: &str) -> Result<User> {
    lookup(wish, &read(root, "etc/passwd")?, &read(root, "etc/group")?)
}

/// The pure half: the wish and the two files' text.
fn lookup(wish: &str, passwd: &str, group: &str) -> Result<User> {
    let (name, group_name) = match wish.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name).filter(|name| !name.is_empty())),
        None => (wish, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = parse_id(name, "user")?;
    let entry = accounts(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == name,
    });
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(unknown(&format!("unable to find user {name}: no matching entries in passwd file")));
        }
    };
    let home =
        entry.as_ref().map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    if let Some(group_name) = group_name {
        // An explicit group stands alone: no others come with it.
        return Ok(User { uid, gid: lookup_group(group_name, group)?, groups: Vec::new(), home });
    }
    let gid = entry.as_ref().map_or(0, |entry| entry.gid);
    let account = entry.as_ref().map_or("", |entry| entry.name);
    let mut groups: Vec<u32> =
        groups(group).filter(|entry| entry.has(account)).map(|entry| entry.gid).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid, gid, groups, home })
}

fn lookup_group(name: &str, group: &str) -> Result<u32> {
    if let Some(gid) = parse_id(name, "group")? {
        return Ok(gid);
    }
    let found = groups(group).find(|entry| entry.name == name);
    found
        .map(|entry| entry.gid)
        .ok_or_else(|| unknown(&format!("unable to find group {name}: no matching entries in group file")))
}

/// `Some` for a number, `None` for a name; an error for a number that is no id.
fn parse_id(text: &str, what: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // The kernel takes the highest value as "leave unchanged"; Docker stops at the signed half.
        Ok(id) if i32::try_from(id).is_ok() => Ok(Some(id)),
        _ => Err(unknown(&format!("{what} {text}: uids and gids must be in range 0-2147483647"))),
    }
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// The well-formed lines of passwd(5).
fn accounts(text: &str) -> impl Iterator<Item = Account<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Account {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Group<'_> {
    fn has(&self, account: &str) -> bool {
        !account.is_empty() && self.members.split(',').any(|member| member.trim() == account)
    }
}

/// The well-formed lines of group(5).
fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or("") })
    })
}

/// The text of a file of the image; empty if there is none.
fn read(root: BorrowedFd, path: &str) -> Result<String> {
    let what = || format!("read /{path} of the image");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match openat2(
        root,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        fd => fd.context(what())?,
    };
    let stat = fstat(fd.as_fd()).context(what())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(Kind::InvalidInput, format!("{}: not a regular file", what())));
    }
    let mut bytes = Vec::new();
    File::from(fd).take(MAX_FILE + 1).read_to_end(&mut bytes).context(what())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::new(Kind::InvalidInput, format!("{}: more than 1 MiB", what())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unknown(message: &str) -> Error {
    Error::new(Kind::InvalidInput, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n4294967296:x:0:0::/:\nbroken\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web,other\nwww:x:33:web\n";

    #[test]
    fn users_resolve_as_the_table_says() {
        let user = |uid, gid, groups: &[u32], home: &str| {
            Some(User { uid, gid, groups: groups.to_vec(), home: home.into() })
        };
        for (wish, expected) in [
            ("", user(0, 0, &[], "/root")),
            ("root", user(0, 0, &[], "/root")),
            ("web", user(1000, 1001, &[33, 50], "/srv")),
            ("1000", user(1000, 1001, &[33, 50], "/srv")),
            ("1000:", user(1000, 1001, &[33, 50], "/srv")),
            ("77", user(77, 0, &[], "/")),
            ("web:staff", user(1000, 50, &[], "/srv")),
            (":2", user(0, 2, &[], "/root")),
            ("77:88", user(77, 88, &[], "/")),
            ("nobody", None),
            ("web:none", None),
            ("4294967296", None),
            ("4294967295", None),
            ("-1", None),
            ("0:-1", None),
        ] {
            assert_eq!(lookup(wish, PASSWD, GROUP).ok(), expected, "{wish:?}");
        }
    }
}
