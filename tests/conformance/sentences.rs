//! The completeness of the tables: no sentence of the specification that binds anybody is missing in them.
//!
//! `sentences.txt` holds those sentences, one in a line after its file. It is taken from a checkout of the
//! specification, which is not part of this project: `WHARF_SPEC_CHECKOUT=folder` proves that the list and the tables
//! say what the checkout says, and `WHARF_SPEC_SENTENCES=file` writes the list anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::requirement::{Tried, skip};

checks! { every_binding_sentence_is_listed, sentences_are_those_of_the_checkout }

const FILES: [&str; 7] = [
    "bundle.md",
    "runtime.md",
    "runtime-linux.md",
    "config.md",
    "config-linux.md",
    "features.md",
    "features-linux.md",
];

const KEY_WORDS: [&str; 5] = ["MUST", "SHALL", "SHOULD", "REQUIRED", "RECOMMENDED"];

fn binds(text: &str) -> bool {
    KEY_WORDS.iter().any(|word| text.contains(word))
}

/// The sentences of the tables, by file, longest first: one may be a part of another.
fn listed() -> BTreeMap<&'static str, Vec<String>> {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for section in crate::sections() {
        let sentences = section.requirements.iter().map(|requirement| plain(requirement.sentence));
        by_file.entry(section.file).or_default().extend(sentences);
    }
    by_file.values_mut().for_each(|list| list.sort_by_key(|sentence| std::cmp::Reverse(sentence.len())));
    by_file
}

/// What stands in the list and not in the tables, and the other way round.
fn every_binding_sentence_is_listed() {
    let list = include_str!("sentences.txt");
    let mut faults = Vec::new();
    for (file, sentences) in listed() {
        let lines = list.lines().filter_map(|line| line.strip_prefix(file)?.strip_prefix('\t'));
        let mut text = lines.collect::<Vec<_>>().join(" ");
        for sentence in &sentences {
            if binds(sentence) && !text.contains(sentence.as_str()) {
                faults.push(format!("{file} does not say: {sentence}"));
            }
        }
        for sentence in &sentences {
            text = text.replace(sentence.as_str(), "\n");
        }
        faults.extend(
            text.lines().filter(|rest| binds(rest)).map(|rest| format!("{file}: not listed: {rest}")),
        );
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn sentences_are_those_of_the_checkout() -> Tried {
    let Some(folder) = std::env::var_os("WHARF_SPEC_CHECKOUT").map(PathBuf::from) else {
        return skip("WHARF_SPEC_CHECKOUT names no checkout of the specification");
    };
    let taken: String = FILES.iter().flat_map(|file| sentences(&folder, file)).collect();
    if let Some(path) = std::env::var_os("WHARF_SPEC_SENTENCES") {
        std::fs::write(path, &taken).unwrap();
    }
    assert_eq!(taken, include_str!("sentences.txt"));
    let mut faults = Vec::new();
    for (file, sentences) in listed() {
        let text = plain(&without_examples(&read(&folder, file)));
        let unknown = sentences.iter().filter(|sentence| !text.contains(sentence.as_str()));
        faults.extend(unknown.map(|sentence| format!("{file} does not say: {sentence}")));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The lines of the list for one file.
fn sentences(folder: &Path, file: &str) -> Vec<String> {
    let text = without_examples(&read(folder, file));
    let mut lines = Vec::new();
    for block in blocks(&text) {
        let block = plain(&block);
        // A sentence ends where the next begins with a capital letter.
        let mut start = 0;
        for (at, _) in block.match_indices(". ") {
            if block[at + 2..].starts_with(char::is_uppercase) {
                lines.push(block[start..=at].to_owned());
                start = at + 2;
            }
        }
        lines.push(block[start..].to_owned());
    }
    lines.into_iter().filter(|line| binds(line)).map(|line| format!("{file}\t{line}\n")).collect()
}

/// Paragraphs, list items and rows of tables.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let start = line.trim_start();
        let begins = ["* ", "- ", "|", "#", "> "].iter().any(|mark| start.starts_with(mark));
        if start.is_empty() || begins {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().unwrap();
        block.push_str(start.trim_start_matches(['*', '-', '|', '#', '>']));
        block.push('\n');
    }
    blocks
}

fn without_examples(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The length of the bracketed text that `text` starts with.
fn closing_bracket(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '[') - i32::from(c == ']');
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Text without markup: no links, emphasis, code marks, line breaks.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        out += &rest[..open];
        rest = &rest[open..];
        let end = closing_bracket(rest);
        let target = match rest[end..].chars().next() {
            Some('(') => rest[end..].find(')'),
            Some('[') => rest[end..].find(']'),
            _ => None,
        };
        match target.filter(|_| end > 2) {
            Some(target) => {
                out += &rest[1..end - 1];
                rest = &rest[end + target + 1..];
            }
            None => {
                out.push('[');
                rest = &rest[1..];
            }
        }
    }
    out += rest;
    out.retain(|c| !"*`\\".contains(c));
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}
