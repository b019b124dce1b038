//! `checkpoint`: have criu save a running container into images, then delete it (unless it is to run on).

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::delete::delete_container;
use super::open;
use crate::cli::Globals;
use crate::cli::criu::{Both, Checkpoint};
use crate::container::record::Record;
use crate::container::{not_running, status};
use crate::criu::message::{CgroupMode, Feature, Flag, Folder, Number, Options, Request, Text, Type};
use crate::criu::service::{Service, Streams, require_feature, require_version};
use crate::criu::{CONFIG_ANNOTATION, DEFAULT_CONFIG, external};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;
use crate::spec::state::Status;
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::stream::Stream;

/// What the program's standard streams were, beside criu's own images (as runc).
const STREAMS: &str = "descriptors.json";

/// criu's log, which engines copy for the user.
const LOG: &str = "dump.log";

/// The verb.
pub fn checkpoint(globals: &Globals, words: &Checkpoint) -> Result<()> {
    let context = || format!("checkpoint {:?}", words.id);
    let (container, record) = open(globals, &words.id)?;
    let status = status::derive(&container, &record)?;
    if !matches!(status, Status::Running | Status::Paused) {
        let message = format!("container cannot be checkpointed in {status} state");
        return Err(Error::new(Kind::WrongStatus, message)).with_context(context);
    }
    dump(&record, words).with_context(context)?;
    if words.leave_running || words.pre_dump {
        return Ok(());
    }
    delete_container(&container).with_context(context)
}

fn dump(record: &Record, words: &Checkpoint) -> Result<()> {
    let init = record.init.ok_or_else(not_running)?.pid;
    let plan = Plan::resolve(&record.id, &record.bundle, &record.config)?;
    let page_server = words.page_server.as_deref().map(parse_page_server).transpose()?;
    let status_fd = words.status_fd.map(crate::sys::process::take_inherited).transpose();
    let mut status_fd = status_fd.context("--status-fd")?;
    let folders = Folders::open(&words.both, true)?;
    check_parent(words)?;
    require_version(0)?;

    let mut options = folders.options(&words.both, record, LOG)?;
    options.number(Number::Pid, init);
    options.text(Text::Root, &record.rootfs);
    options.flag(Flag::LeaveRunning, words.leave_running);
    options.flag(Flag::TcpSkipInFlight, words.tcp_skip_in_flight);
    options.flag(Flag::LinkRemap, words.link_remap);
    let freezer = record.cgroup.dirs.iter().find(|dir| dir.has("freezer"));
    if let Some(dir) = freezer.or_else(|| record.cgroup.dirs.iter().find(|dir| dir.unified)) {
        options.text(Text::FreezeCgroup, &dir.path);
    }
    if let Some((address, port)) = page_server {
        options.page_server(address, port);
    }
    if let Some(parent) = &words.parent_path {
        options.text(Text::ParentImg, parent);
        options.flag(Flag::TrackMem, true);
    }
    for name in external::for_dump(&plan, &record.cgroup, init)? {
        options.text(Text::External, name);
    }
    if words.both.lazy_pages {
        require_feature(Feature::LazyPages)?;
    }
    let kind = if words.pre_dump { Type::PreDump } else { Type::Dump };
    match kind {
        Type::PreDump => require_feature(Feature::MemTrack)?,
        _ => write_streams(&words.both.image_path.join(STREAMS), &record.standard_streams)?,
    }
    let mut service = Service::start(Streams::Null, &[])?.logging_to(folders.log(LOG)?);
    service.ask(&Request::with_options(kind, &options), &mut |notification| match status_fd
        .take_if(|_| notification.script == "status-ready")
    {
        Some(fd) => Stream(fd).write_all(&[0]).context("write to --status-fd"),
        None => Ok(()),
    })?;
    service.end(kind)
}

/// `ADDRESS:PORT`, the address of IPv6 in brackets or not.
pub(crate) fn parse_page_server(text: &str) -> Result<(&str, u16)> {
    let wrong = || Error::invalid(format!("--page-server: {text:?} is not ADDRESS:PORT"));
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if address.is_empty() { Err(wrong()) } else { Ok((address, port)) }
}

