//! `list`: all containers below the root.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use super::output;
use super::state::{Shown, show};
use crate::cli::Globals;
use crate::cli::verbs::List;
use crate::container::Container;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::files;

/// The verb. A container whose record can't be read is left out with a warning. Without containers the default
/// root need not be there; one that was asked for must.
pub fn list(globals: &Globals, words: &List) -> Result<()> {
    if globals.root != Globals::default().root {
        files::metadata(&globals.root).on("open root", &globals.root)?;
    }
    let mut found = Vec::new();
    for container in Container::all(&globals.root)? {
        match container.load() {
            Ok(record) => found.push((container, record)),
            Err(error) if error.kind() == Kind::NotFound => {} // deleted meanwhile
            Err(error) => log::warn!("{error}"),
        }
    }
    let users = files::read_to_string("/etc/passwd").unwrap_or_default();
    let shown = found.iter().map(|(container, record)| {
        let owner = files::metadata(&container.dir).map(|folder| user_name(&users, folder.uid()));
        Ok(Shown { owner: owner.unwrap_or_default(), ..show(container, record)? })
    });
    let shown: Vec<Shown<'_>> = shown.collect::<Result<_>>()?;
    if words.quiet {
        for one in &shown {
            writeln!(output(), "{}", one.id).context(super::STDOUT)?;
        }
        return Ok(());
    }
    if words.format == "json" {
        let text = serde_json::to_string(&shown).map_err(|e| Error::invalid(e.to_string()))?;
        return writeln!(output(), "{text}").context(super::STDOUT);
    }
    print_table(&shown)
}

/// The name of a user in a passwd(5) text, or `#` and the number, as runc.
pub(crate) fn user_name(users: &str, uid: u32) -> String {
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

fn print_table(shown: &[Shown<'_>]) -> Result<()> {
    let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |one: &Shown<'_>| {
        let (pid, status, bundle) = (one.pid.to_string(), one.status.to_string(), one.bundle.display());
        [one.id.to_owned(), pid, status, bundle.to_string(), one.created.to_owned(), one.owner.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(heading).chain(shown.iter().map(row)).collect();
    // As Go's tabwriter with a least cell width of 12 and three spaces of padding, which is what runc prints.
    let mut widths = [12; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().saturating_add(3).max(*width);
        }
    }
    let mut output = output();
    for row in &rows {
        let (cells, [last]) = row.split_at(5) else { continue };
        for (cell, width) in cells.iter().zip(&widths) {
            write!(output, "{cell:width$}").context(super::STDOUT)?;
        }
        writeln!(output, "{last}").context(super::STDOUT)?;
    }
    Ok(())
}
