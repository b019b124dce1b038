//! `inspect`: what is known of a container, under the names that Docker's clients look for.

use serde_json::{Value, json};

use crate::container::record::{Network, Status};
use crate::container::store::Containers;
use crate::error::Result;
use crate::paths::Paths;

/// One container as a JSON object.
pub fn inspect(paths: &Paths, query: &str) -> Result<Value> {
    let container = Containers::open(paths).find(query)?;
    let (record, status) = (&container.record, container.status()?);
    let running = container.running()?;
    let never = "0001-01-01T00:00:00Z";
    let (pid, exit) = match &status {
        Status::Running(running) => (running.pid, None),
        Status::Exited(exit) => (0, Some(exit)),
        Status::Created => (0, None),
    };
    let network = if record.network == Network::Host { "host" } else { "none" };
    let mounts: Vec<Value> = record
        .binds
        .iter()
        .map(|bind| {
            let writable = !bind.options.iter().any(|option| option == "ro");
            json!({ "Type": "bind", "Source": bind.source, "Destination": bind.target,
                "Mode": bind.options.join(","), "RW": writable })
        })
        .collect();
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Path": record.args.first(),
        "Args": record.args.get(1..).unwrap_or_default(),
        "State": {
            "Status": status.word(),
            "Running": pid != 0,
            "OOMKilled": exit.is_some_and(|exit| exit.oom),
            "Pid": pid,
            "ExitCode": exit.map_or(0, |exit| exit.code),
            "Error": exit.and_then(|exit| exit.error.as_deref()).unwrap_or_default(),
            "StartedAt": running.as_ref().map_or(never, |running| running.started.as_str()),
            "FinishedAt": exit.map_or(never, |exit| exit.finished.as_str()),
        },
        "Image": record.image_id,
        "Name": format!("/{}", record.name),
        "LogPath": container.dir.join("log.json"),
        "HostConfig": {
            "NetworkMode": network,
            "AutoRemove": record.remove,
            "Memory": record.memory.unwrap_or(0),
            "CpuQuota": record.cpu_quota.unwrap_or(0),
            "PidsLimit": record.pids_limit,
            "ReadonlyRootfs": record.read_only,
            "Runtime": record.runtime,
        },
        "Config": {
            "Hostname": record.hostname,
            "User": record.user,
            "Tty": record.tty,
            "OpenStdin": record.stdin,
            "Env": record.env,
            "Image": record.image,
            "WorkingDir": record.cwd,
            "StopSignal": record.stop_signal,
        },
        "Mounts": mounts,
    }))
}
