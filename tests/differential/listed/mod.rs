//! The differences that may be, each with its reason. docs/behaviour-notes.md has the longer form.
//!
//! A rule is as narrow as it can be said: which words of which lines, of which configs, under which runc. It takes
//! them out of both views; what differs still is a fault.

mod lines;
mod mounts;
mod refusals;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Which runc a rule speaks of: the distribution's is 1.1, and much of what it does differently was mended since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Any,
    Old,
    New,
}

/// The runc that ours is compared with.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The program.
    pub path: PathBuf,
    is_old: bool,
}

impl Reference {
    /// The program at `path`, which is asked for its version.
    pub fn new(path: PathBuf) -> Reference {
        let output = Command::new(&path).arg("--version").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_old = ["1.0", "1.1"].iter().any(|old| text.starts_with(&format!("runc version {old}.")));
        Reference { path, is_old }
    }

    fn has(&self, of: Of) -> bool {
        of == Of::Any || (of == Of::Old) == self.is_old
    }

    /// What remains to be compared of a line that differs when all that may differ is taken out of it: nothing,
    /// most of the time. The reasons go to `called`.
    pub fn without_listed(&self, config: &Value, line: &str, called: &mut Vec<&'static str>) -> String {
        let mut form = line.to_owned();
        for rule in lines::rules().filter(|rule| self.has(rule.of)) {
            let Some(rest) = (rule.erase)(config, &form) else { continue };
            if rest != form && !called.contains(&rule.why) {
                called.push(rule.why);
            }
            form = rest;
        }
        form
    }

    /// The reason why only one of the two may run this config.
    pub fn refusal(
        &self,
        config: &Value,
        ours_ran: bool,
        ours_said: &str,
        runc_said: &str,
    ) -> Option<&'static str> {
        let said = if ours_ran { runc_said } else { ours_said };
        let mut rules = refusals::RULES.iter().filter(|rule| self.has(rule.of) && rule.by_ours != ours_ran);
        rules.find(|rule| (rule.covers)(config, said)).map(|rule| rule.why)
    }
}

/// The path that a line is about, its second word.
fn place(line: &str) -> &str {
    line.split(' ').nth(1).unwrap_or_default().trim_end_matches(':')
}

fn starts(line: &str, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| line.starts_with(kind))
}

fn holds(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == text))
}

fn namespace(config: &Value, kind: &str) -> bool {
    config["linux"]["namespaces"].as_array().is_some_and(|list| list.iter().any(|wish| wish["type"] == kind))
}
