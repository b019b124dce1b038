//! The NOTIFY_SOCKET of a service manager, passed on into the container (sd_notify(3)).
//!
//! The container gets a socket of its own, in the container's folder, bound at /run/notify: the manager's would
//! not be reachable from its namespaces and would see the container's PIDs. `start` listens there until the
//! container is ready or gone, and tells the manager that, with the PID as the host numbers it.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::plan::mounts::{Flags, MountStep, What};
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::mount::MountAttr;

const FOLDER: &str = "notify";
const NAME: &str = "notify.sock";
/// Where the folder is in the container.
const INSIDE: &str = "/run/notify";

/// The manager's socket, if there is one.
pub fn manager() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|text| !text.is_empty())
}

/// Makes the folder and returns the mount that shows it to the container, and the variable that names it there.
pub fn prepare(dir: &Path, index: usize) -> Result<(MountStep, String)> {
    let folder = dir.join(FOLDER);
    files::create_dir_with(&folder, 0o755).on("create", &folder)?;
    let set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let step = MountStep {
        index,
        destination: INSIDE.into(),
        what: What::Bind { source: folder, recursive: false, inside: None },
        flags: Flags { set, given: true, ..Flags::default() },
        recursive_attr: MountAttr::default(),
        propagation: Vec::new(),
        idmap: None,
        without_effect: Vec::new(),
    };
    Ok((step, format!("NOTIFY_SOCKET={INSIDE}/{NAME}")))
}

/// The container's socket with the manager behind it.
#[derive(Debug)]
pub struct Relay {
    socket: UnixDatagram,
    path: PathBuf,
    manager: SocketAddr,
}

impl Relay {
    /// Listens, if the container was created under a manager and we are called by one.
    pub fn listen(dir: &Path) -> Result<Option<Relay>> {
        let there = files::is_dir(dir.join(FOLDER)).on("look into", dir)?;
        let (Some(manager), true) = (manager(), there) else { return Ok(None) };
        let manager = match manager.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&manager),
        };
        let path = dir.join(FOLDER).join(NAME);
        let socket = again(|| UnixDatagram::bind(&path)).on("listen on", &path)?;
        again(|| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)))
            .on("open up", &path)?;
        Ok(Some(Relay { socket, path, manager: manager.context("NOTIFY_SOCKET")? }))
    }

    /// Passes on what the container says until it says that it is ready, or has ended.
    pub fn run(self, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
            if fds[0].revents().is_empty() {
                if fds[1].revents().is_empty() {
                    continue;
                }
                return Ok(());
            }
            let length = again(|| self.socket.recv(&mut buffer)).on("read", &self.path)?;
            if is_ready(buffer.get(..length).unwrap_or_default()) {
                return self.tell(&format!("MAINPID={pid}\nREADY=1"));
            }
        }
    }

    fn tell(&self, text: &str) -> Result<()> {
        let socket = again(UnixDatagram::unbound).context("open socket")?;
        let sent = again(|| socket.send_to_addr(text.as_bytes(), &self.manager))
            .context("tell the service manager")?;
        if sent == text.len() {
            Ok(())
        } else {
            Err(Error::new(Kind::System, "the service manager took half a message"))
        }
    }
}

pub(crate) fn is_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}
