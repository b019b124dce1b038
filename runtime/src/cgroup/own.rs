//! Giving the container's control group away (config-linux.md, "Cgroup ownership"; cgroups(7), "Cgroups v2
//! delegation"): the directory and those files by which its owner makes groups below it, and none that limits it.

use std::io::ErrorKind;
use std::os::unix::fs::chown;

use super::{Cgroup, Mode};
use crate::error::{Context, Result};
use crate::sys::again::again;
use crate::sys::files;

/// Where kernels from 4.15 on list the files that an owner needs.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// What a kernel without that list has.
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

impl Cgroup {
    /// Makes `uid` the owner, on v2; v1 has no safe way to do it. A file that the list names need not be there.
    pub fn give_to(&self, uid: u32) -> Result<()> {
        let Some(dir) = self.unified().filter(|_| self.mode == Mode::V2) else { return Ok(()) };
        let list = match files::read_to_string(LIST) {
            Err(e) if e.kind() == ErrorKind::NotFound => FALLBACK.to_owned(),
            other => other.with_context(|| format!("read {LIST}"))?,
        };
        let files = list.lines().filter(|name| !name.is_empty() && !name.contains('/'));
        for path in files.map(|name| dir.path.join(name)).chain([dir.path.clone()]) {
            match again(|| chown(&path, Some(uid), None)).context("chown") {
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                // Ordinary users can give nothing away.
                Err(error) if self.was_denied(&error) => {
                    log::debug!("{} keeps its owner: {error}", path.display())
                }
                other => other.with_context(|| format!("give {} to user {uid}", path.display()))?,
            }
        }
        Ok(())
    }
}
