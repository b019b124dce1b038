//! What a person sees while an image arrives: a bar per layer on a terminal, plain lines that a log
//! can hold otherwise, or nothing. All of it goes to stderr; stdout is for results.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is going to be fetched.
    Waiting,
    /// It is here already.
    Exists,
    /// Bytes fetched so far, of all.
    Downloading(u64, u64),
    /// All of it is here and checked.
    Downloaded,
    /// Bytes unpacked so far, of all.
    Unpacking(u64, u64),
    /// It is unpacked and checked.
    Unpacked,
}

/// Somebody who is told. Layers report from several threads.
pub trait Progress: Sync {
    /// A step of the layer with this short name.
    fn layer(&self, layer: &str, step: Step);

    /// Something worth knowing that is no error.
    fn note(&self, text: &str);
}

/// The progress for this stderr: bars on a terminal, lines otherwise.
pub fn choose(quiet: bool) -> Box<dyn Progress> {
    match (quiet, stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines),
    }
}

/// Tells nobody.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn layer(&self, _: &str, _: Step) {}

    fn note(&self, _: &str) {}
}

/// One line per step that ends something.
#[derive(Debug)]
pub struct Lines;

impl Progress for Lines {
    fn layer(&self, layer: &str, step: Step) {
        match words(step) {
            Some(words) if !matches!(step, Step::Downloading(..) | Step::Unpacking(..)) => {
                say(&format!("{layer}: {words}"))
            }
            _ => {}
        }
    }

    fn note(&self, text: &str) {
        say(text);
    }
}

/// A bar per layer.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Default for Bars {
    fn default() -> Self {
        Self { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: Mutex::default() }
    }
}

impl Progress for Bars {
    fn layer(&self, layer: &str, step: Step) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(layer.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_prefix(layer.to_owned());
            bar
        });
        bar.set_message(words(step).unwrap_or_default());
        match step {
            Step::Downloading(done, total) | Step::Unpacking(done, total) => {
                bar.set_style(style("{prefix}: {msg:<12} [{bar:40}] {bytes}/{total_bytes}"));
                bar.set_length(total);
                bar.set_position(done);
            }
            Step::Unpacked | Step::Exists => {
                bar.set_style(style("{prefix}: {msg}"));
                bar.finish();
            }
            Step::Waiting | Step::Downloaded => bar.set_style(style("{prefix}: {msg}")),
        }
    }

    fn note(&self, text: &str) {
        self.all.suspend(|| say(text));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn words(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::Waiting => "Pulling",
        Step::Exists => "Already exists",
        Step::Downloading(..) => "Downloading",
        Step::Downloaded => "Download complete",
        Step::Unpacking(..) => "Unpacking",
        Step::Unpacked => "Unpacked",
    })
}

/// A reader of progress that has gone away is no reason to stop.
fn say(text: &str) {
    if let Err(error) = writeln!(stderr().lock(), "{text}") {
        log::debug!("write to stderr: {error}");
    }
}
