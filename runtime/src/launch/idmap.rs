//! Writes the id maps of a new user namespace (user_namespaces(7)).

use crate::error::{Context, Result};
use crate::spec::IdMapping;

/// Writes `uid_map` and `gid_map` of `pid`. An unprivileged writer must give up setgroups(2) first.
pub fn write(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    let lines = |maps: &[IdMapping]| -> String {
        maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    };
    if !rustix::process::geteuid().is_root() {
        write_file(pid, "setgroups", "deny")?;
    }
    write_file(pid, "gid_map", &lines(gids))?;
    write_file(pid, "uid_map", &lines(uids))
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::write(&path, text).with_context(|| format!("write {:?} to {path}", text.trim_end()))
}
