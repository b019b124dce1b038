//! Files: the image's passwd, and what the kernel writes.

use std::path::Path;

use crate::cgroup::hierarchy::{Dir, among};
use crate::cgroup::join::{Below, find_in};
use crate::cgroup::stats::{parse_pressure, parse_table, v1, v2};
use crate::command::events::parse_interface;
use crate::command::list::user_name;
use crate::container::status::Stat;
use crate::init::payload::home_in;
use crate::sys::mountinfo;

/// passwd(5): the first two bytes are the user.
pub fn passwd(input: &[u8]) {
    let (uid, text) = input.split_first_chunk::<2>().unwrap_or((&[0; 2], input));
    let uid = u32::from(u16::from_le_bytes(*uid));
    if let Some(home) = home_in(text, uid) {
        assert!(!home.is_empty() && !home.contains(&b':') && !home.contains(&b'\n'));
    }
    let name = user_name(&String::from_utf8_lossy(text), uid);
    assert!(!name.contains(':') && !name.contains('\n'), "{name:?}");
}

/// proc(5) mountinfo, and the control groups among the mounts.
pub fn mountinfo(input: &[u8]) {
    let mounts = mountinfo::parse(input);
    let lines = input.split(|byte| *byte == b'\n').count();
    assert!(mounts.len() <= lines);
    let (_, dirs) = among(mounts);
    for dir in &dirs {
        assert!(dir.path == dir.mount_point && !(dir.unified && dir.has("memory")));
    }
}

/// Files of control groups and of processes.
pub fn cgroup_files(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    parse_pressure(&text);
    parse_table(&text);
    v1::expand(&text);
    text.lines().for_each(|line| drop(v1::blkio_entry(line)));
    v2::parse_io(&text);
    text.lines().for_each(|line| drop(parse_interface(line)));
    Stat::parse(&text);
    let dir = Dir {
        name: String::new(),
        controllers: vec!["memory".to_owned()],
        unified: true,
        mount_point: "/m".into(),
        path: "/m/web".into(),
        created: Vec::new(),
        found: Vec::new(),
    };
    if let Some(path) = find_in(&dir, &text) {
        assert!(path.starts_with("/m") && stays_below(&path), "{path:?}");
    }
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(below) = Below::parse(&words) {
        let path = below.path_in(&dir);
        assert!(path.starts_with("/m/web") && stays_below(&path), "{path:?}");
    }
}

fn stays_below(path: &Path) -> bool {
    !path.components().any(|part| part == std::path::Component::ParentDir)
}
