//! `update`: other limits for a container that runs or is paused.
//!
//! Only what is named changes, and either all of it or nothing. What was changed goes into the record, so that the
//! next update knows what is in force.

use std::io::Read as _;
use std::path::Path;

use super::{open, or_gone};
use crate::cli::Globals;
use crate::cli::verbs::{Limits, Update};
use crate::container::record::Record;
use crate::container::{Container, not_running, status};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::findings::Findings;
use crate::plan::resources::{complete, merge};
use crate::spec::state::Status;
use crate::spec::{BlockIo, Cpu, Memory, Pids, Resources, from_json};
use crate::sys::files;

/// The verb.
pub fn update(globals: &Globals, words: &Update) -> Result<()> {
    change(globals, words).with_context(|| format!("update {:?}", words.id))
}

fn change(globals: &Globals, words: &Update) -> Result<()> {
    // Read before anything is locked: standard input may be slow.
    let file = words.resources.as_deref().map(read).transpose()?.unwrap_or_default();
    let named = merge(&file, &named_limits(&words.limits))?;
    let (container, record) = open(globals, &words.id)?;
    or_gone(&container, &record, apply(&container, words, &named))
}

fn apply(container: &Container, words: &Update, named: &Resources) -> Result<()> {
    // Two updates at a time would each forget what the other has changed.
    let _lock = container.lock()?;
    let mut record = container.load()?;
    match status::derive(container, &record)? {
        Status::Stopped => return Err(not_running()),
        // Its creator has the record in its hands.
        Status::Creating => return Err(Error::new(Kind::WrongStatus, "container is being created")),
        _ => {}
    }
    let classes = named_classes(words, &record)?;
    let linux = record.config.linux.get_or_insert_default();
    let old = linux.resources.clone().unwrap_or_default();
    linux.resources = Some(merge(&old, &complete(&old, named))?);
    if let Some(rdt) = &mut linux.intel_rdt {
        words.l3_cache_schema.iter().for_each(|line| rdt.l3_cache_schema.clone_from(line));
        words.mem_bw_schema.iter().for_each(|line| rdt.mem_bw_schema.clone_from(line));
        let mut findings = Findings::default();
        crate::plan::rdt::resolve(rdt, &words.id, &mut findings);
        findings.into_result()?;
    }
    let undo = record.cgroup.update(&old, named)?;
    if let Err(error) = apply_classes(container, &record, &classes) {
        if let Err(second) = record.cgroup.put_back(undo) {
            log::warn!("{second}");
        }
        return Err(error);
    }
    Ok(())
}

/// The last steps: the class's lines, and the record.
fn apply_classes(container: &Container, record: &Record, lines: &[String]) -> Result<()> {
    let Some(group) = record.rdt.as_ref().filter(|_| !lines.is_empty()) else {
        return record.save(&container.dir);
    };
    let before = group.update(lines).in_field("linux.intelRdt")?;
    record.save(&container.dir).inspect_err(|_| {
        if let Err(second) = group.update(&before) {
            log::warn!("put class of service back: {second}");
        }
    })
}

/// Reads `--resources`; `-` is standard input.
fn read(path: &Path) -> Result<Resources> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).context("--resources: read standard input")?;
    } else {
        text = files::read_to_string(path).on("--resources: read", path)?;
    }
    from_json(&text).on("--resources: parse", path)
}

fn named_limits(words: &Limits) -> Resources {
    let memory = Memory {
        limit: words.memory,
        reservation: words.memory_reservation,
        swap: words.memory_swap,
        kernel: words.kernel_memory,
        kernel_tcp: words.kernel_memory_tcp,
        ..Default::default()
    };
    let cpu = Cpu {
        shares: words.cpu_share,
        quota: words.cpu_quota,
        burst: words.cpu_burst,
        period: words.cpu_period,
        realtime_runtime: words.cpu_rt_runtime,
        realtime_period: words.cpu_rt_period,
        cpus: words.cpuset_cpus.clone().unwrap_or_default(),
        mems: words.cpuset_mems.clone().unwrap_or_default(),
        idle: words.cpu_idle,
    };
    Resources {
        memory: Some(memory),
        cpu: Some(cpu),
        pids: words.pids_limit.map(|limit| Pids { limit: Some(limit) }),
        block_io: words.blkio_weight.map(|weight| BlockIo { weight: Some(weight), ..Default::default() }),
        ..Default::default()
    }
}

/// The lines for resctrl, which only a container that has a class there can be given.
fn named_classes(words: &Update, record: &Record) -> Result<Vec<String>> {
    let lines: Vec<String> = words.l3_cache_schema.iter().chain(&words.mem_bw_schema).cloned().collect();
    if lines.is_empty() || record.rdt.is_some() {
        return Ok(lines);
    }
    let message = match (Path::new("/sys/fs/resctrl/info").is_dir(), &words.l3_cache_schema) {
        (true, _) => "updating a non-existent Intel RDT configuration is not supported",
        (false, Some(_)) => "Intel RDT/CAT: l3 cache schema is not enabled",
        (false, None) => "Intel RDT/MBA: memory bandwidth schema is not enabled",
    };
    Err(Error::new(Kind::Unsupported, message))
}
