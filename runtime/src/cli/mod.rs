//! The words: global options, the verb, and the verb's own options. No behaviour.
//!
//! Only the parser of the verb at hand is built: clap's whole tree costs more than `state` does
//! (docs/decisions/0002). Engines repeat options, and Go programs write long options with one dash: both
//! are taken.

pub mod criu;
mod dashes;
pub mod help;
pub(crate) mod quantities;
pub mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};

use crate::cgroup::DriverName;
use crate::error::{Error, Result};
use crate::sys::process::in_user_namespace;

/// Options before the verb.
#[derive(Debug, Clone)]
pub struct Globals {
    /// Where the containers' folders are.
    pub root: PathBuf,
    /// Where errors go besides standard error.
    pub log: Option<PathBuf>,
    /// Whether they go there as JSON.
    pub json: bool,
    /// Whether debug messages go there too.
    pub debug: bool,
    /// Who makes the control groups.
    pub cgroup_driver: DriverName,
    /// Whether to go on without control groups that can't be made; `None`: unless we are root.
    pub rootless: Option<bool>,
}

impl Default for Globals {
    fn default() -> Self {
        Globals {
            root: default_root(),
            log: None,
            json: false,
            debug: false,
            cgroup_driver: DriverName::Cgroupfs,
            rootless: None,
        }
    }
}

impl Globals {
    /// Whether a control group that can't be made is borne, as long as no limit was asked for.
    pub fn tolerates_missing_cgroups(&self) -> bool {
        // Root of a user namespace, as rootless engines are, owns no more of the host than an ordinary user.
        self.rootless.unwrap_or_else(|| !rustix::process::geteuid().is_root() || in_user_namespace())
    }
}

/// A command line up to the verb.
#[derive(Debug)]
pub struct Words {
    /// Options before the verb.
    pub globals: Globals,
    /// The verb, or what stands in its place.
    pub verb: String,
    /// What follows.
    pub rest: Vec<OsString>,
}

/// `/run/wharf-runtime`, or below XDG_RUNTIME_DIR for an ordinary user, also one who is root of a user namespace:
/// unless his environment says that he is root, which a container's does (as runc).
fn default_root() -> PathBuf {
    let user_directory =
        std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    let is_ordinary = || {
        let claims_root = || std::env::var_os("USER").is_some_and(|name| name == "root");
        !rustix::process::geteuid().is_root() || (in_user_namespace() && !claims_root())
    };
    match user_directory {
        Some(directory) if is_ordinary() => directory.join("wharf-runtime"),
        _ => PathBuf::from("/run/wharf-runtime"),
    }
}

/// Splits the command line (without the program's name) at the verb. On error `globals` has what came before it,
/// so that the error goes where it should.
pub fn split(arguments: impl IntoIterator<Item = OsString>, globals: &mut Globals) -> Result<Words> {
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        if !text.starts_with('-') {
            return Ok(Words { globals: globals.clone(), verb: text, rest: arguments.collect() });
        }
        let name = text.trim_start_matches('-');
        let (name, mut value) = match name.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (name.to_owned(), None),
        };
        let mut needed = || {
            let next = value.take().or_else(|| arguments.next().map(|v| v.to_string_lossy().into_owned()));
            next.ok_or_else(|| Error::invalid(format!("flag needs an argument: --{name}")))
        };
        let flag = |value: &Option<String>| match value {
            Some(value) => dashes::truth(&text, value),
            None => Ok(true),
        };
        match name.as_str() {
            "root" => globals.root = PathBuf::from(needed()?),
            "log" => globals.log = Some(PathBuf::from(needed()?)),
            "log-format" => match needed()?.as_str() {
                "text" => globals.json = false,
                "json" => globals.json = true,
                other => return Err(Error::invalid(format!("--log-format: unknown format {other:?}"))),
            },
            "debug" => globals.debug = flag(&value)?,
            "rootless" => globals.rootless = parse_rootless(&needed()?)?,
            "cgroup-manager" => globals.cgroup_driver = needed()?.parse()?,
            "systemd-cgroup" => {
                globals.cgroup_driver =
                    if flag(&value)? { DriverName::Systemd } else { DriverName::Cgroupfs };
            }
            "version" | "v" if flag(&value)? => return Ok(alone(globals, "--version")),
            "help" | "h" if flag(&value)? => return Ok(alone(globals, "help")),
            "version" | "v" | "help" | "h" => (),
            _ => return Err(Error::invalid(format!("unknown option {text:?} (see --help)"))),
        }
    }
    Ok(alone(globals, "help"))
}

