//! `ps`: the processes of a container.

use std::io::Write as _;
use std::process::Command;

use super::{open, output};
use crate::cli::Globals;
use crate::cli::verbs::Ps;
use crate::container::processes;
use crate::error::{Context, Error, Kind, Result};

/// The verb: PIDs as JSON, or those lines of ps(1) that are about them.
pub fn ps(globals: &Globals, words: &Ps) -> Result<()> {
    let (id, options) =
        words.id_and_options.split_first().ok_or_else(|| Error::invalid("no container ID"))?;
    let (_, record) = open(globals, id)?;
    let pids = processes::pids(&record).with_context(|| format!("ps {id:?}"))?;
    if words.format == "json" {
        let text = serde_json::to_string(&pids).map_err(|e| Error::invalid(e.to_string()))?;
        return writeln!(output(), "{text}").context(super::STDOUT);
    }
    let default = vec!["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let result = Command::new("ps").args(options).output().context("run ps")?;
    if !result.status.success() {
        let text = String::from_utf8_lossy(&result.stderr).trim().to_owned();
        return Err(Error::new(Kind::System, format!("ps: {text}")));
    }
    let text = String::from_utf8_lossy(&result.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::invalid("ps options: there is no PID column"))?;
    writeln!(output(), "{heading}").context(super::STDOUT)?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|field| field.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            writeln!(output(), "{line}").context(super::STDOUT)?;
        }
    }
    Ok(())
}
