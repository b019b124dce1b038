//! Takes samples and sums them up.

use std::path::Path;
use std::process::Command;

/// What one run of a command sequence cost.
#[derive(Clone, Copy, Default)]
pub struct Sample {
    /// Wall time in ms.
    pub wall: f64,
    /// CPU time of all processes in ms.
    pub cpu: f64,
    /// Page faults of all processes.
    pub faults: f64,
    /// Peak memory of the largest process in KiB.
    pub memory: f64,
    /// Bytes given to write(2).
    pub written: f64,
    /// Commands that failed.
    pub failures: u32,
}

/// How often, and whether all at the same time.
#[derive(Clone, Copy)]
pub struct Times {
    /// How often; an `@` in a word becomes the number.
    pub count: usize,
    /// At the same time.
    pub together: bool,
}

/// Once.
pub const ONCE: Times = Times { count: 1, together: false };

/// Runs the words of a sequence.
pub fn once(tool: &Path, times: Times, words: &[String]) -> Sample {
    let mut command = Command::new(tool);
    command.args(["-n", &times.count.to_string()]).args(times.together.then_some("-j")).args(words);
    let said = command.output().expect("run once");
    let line = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = line.lines().last().unwrap_or_default().to_owned();
    let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [wall, cpu, faults, memory, written, failures] = numbers[..] else {
        panic!("{words:?}: {line} {}", String::from_utf8_lossy(&said.stderr));
    };
    let failures = failures as u32;
    if failures > 0 {
        eprintln!("failed: {}\n{}", words.join(" "), String::from_utf8_lossy(&said.stderr));
    }
    Sample { wall: wall / 1e6, cpu: cpu / 1e3, faults, memory, written, failures }
}

/// Counts the system calls of all processes of a sequence; `None` without strace.
pub fn count_calls(tool: &Path, words: &[String], scratch: &Path) -> Option<f64> {
    let count = |words: &[String]| -> Option<f64> {
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(scratch).arg(tool);
        command.args(words).output().ok().filter(|said| said.status.success())?;
        let table = std::fs::read_to_string(scratch).ok()?;
        let total = table.lines().find(|line| line.ends_with("total"))?;
        total.split_whitespace().next()?.parse().ok()
    };
    // Without those of the tool itself.
    Some(count(words)? - count(&["wait".to_owned()])?)
}

/// Many samples of one command sequence.
#[derive(Clone, Default)]
pub struct Series {
    samples: Vec<Sample>,
    /// System calls, counted in a round of their own.
    pub calls: Option<f64>,
}

impl Series {
    /// One more.
    pub fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Failed commands in all.
    pub fn failures(&self) -> u32 {
        self.samples.iter().map(|sample| sample.failures).sum()
    }

    /// The value below which this share of the samples lie.
    pub fn quantile(&self, share: f64, value: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        values.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The one in the middle.
    pub fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        self.quantile(0.5, value)
    }
}