fn alone(globals: &Globals, verb: &str) -> Words {
    Words { globals: globals.clone(), verb: verb.to_owned(), rest: Vec::new() }
}

/// runc's `--rootless`: whether to go on without control groups that can't be made.
fn parse_rootless(value: &str) -> Result<Option<bool>> {
    match value {
        "auto" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        other => Err(Error::invalid(format!("--rootless: {other:?} is none of true, false, auto"))),
    }
}

/// What parsing a verb's words came to.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The words.
    Words(T),
    /// `--help` was asked for; this is the text.
    Help(String),
}

/// Parses a verb's words.
pub fn parse<T: CommandFactory + FromArgMatches>(verb: &str, rest: Vec<OsString>) -> Result<Parsed<T>> {
    let (name, purpose) = (crate::log::program(), help::purpose(verb));
    let command = T::command()
        .no_binary_name(true)
        .args_override_self(true)
        .bin_name(format!("{name} {verb}"))
        .display_name(verb.to_owned())
        .help_template(format!(
            "NAME:\n   {name} {verb} - {purpose}\n\n{{usage-heading}} {{usage}}\n\n{{all-args}}"
        ));
    let rest = dashes::with_two(&command, rest)?;
    let matches =
        command.try_get_matches_from(rest).and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    match matches {
        Ok(words) => Ok(Parsed::Words(words)),
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            Ok(Parsed::Help(error.to_string()))
        }
        Err(error) => {
            let text = error.to_string();
            let missing_value = text.contains("a value is required");
            // One line: engines show the last one, and the rest is advice.
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let text = text.split("\n\n").next().unwrap_or_default();
            let text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            // podman and CRI-O probe for this very phrase.
            let hint = if missing_value { "flag needs an argument: " } else { "" };
            Err(Error::invalid(format!("{hint}{text} (see {name} {verb} --help)")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Words> {
        split(line.split_whitespace().map(OsString::from), &mut Globals::default())
    }

    #[test]
    fn globals_are_taken_in_every_form_and_repeated() {
        let twice = words("--systemd-cgroup=false --systemd-cgroup --systemd-cgroup state x").unwrap();
        assert_eq!(twice.globals.cgroup_driver, DriverName::Systemd);
        let words =
            words("--root /a --root=/b -debug --log-format json --log-format=json --rootless auto state x")
                .unwrap();
        assert_eq!(words.globals.root, PathBuf::from("/b"));
        assert!(words.globals.json && words.globals.debug);
        let off = self::words("--debug --debug=0 --systemd-cgroup --systemd-cgroup=F list").unwrap();
        assert!(!off.globals.debug && off.globals.cgroup_driver == DriverName::Cgroupfs);
        assert_eq!((words.verb.as_str(), words.rest.len()), ("state", 1));
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        for (line, part) in [
            ("--rootless=maybe create x", "none of true, false, auto"),
            ("--cgroup-manager=nope create x", "unknown driver"),
            ("--nope list", "unknown option \"--nope\""),
            ("--root", "flag needs an argument"),
            ("--debug=maybe list", "invalid boolean value \"maybe\""),
            ("--systemd-cgroup=maybe list", "invalid boolean value \"maybe\""),
        ] {
            let error = words(line).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn one_dash_and_repeated_options_are_taken() {
        let rest = ["-bundle", "/b", "-no-pivot", "--no-pivot", "x"].map(OsString::from).to_vec();
        let Parsed::Words(create) = parse::<verbs::Create>("create", rest).unwrap() else { panic!() };
        assert!(create.making.no_pivot);
        assert_eq!(create.id, "x");
    }

    #[test]
    fn exec_options_end_at_the_id() {
        let rest = ["-t", "x", "ls", "-la", "--user", "y"].map(OsString::from).to_vec();
        let Parsed::Words(exec) = parse::<verbs::Exec>("exec", rest).unwrap() else { panic!() };
        assert!(exec.tty && exec.user.is_none());
        assert_eq!(exec.id_and_command, ["x", "ls", "-la", "--user", "y"]);
    }
}
