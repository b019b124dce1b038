//! The benchmark: measures wharf-runtime against the kernel's own share and against other runtimes, interleaved, and
//! writes `docs/bench`. Started by `scripts/bench`, which prepares the view of the host that all can work in.

mod bundles;
#[path = "../../manager/src/bundle/seccomp.rs"]
mod docker_seccomp;
mod growth;
mod measure;
mod memory;
mod plot;
mod report;
mod scenarios;
mod subjects;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bundles::Bundles;
use crate::growth::Effort;
use crate::report::Measured;

struct Words {
    runtime: PathBuf,
    out: PathBuf,
    rounds: usize,
    growth: Effort,
    peers: Vec<String>,
    only: Option<String>,
    said: Vec<String>,
}

fn main() {
    let words = read_words();
    let work = tempfile::tempdir().expect("make a folder");
    let tool = |name: &str| compile(name, work.path());
    let (once, payload, floor) = (tool("once"), tool("payload"), tool("floor"));
    let subjects = subjects::find(&words.runtime, &floor, &words.peers, Path::new("/run"));
    let bundles = Bundles::new(&words.runtime, &work.path().join("bundles"), &payload);
    let wanted = |name: &str| words.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut rows = Vec::new();
    for scenario in scenarios::all(&bundles).into_iter().filter(|scenario| wanted(scenario.name)) {
        eprintln!("{}", scenario.name);
        rows.push(scenario.measure(&once, &subjects, words.rounds, &work.path().join("calls")));
    }
    let charges = if wanted("memory") { memory::all(&subjects, &bundles) } else { Vec::new() };
    let command =
        ["scripts/bench"].into_iter().chain(words.said.iter().map(String::as_str)).collect::<Vec<_>>();
    let measured =
        Measured { subjects: &subjects, rows: &rows, charges: &charges, command: command.join(" ") };
    let text = report::write(&measured);
    eprintln!("{text}");
    let write = |name: &str, text: &str| std::fs::write(words.out.join(name), text).expect("write a result");
    std::fs::create_dir_all(&words.out).expect("make the folder for results");
    write("results.md", &text);
    write("roads.svg", &plot::roads(&subjects, &rows));
    if wanted("growth") {
        eprintln!("growth");
        let curves = growth::all(&once, &subjects, &bundles, words.growth);
        write("growth.svg", &plot::growth(&subjects, &curves));
    }
}

fn read_words() -> Words {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut words = Words {
        runtime: PathBuf::new(),
        out: top.join("docs/bench"),
        rounds: 100,
        growth: Effort { rounds: 11, most: 400 },
        peers: Vec::new(),
        only: None,
        said: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    words.runtime = given.next().expect("the path of wharf-runtime").into();
    while let Some(word) = given.next() {
        words.said.push(word.clone());
        let mut value = || given.next().inspect(|value| words.said.push(value.clone())).expect("a value");
        match word.as_str() {
            "--quick" => (words.rounds, words.growth) = (10, Effort { rounds: 3, most: 50 }),
            "--rounds" => words.rounds = value().parse().expect("a number"),
            "--peer" => words.peers.push(value()),
            "--only" => words.only = Some(value()),
            "--out" => words.out = value().into(),
            _ => panic!(
                "usage: scripts/bench [--quick] [--rounds N] [--peer NAME=PATH] [--only ROAD] [--out FOLDER]"
            ),
        }
    }
    words
}

fn compile(name: &str, work: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(name).with_extension("c");
    let program = work.join(name);
    let done = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(done.expect("run cc").success(), "compile {name}");
    program
}
