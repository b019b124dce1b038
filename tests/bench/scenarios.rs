//! What is measured: the roads that an engine takes with a container.

use std::path::{Path, PathBuf};

use crate::bundles::{self, Bundles};
use crate::measure::{ONCE, Series, Times, count_calls, once};
use crate::subjects::{Subject, Words};

/// One row of the table.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    times: Times,
    /// How many rounds, relative to that of the shortest.
    share: f64,
    bundle: PathBuf,
    road: Road,
}

#[derive(Clone, Copy, PartialEq)]
enum Road {
    Run,
    Life,
    Create,
    /// The same, after the cache of compiled filters that some runtimes have was thrown away.
    CreateCold,
    Exec,
    State,
}

/// What each subject took in a scenario; `None` where it is not measured.
pub struct Row {
    /// The scenario's name.
    pub name: &'static str,
    /// In the order of the subjects.
    pub series: Vec<Option<Series>>,
}

/// All rows of the table.
pub fn all(bundles: &Bundles) -> Vec<Scenario> {
    let plain = bundles.make("plain", |_| {});
    let waiting = bundles.make("waiting", bundles::waits);
    let filtered = bundles.make("filtered", bundles::with_docker_seccomp);
    let user = bundles.make("user", bundles::with_user_namespace);
    bundles::give_away(&user);
    let bound = bundles.make("bound", bundles::with_binds(50));
    let row = Times { count: 100, together: false };
    let crowd = Times { count: 100, together: true };
    let scenario = |name, road, bundle: &Path, times, share| Scenario {
        name,
        times,
        share,
        bundle: bundle.to_owned(),
        road,
    };
    vec![
        scenario("run", Road::Run, &plain, ONCE, 1.0),
        scenario("create, start, delete", Road::Life, &plain, ONCE, 1.0),
        scenario("exec", Road::Exec, &waiting, ONCE, 1.0),
        scenario("state", Road::State, &waiting, ONCE, 1.0),
        scenario("create, Docker's seccomp profile", Road::Create, &filtered, ONCE, 1.0),
        scenario("the same, no cache", Road::CreateCold, &filtered, ONCE, 1.0),
        scenario("run, user namespace", Road::Run, &user, ONCE, 1.0),
        scenario("run, 50 bind mounts", Road::Run, &bound, ONCE, 1.0),
        scenario("100 in a row", Road::Run, &plain, row, 0.05),
        scenario("100 at once", Road::Run, &plain, crowd, 0.05),
    ]
}

impl Scenario {
    /// Measures all subjects, interleaved, each round in another order.
    pub fn measure(&self, tool: &Path, subjects: &[Subject], rounds: usize, scratch: &Path) -> Row {
        let rounds = (rounds as f64 * self.share).ceil() as usize;
        let mut series: Vec<Option<Series>> =
            subjects.iter().map(|subject| self.words(subject).map(|_| Series::default())).collect();
        subjects.iter().for_each(|subject| self.prepare(tool, subject));
        for round in 0..rounds {
            for turn in 0..subjects.len() {
                let index = (round + turn) % subjects.len();
                let (Some(words), Some(series)) = (self.words(&subjects[index]), &mut series[index]) else {
                    continue;
                };
                self.before(&subjects[index]);
                series.push(once(tool, self.times, &words));
            }
        }
        for (subject, series) in subjects.iter().zip(&mut series) {
            if let (Some(words), Some(series), 1) = (self.words(subject), series, self.times.count) {
                self.before(subject);
                series.calls = count_calls(tool, &words, scratch);
            }
            subject.clean(&subject.id());
        }
        Row { name: self.name, series }
    }

    fn words(&self, subject: &Subject) -> Option<Words> {
        let id = &if self.times.count > 1 { subject.id() + "-@" } else { subject.id() };
        let bundle = crate::subjects::text(&self.bundle);
        if subject.is_floor {
            // Nothing of it is left in these but the start of a program.
            return match self.road {
                Road::Exec | Road::State => Some(vec![format!("{bundle}/rootfs/payload")]),
                Road::Create | Road::CreateCold => None,
                // The words are the same whatever the config says, so it stands for the default one alone.
                _ if self.name.starts_with("run,") => None,
                _ => Some(subject.run(&self.bundle, id)),
            };
        }
        let end = || vec![";".to_owned()];
        Some(match self.road {
            Road::Run => subject.run(&self.bundle, id),
            Road::Create | Road::CreateCold => [
                subject.verb(&["create", "--bundle", &bundle, id]),
                vec![";".to_owned(), "stop".to_owned(), ";".to_owned()],
                subject.verb(&["delete", "--force", id]),
                vec![";".to_owned(), "wait".to_owned()],
            ]
            .concat(),
            Road::Life => [
                subject.verb(&["create", "--bundle", &bundle, id]),
                end(),
                subject.verb(&["start", id]),
                vec![";".to_owned(), "wait".to_owned(), ";".to_owned()],
                subject.verb(&["delete", id]),
            ]
            .concat(),
            Road::Exec => subject.verb(&["exec", id, "/payload"]),
            Road::State => subject.verb(&["state", id]),
        })
    }

    /// A container to ask, for those verbs that need one. And one run, to warm what can be warm.
    fn prepare(&self, tool: &Path, subject: &Subject) {
        let bundle = crate::subjects::text(&self.bundle);
        subject.clean(&subject.id());
        if matches!(self.road, Road::Exec | Road::State) {
            if !subject.is_floor {
                subject.must(&["run", "--detach", "--bundle", &bundle, &subject.id()]);
            }
        } else if let Some(words) = self.words(subject) {
            self.before(subject);
            once(tool, ONCE, &words);
        }
    }

    fn before(&self, subject: &Subject) {
        if self.road == Road::CreateCold && subject.root.join(".cache").exists() {
            std::fs::remove_dir_all(subject.root.join(".cache")).expect("remove a cache");
        }
    }
}
