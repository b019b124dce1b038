//! Memory: what a container's control group is charged for, and the least limit under which a program still runs.

use std::path::Path;
use std::process::Command;

use crate::bundles::{self, Bundles};
use crate::subjects::Subject;

const CGROUP: &str = "/wharf-bench-memory";
const STEP: u64 = 16 << 10;

/// For each subject, in bytes.
pub struct Charge {
    /// Its name.
    pub name: String,
    /// The most that was charged until the program had started.
    pub peak: Option<u64>,
    /// The least limit that is enough.
    pub least: Option<u64>,
}

/// Measures all.
pub fn all(subjects: &[Subject], bundles: &Bundles) -> Vec<Charge> {
    let charge = |subject: &Subject| Charge {
        name: subject.name.clone(),
        peak: peak(subject, bundles),
        least: least(subject, bundles),
    };
    subjects.iter().map(charge).collect()
}

fn peak(subject: &Subject, bundles: &Bundles) -> Option<u64> {
    if subject.is_floor {
        let rootfs = bundles.make("plain", |_| {}).join("rootfs");
        let said = Command::new(&subject.program).arg("-p").arg(rootfs).arg("/payload").output().ok()?;
        return String::from_utf8_lossy(&said.stdout).trim().parse().ok();
    }
    let bundle = bundles.make("charged", |config| {
        bundles::waits(config);
        bundles::with_memory(None, CGROUP)(config);
    });
    subject.must(&["create", "--bundle", &crate::subjects::text(&bundle), &subject.id()]);
    subject.must(&["start", &subject.id()]);
    let place = Path::new("/sys/fs/cgroup/memory").join(&CGROUP[1..]).join("memory.max_usage_in_bytes");
    let peak = std::fs::read_to_string(place).ok().and_then(|text| text.trim().parse().ok());
    subject.clean(&subject.id());
    peak
}

/// By bisection. What was enough three times is enough.
fn least(subject: &Subject, bundles: &Bundles) -> Option<u64> {
    let (mut too_small, mut enough) = (0, 32 << 20);
    if !suffices(subject, bundles, enough) {
        return None;
    }
    while enough - too_small > STEP {
        let middle = (too_small + enough) / 2 / STEP * STEP;
        match (0..3).all(|_| suffices(subject, bundles, middle)) {
            true => enough = middle,
            false => too_small = middle,
        }
    }
    Some(enough)
}

fn suffices(subject: &Subject, bundles: &Bundles, limit: u64) -> bool {
    let words = if subject.is_floor {
        let rootfs = bundles.make("plain", |_| {}).join("rootfs");
        let mut words = subject.run(&rootfs, &subject.id());
        words.splice(
            1..,
            ["-m".to_owned(), limit.to_string(), crate::subjects::text(&rootfs), "/payload".to_owned()],
        );
        words
    } else {
        let bundle = bundles.make("limited", bundles::with_memory(Some(limit), CGROUP));
        subject.run(&bundle, &subject.id())
    };
    // Some runtimes wait for ever for an init that was killed.
    let mut command = Command::new("timeout");
    let said = command.args(["--signal=KILL", "20"]).args(&words).output().expect("run timeout");
    subject.clean(&subject.id());
    said.status.success()
}