/// criu makes a link in the folder of the images that leads to the parent's: so the way must be relative.
fn check_parent(words: &Checkpoint) -> Result<()> {
    let Some(parent) = &words.parent_path else { return Ok(()) };
    if parent.is_absolute() {
        return Err(Error::invalid("--parent-path must be relative to --image-path"));
    }
    let path = words.both.image_path.join(parent);
    let context = || format!("invalid --parent-path: open {}", path.display());
    again(|| rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
        .with_context(context)?;
    Ok(())
}

fn write_streams(path: &Path, streams: &[String]) -> Result<()> {
    let text = serde_json::to_vec(streams).map_err(|e| Error::new(Kind::System, e.to_string()))?;
    let write = || {
        again(|| OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path))?
            .write_all(&text)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// What the dumped program's standard streams were; restored ones that were pipes take ours.
pub(super) fn read_streams(images: &Path) -> Result<Vec<String>> {
    let path = images.join(STREAMS);
    let text = files::read(&path).with_context(|| format!("--image-path: read {}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::invalid(e.to_string()))
        .with_context(|| format!("--image-path: parse {}", path.display()))
}

/// The folder of the images and the one of the log.
#[derive(Debug)]
pub(super) struct Folders {
    log_path: PathBuf,
    images: OwnedFd,
    work: Option<OwnedFd>,
}

impl Folders {
    /// Opens both; with `make`, that of the images is made if it is not there. That of the log always is.
    pub(super) fn open(both: &Both, make: bool) -> Result<Folders> {
        let open = |path: &Path, make: bool| {
            if make {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.with_context(|| format!("create {}", path.display()))?;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            again(|| rustix::fs::open(path, flags, Mode::empty()))
                .with_context(|| format!("open {}", path.display()))
        };
        Ok(Folders {
            images: open(&both.image_path, make).context("--image-path")?,
            work: both
                .work_path
                .as_deref()
                .map(|path| open(path, true))
                .transpose()
                .context("--work-path")?,
            log_path: both.work_path.as_ref().unwrap_or(&both.image_path).clone(),
        })
    }

    /// The path of the log.
    pub(super) fn log(&self, name: &str) -> Result<PathBuf> {
        std::path::absolute(self.log_path.join(name)).on("find", &self.log_path)
    }

    /// The options that a dump and a restore have in common.
    pub(super) fn options(&self, both: &Both, record: &Record, log: &'static str) -> Result<Options> {
        let mut options = Options::default();
        options.folder(Folder::Images, self.images.as_fd());
        if let Some(work) = &self.work {
            options.folder(Folder::Work, work.as_fd());
        }
        options.text(Text::LogFile, log);
        options.number(Number::LogLevel, 4); // all but the finest
        options.flag(Flag::NotifyScripts, true);
        options.flag(Flag::OrphanPtsMaster, true);
        options.flag(Flag::ManageCgroups, true);
        options.flag(Flag::TcpEstablished, both.tcp_established);
        options.flag(Flag::ExtUnixSk, both.ext_unix_sk);
        options.flag(Flag::ShellJob, both.shell_job);
        options.flag(Flag::FileLocks, both.file_locks);
        options.flag(Flag::AutoDedup, both.auto_dedup);
        options.flag(Flag::LazyPages, both.lazy_pages);
        let mode = match both.manage_cgroups_mode.as_deref() {
            Some("soft") => CgroupMode::Soft,
            Some("full") => CgroupMode::Full,
            Some("strict") => CgroupMode::Strict,
            Some("ignore") => CgroupMode::Ignore,
            _ => CgroupMode::Default,
        };
        options.number(Number::ManageCgroupsMode, mode as i32);
        // A network's devices are the engine's; it connects them in a hook.
        options.number(Number::EmptyNs, libc::CLONE_NEWNET);
        // An empty annotation says that there shall be no file; a file that is asked for must be there.
        let config = match record.config.annotations.get(CONFIG_ANNOTATION) {
            Some(path) if path.is_empty() => None,
            Some(path) => {
                Some(files::canonicalize(path).with_context(|| format!("open {CONFIG_ANNOTATION} {path}"))?)
            }
            None => Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()),
        };
        if let Some(path) = config {
            options.text(Text::ConfigFile, path);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::parse_page_server;

    #[test]
    fn page_servers_are_address_and_port() {
        assert_eq!(parse_page_server("127.0.0.1:27").unwrap(), ("127.0.0.1", 27));
        assert_eq!(parse_page_server("[::1]:27").unwrap(), ("::1", 27));
        for bad in ["", "host", ":1", "host:", "host:0", "host:65536", "host:x"] {
            assert!(parse_page_server(bad).is_err(), "{bad}");
        }
    }
}
