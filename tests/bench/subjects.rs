//! Who is measured: the floor, we, and the peers that are installed or named.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What all words of a measurement are told about.
pub struct Subject {
    /// As the table says it.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// What it says of its version.
    pub version: String,
    /// Its containers' folder.
    pub root: PathBuf,
    /// Whether it is no runtime but the kernel's share alone.
    pub is_floor: bool,
}

/// A sequence of commands as `once` takes it.
pub type Words = Vec<String>;

impl Subject {
    fn new(name: &str, program: &Path, work: &Path) -> Subject {
        let said = Command::new(program).arg("--version").output();
        let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
        let version = text.lines().next().unwrap_or_default().split(' ').next_back().unwrap_or_default();
        Subject {
            name: name.to_owned(),
            program: program.to_owned(),
            version: version.to_owned(),
            root: work.join(format!("root-{name}")),
            is_floor: name == "floor",
        }
    }

    /// One command.
    pub fn verb(&self, words: &[&str]) -> Words {
        let mut command = vec![text(&self.program), "--root".to_owned(), text(&self.root)];
        command.extend(words.iter().map(|&word| word.to_owned()));
        command
    }

    /// Runs a container of this bundle from its start to its end.
    pub fn run(&self, bundle: &Path, id: &str) -> Words {
        match self.is_floor {
            true => vec![text(&self.program), text(&bundle.join("rootfs")), "/payload".to_owned()],
            false => self.verb(&["run", "--bundle", &text(bundle), id]),
        }
    }

    /// The name of its container; two runtimes must not meet in a control group.
    pub fn id(&self) -> String {
        format!("wharf-bench-{}", self.name)
    }

    /// Runs one command that must work. Its streams are not ours, for what it starts may outlive us.
    pub fn must(&self, words: &[&str]) {
        let words = self.verb(words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("run the runtime").success(), "{}", words.join(" "));
    }

    /// Removes what a measurement left; that there is nothing left is fine.
    pub fn clean(&self, id: &str) {
        let words = self.verb(&["delete", "--force", id]);
        if !self.is_floor {
            Command::new(&words[0]).args(&words[1..]).output().expect("run the runtime");
        }
    }
}

/// A path as a word.
pub fn text(path: &Path) -> String {
    path.to_str().expect("paths in UTF-8").to_owned()
}

/// All of them. `named` are further peers, as `NAME=PATH`.
pub fn find(ours: &Path, floor: &Path, named: &[String], work: &Path) -> Vec<Subject> {
    let mut subjects = vec![Subject::new("floor", floor, work), Subject::new("wharf", ours, work)];
    for name in ["crun", "runc"] {
        let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
        let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
        subjects.extend(found.map(|path| Subject::new(name, &path, work)));
    }
    for word in named {
        let (name, path) = word.split_once('=').expect("--peer NAME=PATH");
        subjects.push(Subject::new(name, Path::new(path), work));
    }
    subjects
}
