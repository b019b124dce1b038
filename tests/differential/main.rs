//! The differential run: generated configs, each run by runc and by ours on the same bundle, and every line that
//! a program inside could see compared. What may differ stands in `listed`, each with its reason.
//!
//! The generator is seeded and each config has a seed of its own, so that one can be run again:
//! `WHARF_DIFFERENTIAL=3000` sets how many, `WHARF_DIFFERENTIAL_SEED` the seed, `WHARF_DIFFERENTIAL_ONLY` picks one,
//! `WHARF_DIFFERENTIAL_REFERENCE` a runc other than the distribution's. The first few configs that differ
//! (`WHARF_DIFFERENTIAL_SHRINK`) are cut down to what the difference needs before they are printed.

#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod bundle;
mod dice;
mod hooks;
mod linux;
mod listed;
mod mounts;
mod outcome;
mod place;
mod process;
mod resources;
mod seccomp;
mod shrink;
mod view;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use dice::Dice;
use listed::Reference;
use place::{Host, Place};

const WORKERS: usize = 2;

/// What all configs together came to.
#[derive(Default)]
struct Tally {
    ran: u64,
    both_refused: Vec<String>,
    pending: Vec<String>,
    rules: BTreeMap<&'static str, u64>,
    differing: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// A whole config; all that is random in it comes from `dice`.
fn generate(dice: &Dice, host: &Host) -> Value {
    let mut config =
        json!({"ociVersion": dice.pick(&["1.0.0", "1.0.2", "1.0.2-dev"]), "root": {"path": "rootfs"}});
    let parts = [process::put, linux::put, mounts::put, resources::put, seccomp::put, hooks::put];
    for put in parts {
        put(dice, host, &mut config);
    }
    if dice.chance(25) {
        config["root"]["readonly"] = json!(dice.chance(80));
    }
    if dice.chance(30) {
        config["annotations"] = json!({"org.example.key": dice.pick(&["", "value", "a b"]), "x": "y"});
    }
    if dice.chance(10) {
        config["fromTheFuture"] = json!({"any": [1, null]}); // "Extensibility": unknown properties are ignored
    }
    config
}

/// Runs one config under both and notes what came of it.
fn compare(index: u64, config: &Value, place: &mut Place, tally: &Mutex<Tally>) {
    let verdict = place.judge(config);
    let mut noted = tally.lock().unwrap();
    for why in &verdict.rules {
        *noted.rules.entry(why).or_default() += 1;
    }
    if let Some(pending) = verdict.pending {
        noted.pending.push(pending);
        return;
    }
    noted.ran += u64::from(verdict.ran);
    noted.both_refused.extend(verdict.both_refused);
    if verdict.differences.is_empty() {
        return;
    }
    let cut = (noted.differing.len() as u64) < number("WHARF_DIFFERENTIAL_SHRINK", 3);
    drop(noted);
    let small = if cut { shrink::smallest(config, &verdict.differences, place) } else { config.clone() };
    let text = format!("config {index}:\n{}\n{small}", verdict.differences.join("\n"));
    tally.lock().unwrap().differing.push(text);
}

fn work(seed: u64, indices: &dyn Fn() -> Option<u64>, tally: &Mutex<Tally>, reference: Reference) {
    let mut place = Place::new(reference);
    while let Some(index) = indices() {
        let config = generate(&Dice::new(seed, index), &place.host);
        compare(index, &config, &mut place, tally);
    }
}

#[test]
fn generated_configs_look_the_same_from_inside_as_under_runc() {
    let path = std::env::var_os("WHARF_DIFFERENTIAL_REFERENCE").unwrap_or("/usr/sbin/runc".into());
    if !wharf_tests::is_ours() || !Path::new(&path).exists() {
        println!("skipped: compares the workspace's own runtime with {}", path.display());
        return;
    }
    let reference = Reference::new(path.into());
    let (count, seed) = (number("WHARF_DIFFERENTIAL", 300), number("WHARF_DIFFERENTIAL_SEED", 20_261_121));
    let only = std::env::var("WHARF_DIFFERENTIAL_ONLY").ok().map(|text| text.parse::<u64>().unwrap());
    let (next, end) = (AtomicU64::new(only.unwrap_or(0)), only.map_or(count, |index| index + 1));
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < end);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let reference = reference.clone();
            scope.spawn(|| work(seed, &take, &tally, reference));
        }
    });
    let tally = tally.into_inner().unwrap();
    println!("seed {seed}: {} ran under both, both refused {}", tally.ran, tally.both_refused.len());
    for refusal in &tally.both_refused {
        println!("  both refused: {refusal}");
    }
    for (why, times) in &tally.rules {
        println!("  {times:4} × {why}");
    }
    for pending in &tally.pending {
        println!("  not done yet: {pending}");
    }
    assert!(tally.differing.is_empty(), "seed {seed}\n{}", tally.differing.join("\n\n"));
    assert!(only.is_some() || tally.ran * 5 > count * 2, "too few configs ran: {}", tally.ran);
}
