//! What a person sees while an image arrives: a bar for each layer on a terminal, plain lines elsewhere,
//! nothing if asked to be quiet.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Hears how things go.
pub trait Progress: Sync {
    /// A layer has come to a new stage.
    fn note(&self, layer: &str, stage: &str);
    /// `done` of `total` bytes of a layer are there.
    fn bytes(&self, layer: &str, done: u64, total: u64);
}

/// Says nothing.
#[derive(Debug)]
pub struct Quiet;

impl Progress for Quiet {
    fn note(&self, _: &str, _: &str) {}
    fn bytes(&self, _: &str, _: u64, _: u64) {}
}

/// One line for each stage, to standard error.
#[derive(Debug)]
pub struct Lines;

impl Progress for Lines {
    fn note(&self, layer: &str, stage: &str) {
        // Nobody may be listening; that is no reason to stop.
        writeln!(std::io::stderr(), "{layer}: {stage}").ok();
    }

    fn bytes(&self, _: &str, _: u64, _: u64) {}
}

/// A bar for each layer.
#[derive(Debug, Default)]
pub struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn with(&self, layer: &str, change: impl FnOnce(&ProgressBar)) {
        let Ok(mut bars) = self.bars.lock() else { return };
        let bar = bars.entry(layer.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            if let Ok(style) =
                ProgressStyle::with_template("{prefix}: {msg:18} {wide_bar} {bytes}/{total_bytes}")
            {
                bar.set_style(style);
            }
            bar.with_prefix(layer.to_owned())
        });
        change(bar);
    }
}

impl Progress for Bars {
    fn note(&self, layer: &str, stage: &str) {
        let last = matches!(stage, "Unpacked" | "Already exists");
        self.with(layer, |bar| {
            if last { bar.finish_with_message(stage.to_owned()) } else { bar.set_message(stage.to_owned()) }
        });
    }

    fn bytes(&self, layer: &str, done: u64, total: u64) {
        self.with(layer, |bar| {
            bar.set_length(total);
            bar.set_position(done);
        });
    }
}

/// What fits the place that standard error goes to.
pub fn fitting(quiet: bool) -> Box<dyn Progress> {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Quiet),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines),
    }
}
