//! Tables and JSON lines, in the shapes that Docker's users and scripts expect.

use std::io::{Write, stderr, stdout};

use serde_json::json;

use crate::container::name::short;
use crate::container::record::Status;
use crate::container::store::Container;
use crate::container::time;
use crate::error::{Context, Result};

type Listed = [(Container, Status)];

/// Help goes to stdout and is no error; a word that is wrong is, with Docker's code.
pub fn usage(error: &clap::Error) -> Result<i32> {
    let text = error.render().to_string();
    if error.use_stderr() {
        stderr().write_all(text.as_bytes()).context("write to stderr")?;
        return Ok(125);
    }
    stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(0)
}

/// One id per line.
pub fn ids(listed: &Listed, whole: bool) -> String {
    listed.iter().map(|(container, _)| format!("{}\n", id(container, whole))).collect()
}

/// One object per line, with the keys of `docker ps --format json`.
pub fn json_lines(listed: &Listed, whole: bool) -> String {
    let object = |(container, status): &(Container, Status)| {
        let record = &container.record;
        let object = json!({
            "ID": id(container, whole), "Image": record.image, "Command": command(container, whole),
            "CreatedAt": record.created, "RunningFor": ago(container), "State": status.word(),
            "Status": status.sentence(), "Names": record.name, "Ports": "",
        });
        format!("{object}\n")
    };
    listed.iter().map(object).collect()
}

/// Columns, as wide as their widest cell.
pub fn table(listed: &Listed, whole: bool) -> String {
    let head = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(listed.iter().map(|(container, status)| {
        let (id, command) = (id(container, whole), command(container, whole));
        let record = &container.record;
        [
            id,
            record.image.clone(),
            command,
            ago(container),
            status.sentence(),
            String::new(),
            record.name.clone(),
        ]
    }));
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; 7]| {
        let cells: String =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   ")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

fn id(container: &Container, whole: bool) -> String {
    let id = &container.record.id;
    if whole { id.clone() } else { short(id).to_owned() }
}

fn ago(container: &Container) -> String {
    format!("{} ago", time::human(time::since(&container.record.created)))
}

/// The command in quotes, without the control characters a container could paint our terminal with.
fn command(container: &Container, whole: bool) -> String {
    let command: String = container.record.args.join(" ").chars().filter(|c| !c.is_control()).collect();
    if whole || command.chars().count() <= 20 {
        return format!("\"{command}\"");
    }
    format!("\"{}…\"", command.chars().take(19).collect::<String>())
}
