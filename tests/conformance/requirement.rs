//! A sentence of the specification and what shows that a runtime keeps it.
//!
//! The tables are data that the document is made from; the cases are plain functions. A case passes by returning,
//! fails by panicking and is skipped by returning `Skip`, so that it reads like any other test.

/// A section of one of the specification's files.
pub struct Section {
    /// The file, `config.md`.
    pub file: &'static str,
    /// The anchor of its heading, without `#`.
    pub anchor: &'static str,
    /// Its binding sentences in their order.
    pub requirements: &'static [Requirement],
}

/// One sentence, or the part of it that binds.
pub struct Requirement {
    /// Word by word, without markup.
    pub sentence: &'static str,
    /// Whose duty it is.
    pub duty: Duty,
}

/// Who has to keep a sentence.
pub enum Duty {
    /// The runtime: these cases show it.
    Shown(&'static [Case]),
    /// Somebody else, or nobody on Linux: the reason.
    NotOurs(&'static str),
}

/// One behaviour.
pub struct Case {
    path: &'static str,
    /// Looks at it.
    pub run: fn() -> Verdict,
}

/// How a case that did not panic has ended.
pub enum Verdict {
    /// As the sentence says.
    Pass,
    /// It can't be seen on this machine, because of its kernel or hardware.
    Skip(String),
}

/// The reason why a case can't be seen on this machine.
pub struct Skip(pub String);

/// What a case returns that may be skipped.
pub type Tried = Result<(), Skip>;

impl Case {
    pub const fn new(path: &'static str, run: fn() -> Verdict) -> Case {
        Case { path, run }
    }

    /// The name of its function.
    pub fn name(&self) -> &'static str {
        self.path.rsplit("::").next().unwrap().trim()
    }
}

impl Requirement {
    /// The strongest key word of the sentence (RFC 2119).
    pub fn level(&self) -> &'static str {
        let has = |word: &str| self.sentence.contains(word);
        let words = [("MUST NOT", "MUST NOT"), ("MUST", "MUST"), ("REQUIRED", "MUST"), ("SHALL", "MUST")];
        let weaker = [("SHOULD NOT", "SHOULD NOT"), ("SHOULD", "SHOULD"), ("NOT RECOMMENDED", "SHOULD NOT")];
        words.iter().chain(&weaker).find(|(word, _)| has(word)).map_or("MAY", |(_, level)| level)
    }

    /// The cases that show it.
    pub fn cases(&self) -> &'static [Case] {
        match self.duty {
            Duty::Shown(cases) => cases,
            Duty::NotOurs(_) => &[],
        }
    }
}

impl From<()> for Verdict {
    fn from((): ()) -> Verdict {
        Verdict::Pass
    }
}

impl From<Tried> for Verdict {
    fn from(tried: Tried) -> Verdict {
        match tried {
            Ok(()) => Verdict::Pass,
            Err(Skip(reason)) => Verdict::Skip(reason),
        }
    }
}

/// Skips with a reason.
pub fn skip(reason: impl Into<String>) -> Tried {
    Err(Skip(reason.into()))
}

/// `section! { NAME = "file.md" # "anchor"; "sentence" => [case, other::case], "sentence" => ("why it is not ours") }`
macro_rules! section {
    ($name:ident = $file:literal # $anchor:literal; $($sentence:literal => $duty:tt),* $(,)?) => {
        /// What this section of the specification demands, and where it is shown.
        pub static $name: $crate::requirement::Section = $crate::requirement::Section {
            file: $file,
            anchor: $anchor,
            requirements: &[$($crate::requirement::Requirement { sentence: $sentence, duty: duty!($duty) }),*],
        };
    };
}

/// `checks! { case, … }`: cases that belong to no sentence.
macro_rules! checks {
    ($($case:ident),*) => {
        /// What the suite checks about itself.
        pub static CHECKS: &[$crate::requirement::Case] = &[$($crate::requirement::Case::new(
            stringify!($case), || $crate::requirement::Verdict::from($case())
        )),*];
    };
}

macro_rules! duty {
    ([$($case:path),* $(,)?]) => {
        $crate::requirement::Duty::Shown(&[$($crate::requirement::Case::new(
            stringify!($case), || $crate::requirement::Verdict::from($case())
        )),*])
    };
    (($reason:literal)) => { $crate::requirement::Duty::NotOurs($reason) };
}
