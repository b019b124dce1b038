//! An attack, how it is judged, and a legitimate bundle.

use std::path::Path;

use wharf_tests::Said;
use wharf_tests::canary::SECRET;

use crate::scene::{HARM, Scene};

/// What our runtime is to make of an attack.
#[derive(Clone, Copy)]
pub enum End {
    /// An error that holds these words.
    Refused(&'static str),
    /// The container runs, and its script ends with `fine`.
    Harmless,
}

/// An attack.
pub struct Case {
    /// What is tried, as an identifier.
    pub name: &'static str,
    /// The class that it belongs to: an advisory, or a word.
    pub class: &'static str,
    /// Makes the hostile root and config.
    pub set: fn(&mut Scene),
    /// Calls the runtime.
    pub act: fn(&Scene) -> Said,
    /// What our runtime is to make of it.
    pub end: End,
}

/// An attack that our runtime refuses with these words.
pub fn refused(name: &'static str, class: &'static str, words: &'static str, set: fn(&mut Scene)) -> Case {
    Case { name, class, set, act: Scene::run, end: End::Refused(words) }
}

/// An attack that comes to nothing.
pub fn harmless(name: &'static str, class: &'static str, set: fn(&mut Scene)) -> Case {
    Case { name, class, set, act: Scene::run, end: End::Harmless }
}

impl Case {
    /// Calls the runtime in another way than by `run`.
    pub fn acting(self, act: fn(&Scene) -> Said) -> Case {
        Case { act, ..self }
    }

    /// Plays it against `runtime`: what was done to the host, if anything, and what the runtime said.
    pub fn play(&self, runtime: &Path) -> (Vec<String>, Said) {
        let mut scene = Scene::new(runtime);
        (self.set)(&mut scene);
        scene.write_config();
        let before = scene.canary_now();
        let said = (self.act)(&scene);
        let mut harm = Vec::new();
        if scene.hung() {
            harm.push("hangs".to_owned());
        }
        scene.end();
        let changed = scene.changes(&before);
        if !changed.is_empty() {
            harm.push(format!("changes the host: {changed:?}"));
        }
        if said.out.contains(SECRET) || said.err.contains(SECRET) {
            harm.push("reads the host".to_owned());
        }
        if said.out.contains(HARM) {
            harm.push("lets the container have its way".to_owned());
        }
        (harm, said)
    }

    /// What is wrong with how our runtime met it; nothing if all is well.
    pub fn judge(&self, runtime: &Path) -> Option<String> {
        let (harm, said) = self.play(runtime);
        let as_told = match self.end {
            End::Refused(words) => said.code != 0 && said.err.contains(words),
            End::Harmless => said.code == 0 && said.out.ends_with("fine\n"),
        };
        match (harm.is_empty(), as_told) {
            (true, true) => None,
            (false, _) => Some(format!("{harm:?}: {said:?}")),
            (true, false) => Some(format!("no harm, but another end: {said:?}")),
        }
    }
}

/// A bundle that is odd and must work.
pub struct Odd {
    /// What is odd about it, as an identifier.
    pub name: &'static str,
    /// Makes it.
    pub set: fn(&mut Scene),
    /// Calls the runtime.
    pub act: fn(&Scene) -> Said,
}

/// An odd bundle whose script ends with `fine`.
pub fn works(name: &'static str, set: fn(&mut Scene)) -> Odd {
    Odd { name, set, act: Scene::run }
}

impl Odd {
    /// Calls the runtime in another way than by `run`.
    pub fn acting(self, act: fn(&Scene) -> Said) -> Odd {
        Odd { act, ..self }
    }

    /// What is wrong with how a runtime took it; nothing if it works.
    pub fn judge(&self, runtime: &Path) -> Option<String> {
        let mut scene = Scene::new(runtime);
        (self.set)(&mut scene);
        scene.write_config();
        let said = (self.act)(&scene);
        let works = said.code == 0 && said.out.replace('\r', "").ends_with("fine\n");
        (!works).then(|| format!("{said:?}"))
    }
}
