//! Running the cases and keeping count: which are asked for, on how many threads, and what became of each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use wharf_tests::is_ours;

use crate::pending::PENDING;
use crate::requirement::{Case, Verdict};
use crate::{document, sentences, user};

/// What the command line asks for; options of libtest that mean nothing here are taken and ignored.
pub struct Asked {
    filters: Vec<String>,
    exact: bool,
    threads: usize,
    /// Print the names and run nothing.
    pub only_list: bool,
}

impl Asked {
    /// Reads the words after the program's name.
    pub fn of_the_command_line() -> Asked {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut asked = Asked { filters: Vec::new(), exact: false, threads, only_list: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.only_list = true,
                "--test-threads" => asked.threads = words.next().unwrap().parse().unwrap(),
                other => match other.strip_prefix("--test-threads=") {
                    Some(number) => asked.threads = number.parse().unwrap(),
                    None if other.starts_with('-') => {}
                    None => asked.filters.push(word),
                },
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        self.filters.is_empty() || self.filters.iter().any(fits)
    }
}

/// How a case ended.
#[derive(Clone, PartialEq, Eq)]
enum End {
    Pass,
    Fail(String),
    Skip(String),
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// All cases by name, each once, though several sentences may rest on one; with the suite's own checks.
fn all() -> BTreeMap<&'static str, &'static Case> {
    let sentences = crate::sections().into_iter().flat_map(|section| section.requirements);
    sentences
        .flat_map(|sentence| sentence.cases())
        .chain(document::CHECKS)
        .chain(sentences::CHECKS)
        .map(|case| (case.name(), case))
        .collect()
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}

/// Prints the names, as libtest does.
pub fn list() -> ExitCode {
    for name in all().keys() {
        say(&format!("{name}: test"));
    }
    ExitCode::SUCCESS
}

/// Runs what is asked for.
pub fn run(asked: &Asked) -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or(String::new(), |at| format!("{}:{}: ", at.file(), at.line()));
        let text = info.payload_as_str().unwrap_or("panic");
        MESSAGE.with(|message| *message.borrow_mut() = format!("{place}{text}"));
    }));
    let cases: Vec<&Case> = all().into_values().filter(|case| asked.wants(case.name())).collect();
    let next = AtomicUsize::new(0);
    let ends = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let end = end_of(case);
                    report(case.name(), &end);
                    ends.lock().unwrap().push((case.name(), end));
                }
            });
        }
    });
    sum_up(ends.into_inner().unwrap())
}

fn end_of(case: &Case) -> End {
    let roots = user::roots(case.name());
    match catch_unwind(AssertUnwindSafe(case.run)) {
        Ok(Verdict::Pass) if roots.is_some() => End::Fail("is listed as root's alone, but passes".to_owned()),
        Err(_) if let Some(reason) = roots => End::Skip(format!("root's alone: {reason}")),
        Ok(Verdict::Pass) => End::Pass,
        Ok(Verdict::Skip(reason)) => End::Skip(reason),
        Err(_) => End::Fail(MESSAGE.with(RefCell::take)),
    }
}

fn report(name: &str, end: &End) {
    match end {
        End::Pass => say(&format!("{name} ... ok")),
        End::Skip(reason) => say(&format!("{name} ... skipped: {reason}")),
        End::Fail(text) => say(&format!("{name} ... FAILED: {text}")),
    }
}

fn sum_up(mut ends: Vec<(&'static str, End)>) -> ExitCode {
    ends.sort_by_key(|(name, _)| *name);
    let recording = std::env::var_os("WHARF_CONFORMANCE_OUT");
    if let Some(path) = &recording {
        let lines: Vec<String> = ends.iter().map(|(name, end)| line(name, end)).collect();
        std::fs::write(path, lines.concat()).unwrap();
    }
    let pending = |name: &str| is_ours() && PENDING.contains(&name);
    let mut faults = Vec::new();
    let mut counts = [0; 4];
    for (name, end) in &ends {
        let (slot, fault) = match end {
            End::Pass if pending(name) => (0, Some("is listed as pending, but passes")),
            End::Pass => (0, None),
            End::Skip(_) => (1, None),
            End::Fail(_) if pending(name) => (2, None),
            End::Fail(_) => (3, Some("failed")),
        };
        counts[slot] += 1;
        faults.extend(fault.map(|fault| format!("  {name} {fault}")));
    }
    let [passed, skipped, waiting, failed] = counts;
    say(&format!(
        "\n{passed} passed, {failed} failed, {skipped} skipped, {waiting} pending\n{}",
        faults.join("\n")
    ));
    if faults.is_empty() || recording.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(name: &str, end: &End) -> String {
    let (result, text) = match end {
        End::Pass => ("pass", ""),
        End::Skip(reason) => ("skip", reason.as_str()),
        End::Fail(text) => ("fail", text.as_str()),
    };
    format!("{}\n", json!({"case": name, "result": result, "text": text}))
}
