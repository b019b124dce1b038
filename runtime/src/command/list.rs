//! `list`: all containers below the root.

use std::io::Write as _;

use super::output;
use super::state::{Shown, show};
use crate::cli::Globals;
use crate::cli::verbs::List;
use crate::container::Container;
use crate::error::{Error, Result};

/// The verb. A container whose record can't be read is left out with a warning.
pub fn list(globals: &Globals, words: &List) -> Result<()> {
    let mut shown = Vec::new();
    for container in Container::all(&globals.root)? {
        match container.load() {
            Ok(record) => shown.push(show(&container, &record)),
            Err(error) => log::warn!("{error}"),
        }
    }
    if words.quiet {
        for one in &shown {
            writeln!(output(), "{}", one.state.id)?;
        }
        return Ok(());
    }
    if words.format == "json" {
        let text = serde_json::to_string(&shown).map_err(|e| Error::invalid(e.to_string()))?;
        return Ok(writeln!(output(), "{text}")?);
    }
    print_table(&shown)
}

fn print_table(shown: &[Shown]) -> Result<()> {
    let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |one: &Shown| {
        let state = &one.state;
        let bundle = state.bundle.display().to_string();
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            bundle,
            one.created.clone(),
            one.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(heading).chain(shown.iter().map(row)).collect();
    // As Go's tabwriter with a least cell width of 12 and one space of padding, which is what runc prints.
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().map(|row| row[column].chars().count() + 1).max().unwrap_or(0).max(12))
        .collect();
    let mut output = output();
    for row in &rows {
        for (cell, width) in row[..5].iter().zip(&widths) {
            write!(output, "{cell:width$}")?;
        }
        writeln!(output, "{}", row[5])?;
    }
    Ok(())
}
