//! How cost grows with the size of what is asked for, and with what runs already.

use std::path::Path;

use crate::bundles::{self, Bundles};
use crate::measure::{ONCE, Series, once};
use crate::subjects::Subject;

/// One picture: for each subject, wall time (ms) against size.
pub struct Curve {
    /// What grows.
    pub name: &'static str,
    /// Subject and points.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// How far to go, and how often to measure each point.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Samples a point.
    pub rounds: usize,
    /// Of the sizes, the largest.
    pub most: usize,
}

/// Measures all curves.
pub fn all(tool: &Path, subjects: &[Subject], bundles: &Bundles, effort: Effort) -> Vec<Curve> {
    let mounts = |size| bundles.make("grown", bundles::with_binds(size));
    let devices = |size| bundles.make("grown", bundles::with_devices(size));
    let rules = |size| bundles.make("grown", bundles::with_seccomp_rules(size));
    vec![
        curve("bind mounts", tool, subjects, effort, &[0, 50, 100, 200], &mounts),
        curve("devices", tool, subjects, effort, &[0, 50, 100, 200], &devices),
        curve("seccomp rules", tool, subjects, effort, &[0, 50, 100, 200, 400], &rules),
        crowd(tool, subjects, bundles, effort),
    ]
}

fn curve(
    name: &'static str,
    tool: &Path,
    subjects: &[Subject],
    effort: Effort,
    sizes: &[usize],
    bundle: &dyn Fn(usize) -> std::path::PathBuf,
) -> Curve {
    let mut lines = lines_for(subjects);
    for &size in sizes.iter().filter(|size| **size <= effort.most) {
        let bundle = bundle(size);
        measure(tool, subjects, effort, &bundle, size, &mut lines);
    }
    Curve { name, lines: named(subjects, lines) }
}

/// One container more, while so many of the same runtime run.
fn crowd(tool: &Path, subjects: &[Subject], bundles: &Bundles, effort: Effort) -> Curve {
    let (plain, waiting) = (bundles.make("grown", |_| {}), bundles.make("grown-waiting", bundles::waits));
    let waiting = crate::subjects::text(&waiting);
    let mut lines = lines_for(subjects);
    for (subject, line) in subjects.iter().zip(&mut lines).filter(|(subject, _)| !subject.is_floor) {
        let mut running = 0;
        for size in [1, 10, 100, 300, 1000].into_iter().filter(|size| *size <= effort.most * 5) {
            // Not by `once`, which would wait for them.
            for index in running..size {
                let id = format!("{}-{index}", subject.id());
                subject.must(&["run", "--detach", "--bundle", &waiting, &id]);
            }
            running = size;
            let mut point = vec![Vec::new()];
            measure(tool, std::slice::from_ref(subject), effort, &plain, size, &mut point);
            line.extend(point.remove(0));
        }
        for entry in std::fs::read_dir(&subject.root).expect("list containers") {
            subject.clean(&entry.expect("list containers").file_name().to_string_lossy());
        }
    }
    Curve { name: "running containers", lines: named(subjects, lines) }
}

fn measure(
    tool: &Path,
    subjects: &[Subject],
    effort: Effort,
    bundle: &Path,
    size: usize,
    lines: &mut [Vec<(f64, f64)>],
) {
    let mut series = vec![Series::default(); subjects.len()];
    for _ in 0..effort.rounds {
        for (subject, series) in subjects.iter().zip(&mut series).filter(|(subject, _)| !subject.is_floor) {
            series.push(once(tool, ONCE, &subject.run(bundle, &subject.id())));
        }
    }
    for (line, series) in lines.iter_mut().zip(&series).filter(|(_, series)| series.len() > 0) {
        line.push((size as f64, series.median(|sample| sample.wall)));
    }
}

fn lines_for(subjects: &[Subject]) -> Vec<Vec<(f64, f64)>> {
    vec![Vec::new(); subjects.len()]
}

fn named(subjects: &[Subject], lines: Vec<Vec<(f64, f64)>>) -> Vec<(String, Vec<(f64, f64)>)> {
    let names = subjects.iter().map(|subject| subject.name.clone());
    names.zip(lines).filter(|(_, points)| !points.is_empty()).collect()
}
