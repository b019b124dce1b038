//! What the probe printed, made comparable: numbers that only name a thing are taken out.

use std::collections::{BTreeMap, BTreeSet};

/// The lines of the view of the container `id`.
pub fn lines(text: &str, id: &str) -> Vec<String> {
    let mounts: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("mount "))
        .filter_map(|line| Some((line.split(' ').next()?, line.split(' ').nth(4)?)))
        .collect();
    let allowed: Vec<&str> = text.lines().filter(|line| line.contains("/devices.list ")).collect();
    let normal = |line: &str| match line.split(' ').next() {
        Some("mount") => Some(normal_mount(&line["mount ".len()..], &mounts)),
        Some("fd") => Some(normal_descriptor(line)),
        // The keyrings of others are seen too, and of the container before that for a while.
        Some("key") => line.contains(id).then(|| line.to_owned()),
        Some("value") if line.contains("/devices.list ") => normal_rule(line, &allowed),
        _ => Some(without_pid(line)),
    };
    let mut lines: Vec<String> = text.lines().filter_map(normal).collect();
    let mut seen = BTreeSet::new();
    lines.retain(|line| !line.starts_with("key ") || seen.insert(line.clone()));
    lines
}

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAGS] - TYPE SOURCE SUPER`: the parent by its place, no numbers of
/// devices (each new file system gets one) and of peer groups.
fn normal_mount(line: &str, places: &BTreeMap<&str, &str>) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, parent, _, root, place, options, rest @ ..] = &fields[..] else { return format!("mount {line}") };
    let parent = places.get(parent).unwrap_or(&"outside");
    let rest: Vec<&str> = rest
        .iter()
        .map(|tag| {
            tag.split_once(':')
                .filter(|(name, _)| ["shared", "master", "propagate_from"].contains(name))
                .map_or(*tag, |(name, _)| name)
        })
        .collect();
    format!("mount {place} on {parent}: {root} {options} {}", rest.join(" "))
}

/// `fd l-wx------ /proc/1/fd/3 '/proc/1/fd/3' -> 'pipe:[123]'` is `fd 3 l-wx------ pipe:[]`. A link that the
/// program may not read has no target.
fn normal_descriptor(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let [_, kind, path, ..] = words[..] else { return line.to_owned() };
    let number = path.rsplit('/').next().unwrap_or_default();
    let target = line.split_once("-> ").map_or("", |(_, target)| target.trim_matches('\''));
    let target = target.find(":[").map_or(target.to_owned(), |from| format!("{}]", &target[..from + 2]));
    format!("fd {number} {kind} {target}")
}

/// Without a PID namespace, the probe's number is the host's.
fn without_pid(line: &str) -> String {
    let Some((before, rest)) = line.split_once("/proc/") else { return line.to_owned() };
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    if digits == 0 { line.to_owned() } else { format!("{before}/proc/PID{}", &rest[digits..]) }
}

/// A line of a version 1 list of allowed devices, with the rights that wider lines add to it; none if those
/// have them all. Which way a list came about is nothing that can be felt.
fn normal_rule(line: &str, all: &[&str]) -> Option<String> {
    let (rule, rights) = line.rsplit_once(' ')?;
    let numbers = |rule: &str| {
        rule.rsplit(' ').next().and_then(|n| n.split_once(':')).map(|(a, b)| (a.to_owned(), b.to_owned()))
    };
    let (major, minor) = numbers(rule)?;
    let kind = |rule: &str| rule.rsplit(' ').nth(1).map(str::to_owned);
    let wider = |other: &str| {
        let (a, b) = numbers(other).unwrap_or_default();
        other != rule && kind(other) == kind(rule) && (a == "*" || a == major) && (b == "*" || b == minor)
    };
    let added: String = all
        .iter()
        .filter_map(|other| other.rsplit_once(' '))
        .filter(|(other, _)| wider(other))
        .map(|(_, rights)| rights)
        .collect();
    let left: String =
        "rwm".chars().filter(|right| rights.contains(*right) && !added.contains(*right)).collect();
    (!left.is_empty()).then(|| format!("{rule} {left}"))
}

/// Lines that one has more often than the other, with whose they are.
pub fn differences(theirs: &[String], ours: &[String]) -> Vec<(&'static str, String)> {
    let all = theirs.iter().map(|line| ("runc", line)).chain(ours.iter().map(|line| ("ours", line)));
    unmatched(all.map(|(whose, line)| (whose, line.clone(), line.clone())).collect())
}

/// Of lines with whose they are and what they are compared by, those that the other has no match for.
pub fn unmatched(lines: Vec<(&'static str, String, String)>) -> Vec<(&'static str, String)> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for (whose, _, form) in &lines {
        *counts.entry(form.clone()).or_default() += if *whose == "ours" { 1 } else { -1 };
    }
    let mut left: Vec<(&'static str, String)> = Vec::new();
    for (whose, line, form) in lines {
        let count = counts.entry(form).or_default();
        let sign = if whose == "ours" { 1 } else { -1 };
        if count.signum() == sign {
            *count -= sign;
            left.push((whose, line));
        }
    }
    left.sort_by(|a, b| a.1.cmp(&b.1));
    left
}
