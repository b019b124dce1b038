//! The bundle of a container: the folder with config.json that the runtime is given. Made by the
//! shim, because only there is the root mounted that the user's name is looked up in.

pub mod defaults;
pub mod etc;
pub mod seccomp;
pub mod spec;
pub mod user;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use serde_json::Value;

use crate::container::store::{Container, private_dir, write_atomically};
use crate::error::{Context, Error, Kind, Result};
use crate::shim::control::ExecRequest;

/// Writes the bundle for a container whose root is mounted at `root`; returns its folder.
pub fn make(container: &Container, root: &Path) -> Result<PathBuf> {
    let record = &container.record;
    let user = user::resolve(open_root(root)?.as_fd(), &record.user)?;
    for bind in &record.binds {
        make_source(&bind.source)?;
    }
    etc::write(record, &container.dir)?;
    let place = spec::Place { root: text(root)?, etc: text(&container.dir)?, user: &user };
    let config = spec::config(record, &place);
    let bundle = bundle_dir(container);
    private_dir(&bundle)?;
    write_atomically(
        &bundle.join("config.json"),
        &serde_json::to_vec(&config).context("encode config.json")?,
    )?;
    Ok(bundle)
}

/// Where a container's bundle lies.
pub fn bundle_dir(container: &Container) -> PathBuf {
    container.run_dir.join("bundle")
}

/// The root as a handle, for look-ups below it.
pub fn open_root(root: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(root, flags, Mode::empty()).context(format!("open root {}", root.display()))
}

/// A missing source of a bind is made as a folder, as Docker does.
fn make_source(source: &str) -> Result<()> {
    match fs::metadata(source) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(source).context(format!("create bind source {source}"))
        }
        Err(error) => Err(error).context(format!("look at bind source {source}")),
        Ok(_) => Ok(()),
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::new(Kind::InvalidInput, format!("{}: not UTF-8", path.display())))
}

/// The process document of an `exec`: the container's own process with what was asked laid over.
pub fn exec_process(container: &Container, request: &ExecRequest) -> Result<Value> {
    let config = bundle_dir(container).join("config.json");
    let bytes = fs::read(&config).context(format!("read {}", config.display()))?;
    let config: Value = serde_json::from_slice(&bytes).context("parse config.json")?;
    let mut process = config["process"].clone();
    let root = config["root"]["path"].as_str().unwrap_or_default();
    if let Some(wish) = &request.user {
        let user = user::resolve(open_root(Path::new(root))?.as_fd(), wish)?;
        process["user"] = spec::user_json(&user);
        process["capabilities"] = spec::capabilities(&user);
    }
    let base: Vec<String> = serde_json::from_value(process["env"].take()).context("read the environment")?;
    let mut over = request.env.clone();
    if request.tty && !base.iter().chain(&over).any(|variable| variable.starts_with("TERM=")) {
        over.push("TERM=xterm".into());
    }
    process["env"] = spec::merge_env(&base, &over).into();
    process["args"] = request.args.clone().into();
    process["terminal"] = request.tty.into();
    if let Some(cwd) = &request.cwd {
        process["cwd"] = cwd.clone().into();
    }
    if let Some(process) = process.as_object_mut() {
        process.remove("consoleSize");
    }
    if let (true, Some((rows, columns))) = (request.tty, request.console_size) {
        process["consoleSize"] = serde_json::json!({ "height": rows, "width": columns });
    }
    Ok(process)
}
