//! What the fuzzers feed: for each kind of text that comes from outside, a function that reads any bytes as one
//! and checks what must hold of the result. The fuzzers are in `fuzz/`, and so are the inputs that they found,
//! which the tests run through the same functions.

mod choices;
mod dialogue;
mod documents;
mod filters;
mod maps;
pub(crate) mod models;
mod texts;
mod words;

/// Reads an input, and panics where something does not hold.
pub type Target = fn(&[u8]);

/// Each target and its function.
pub const TARGETS: [(&str, Target); 13] = [
    ("cgroup_files", texts::cgroup_files),
    ("config", documents::config),
    ("devices", filters::devices),
    ("dialogue", dialogue::dialogue),
    ("id_maps", maps::id_maps),
    ("mount_options", maps::mount_options),
    ("mountinfo", texts::mountinfo),
    ("passwd", texts::passwd),
    ("record", documents::record),
    ("seccomp", filters::seccomp),
    ("signals", words::signals),
    ("wire", dialogue::wire),
    ("words", words::words),
];

/// Runs one target over one input.
pub fn run(target: &str, input: &[u8]) {
    match TARGETS.iter().find(|(name, _)| *name == target) {
        Some((_, function)) => function(input),
        None => panic!("there is no target {target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzers_found_does_no_harm() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (target, function) in TARGETS {
            let entries = std::fs::read_dir(corpus.join(target)).unwrap();
            let mut fed = 0;
            for entry in entries {
                function(&std::fs::read(entry.unwrap().path()).unwrap());
                fed += 1;
            }
            assert!(fed > 0, "{target} has no corpus");
        }
    }
}
