//! From an image and options to a container on disk. Everything that can be wrong with the words is
//! found here, before anything is made; what only the mounted root can tell is the shim's.

use crate::bundle::spec::merge_env;
use crate::container::name;
use crate::container::record::{Bind, Network, Record};
use crate::container::store::{Container, Containers};
use crate::container::time;
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::paths::Paths;
use crate::runtime;
use crate::snapshot::Snapshots;

/// What the user asked of a new container.
#[derive(Debug, Clone, Default)]
pub struct CreateContainer {
    /// The image's reference as given.
    pub image: String,
    /// Replaces the image's command.
    pub args: Vec<String>,
    /// Replaces the image's entry point; the empty string clears it.
    pub entrypoint: Option<String>,
    /// A name, or a random one.
    pub name: Option<String>,
    /// `KEY=value`, over the image's environment.
    pub env: Vec<String>,
    /// Working directory, if not the image's.
    pub workdir: Option<String>,
    /// `user[:group]`, if not the image's.
    pub user: Option<String>,
    /// Host name, if not the short id.
    pub hostname: Option<String>,
    /// Which network.
    pub network: Network,
    /// Bind mounts.
    pub binds: Vec<Bind>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Microseconds per 100 ms.
    pub cpu_quota: Option<i64>,
    /// Number of tasks.
    pub pids_limit: Option<i64>,
    /// Mount the root read-only.
    pub read_only: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// In the background.
    pub detached: bool,
    /// Remove it when it has exited.
    pub remove: bool,
    /// Another runtime, by path or name.
    pub runtime: Option<String>,
    /// Rows and columns of the client's terminal.
    pub console_size: Option<(u16, u16)>,
}

/// Creates the container: its name, record and snapshot. On an error nothing is left.
pub fn create(paths: &Paths, image: &Image, wish: CreateContainer) -> Result<Container> {
    let containers = Containers::open(paths);
    let record = resolve(&containers, image, wish)?;
    let container = containers.create(record)?;
    let prepared =
        Snapshots::open(paths).and_then(|snapshots| snapshots.prepare(&container.record.id, image));
    if let Err(error) = prepared {
        return Err(match containers.remove(&container) {
            Ok(()) => error,
            Err(second) => Error::new(error.kind(), format!("{error}; then {second}")),
        });
    }
    Ok(container)
}

fn resolve(containers: &Containers, image: &Image, wish: CreateContainer) -> Result<Record> {
    let config = image.config.config().clone().unwrap_or_default();
    let entrypoint = match &wish.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => config.entrypoint().clone().unwrap_or_default(),
    };
    // The image's command are arguments for the image's entry point; another one gets none of them.
    let arguments = match (wish.args.is_empty(), &wish.entrypoint) {
        (true, None) => config.cmd().clone().unwrap_or_default(),
        _ => wish.args,
    };
    let args: Vec<String> = entrypoint.into_iter().chain(arguments).collect();
    if args.is_empty() {
        return Err(Error::new(Kind::InvalidInput, "no command specified"));
    }
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let cwd = given(&wish.workdir).or_else(|| given(config.working_dir())).unwrap_or_else(|| "/".into());
    if !cwd.starts_with('/') {
        return Err(Error::new(
            Kind::InvalidInput,
            format!("working directory '{cwd}' is invalid, it needs to be an absolute path"),
        ));
    }
    let id = name::new_id()?;
    Ok(Record {
        name: choose_name(containers, wish.name)?,
        created: time::now(),
        image: wish.image,
        image_id: image.id.to_string(),
        args,
        env: merge_env(&config.env().clone().unwrap_or_default(), &wish.env),
        cwd,
        user: wish.user.or_else(|| config.user().clone()).unwrap_or_default(),
        tty: wish.tty,
        stdin: wish.stdin,
        detached: wish.detached,
        hostname: wish.hostname.unwrap_or_else(|| name::short(&id).to_owned()),
        network: wish.network,
        binds: wish.binds,
        memory: wish.memory,
        cpu_quota: wish.cpu_quota,
        pids_limit: wish.pids_limit,
        read_only: wish.read_only,
        stop_signal: given(config.stop_signal()).unwrap_or_else(|| "SIGTERM".into()),
        runtime: runtime::find(wish.runtime.as_deref())?,
        remove: wish.remove,
        console_size: wish.console_size.filter(|_| wish.tty),
        id,
    })
}

fn choose_name(containers: &Containers, wish: Option<String>) -> Result<String> {
    if let Some(name) = wish {
        name::check_name(&name)?;
        containers.check_free(&name)?;
        return Ok(name);
    }
    for attempt in 0..100 {
        let name = name::random_name(attempt)?;
        if containers.check_free(&name).is_ok() {
            return Ok(name);
        }
    }
    Err(Error::new(Kind::System, "find a free name: too many containers; give one with --name"))
}
