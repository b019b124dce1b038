//! Descriptors that the caller hands to the program: those of socket activation (sd_listen_fds(3)) first, then
//! those of `--preserve-fds`.

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::error::{Context, Result};
use crate::sys::process::{close_inherited_from, close_on_exec_from, is_open, keep_on_exec};

/// How many there are, from 3 on.
#[derive(Debug, Clone, Default)]
pub struct PassedFds {
    /// Of socket activation.
    pub listen: u32,
    /// Their names, if the caller gave any.
    pub names: Option<String>,
    /// Of `--preserve-fds`.
    pub preserve: u32,
}

impl PassedFds {
    /// What the environment announces for this process, and `preserve` more.
    pub fn announced(preserve: u32) -> PassedFds {
        let value = |name: &str| std::env::var(name).ok();
        let own = std::process::id().to_string();
        // Without LISTEN_PID it is taken as meant for us (as crun).
        let ours = value("LISTEN_PID").is_none_or(|pid| pid == own);
        let count = value("LISTEN_FDS").and_then(|count| count.parse().ok()).filter(|_| ours);
        PassedFds { listen: count.unwrap_or(0), names: value("LISTEN_FDNAMES"), preserve }
    }

    /// The number of the first descriptor that is not passed on.
    pub fn end(&self) -> u32 {
        self.listen.saturating_add(self.preserve).saturating_add(3)
    }

    /// The numbers.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        (3..self.end()).filter_map(|fd| RawFd::try_from(fd).ok())
    }

    /// An error if one of them is not open.
    pub fn check(&self) -> Result<()> {
        for fd in 3..self.end() {
            let option = if fd < self.listen.saturating_add(3) { "LISTEN_FDS" } else { "--preserve-fds" };
            is_open(fd as i32).with_context(|| format!("{option}: descriptor {fd}"))?;
        }
        Ok(())
    }

    /// Closes whatever else the caller left open. To be called once all that the caller named by number
    /// (`/dev/fd/63`) has been read.
    pub fn close_others(&self) -> Result<()> {
        close_inherited_from(self.end()).context("close the caller's other descriptors")
    }

    /// The variables that tell the program of the first kind. By its own PID: it is not always 1.
    pub fn variables(&self) -> Vec<CString> {
        if self.listen == 0 {
            return Vec::new();
        }
        let mut texts =
            vec![format!("LISTEN_FDS={}", self.listen), format!("LISTEN_PID={}", std::process::id())];
        texts.extend(self.names.iter().map(|names| format!("LISTEN_FDNAMES={names}")));
        texts.into_iter().filter_map(|text| CString::new(text).ok()).collect()
    }

    /// Lets them, and no others above 2, go over execve.
    pub fn keep(&self) -> Result<()> {
        for fd in 3..self.end() {
            keep_on_exec(fd as i32).with_context(|| format!("preserve descriptor {fd}"))?;
        }
        close_on_exec_from(self.end()).context("close other descriptors")
    }
}
