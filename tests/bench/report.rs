//! The tables, in Markdown.

use std::fmt::Write as _;

use crate::measure::{Sample, Series};
use crate::memory::Charge;
use crate::scenarios::Row;
use crate::subjects::Subject;

/// All that was measured.
pub struct Measured<'a> {
    /// Who.
    pub subjects: &'a [Subject],
    /// The roads.
    pub rows: &'a [Row],
    /// Memory.
    pub charges: &'a [Charge],
    /// The command that made it.
    pub command: String,
}

/// Writes the whole text.
pub fn write(measured: &Measured<'_>) -> String {
    let mut out = String::from("# Results\n\n");
    out += &format!("Made by `{}`, do not edit. {}\n\n", measured.command, machine());
    let versions: Vec<String> =
        measured.subjects.iter().filter(|subject| !subject.is_floor).map(version).collect();
    out += &format!("{}\n\n", versions.join(", "));
    out += "Medians; each round measures all, in another order. `floor` is the kernel's share of `run` (of `exec` and `state`: \
            of starting a program); \u{d7} floor and \u{d7} peer are our median against the floor's and against the best peer's.\n\n";
    table(&mut out, "Wall time, ms", measured, |series| number(series.median(|sample| sample.wall)));
    ratios(&mut out, "Wall time, ratios", measured, |sample| sample.wall);
    table(&mut out, "95th percentile of wall time, ms", measured, |series| {
        number(series.quantile(0.95, |sample| sample.wall))
    });
    table(&mut out, "CPU time of all processes, ms", measured, |series| {
        number(series.median(|sample| sample.cpu))
    });
    ratios(&mut out, "CPU time, ratios", measured, |sample| sample.cpu);
    table(&mut out, "System calls", measured, |series| {
        series.calls.map_or_else(|| "–".to_owned(), |calls| format!("{calls:.0}"))
    });
    table(&mut out, "Page faults", measured, |series| whole(series.median(|sample| sample.faults)));
    table(&mut out, "Peak memory of the largest process, KiB", measured, |series| {
        whole(series.median(|sample| sample.memory))
    });
    table(&mut out, "Bytes written", measured, |series| whole(series.median(|sample| sample.written)));
    memory(&mut out, measured);
    out
}

fn version(subject: &Subject) -> String {
    format!("{} {}", subject.name, subject.version)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let load = read("/proc/loadavg");
    format!(
        "The machine: {} × {}, {} of memory, Linux {}, cgroup v1; load average at the end {}.",
        cpu.matches("processor\t").count(),
        field(&cpu, "model name"),
        field(&memory, "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}

fn head(out: &mut String, title: &str, columns: impl Iterator<Item = String>) {
    let columns: Vec<String> = columns.collect();
    *out += &format!("## {title}\n\n| | {} |\n|---|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
}

fn table(out: &mut String, title: &str, measured: &Measured<'_>, cell: impl Fn(&Series) -> String) {
    head(out, title, measured.subjects.iter().map(|subject| subject.name.clone()));
    for row in measured.rows {
        let rounds = row.series.iter().flatten().map(Series::len).max().unwrap_or(0);
        let cells = row.series.iter().map(|series| series.as_ref().map_or_else(|| "–".to_owned(), &cell));
        let failures: u32 = row.series.iter().flatten().map(Series::failures).sum();
        let failed = if failures > 0 { format!(", {failures} failures") } else { String::new() };
        *out += &format!(
            "| {} ({rounds} rounds{failed}) | {} |\n",
            row.name,
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
    out.push('\n');
}

/// Ours against the floor of `run`, the floor of the row, and each peer.
fn ratios(out: &mut String, title: &str, measured: &Measured<'_>, value: impl Fn(&Sample) -> f64 + Copy) {
    let others = || measured.subjects.iter().enumerate().filter(|(_, subject)| subject.name != "wharf");
    let best = std::iter::once("× best peer".to_owned());
    head(out, title, others().map(|(_, subject)| format!("× {}", subject.name)).chain(best));
    let Some(ours) = measured.subjects.iter().position(|subject| subject.name == "wharf") else { return };
    for row in measured.rows {
        let median = |index: usize| row.series[index].as_ref().map(|series| series.median(value));
        let Some(own) = median(ours) else { continue };
        let ratio =
            |other: Option<f64>| other.map_or_else(|| "–".to_owned(), |other| format!("{:.2}", own / other));
        let peers = others().filter(|(_, subject)| !subject.is_floor).filter_map(|(index, _)| median(index));
        let best = peers.reduce(f64::min);
        let cells = others().map(|(index, _)| ratio(median(index))).chain([ratio(best)]);
        *out += &format!("| {} | {} |\n", row.name, cells.collect::<Vec<_>>().join(" | "));
    }
    out.push('\n');
}

fn memory(out: &mut String, measured: &Measured<'_>) {
    head(out, "Memory and size, KiB", measured.charges.iter().map(|charge| charge.name.clone()));
    let kib = |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), |bytes| (bytes / 1024).to_string());
    let floor = measured.charges.first().and_then(|charge| charge.peak).unwrap_or(0);
    let size = |subject: &Subject| std::fs::metadata(&subject.program).ok().map(|file| file.len());
    let sizes = measured.subjects.iter().filter(|subject| !subject.is_floor).map(size);
    let rows: [(&str, Vec<Option<u64>>); 4] = [
        (
            "peak charge to the container's cgroup",
            measured.charges.iter().map(|charge| charge.peak).collect(),
        ),
        (
            "of which above the floor's",
            measured
                .charges
                .iter()
                .map(|charge| charge.peak.map(|peak| peak.saturating_sub(floor)))
                .collect(),
        ),
        (
            "least memory limit under which the program runs",
            measured.charges.iter().map(|charge| charge.least).collect(),
        ),
        ("size of the executable", std::iter::once(None).chain(sizes).collect()),
    ];
    for (name, values) in rows {
        writeln!(out, "| {name} | {} |", values.into_iter().map(kib).collect::<Vec<_>>().join(" | ")).ok();
    }
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}
