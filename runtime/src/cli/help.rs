//! The help texts: one table of verbs, so that the program's help and a verb's own say the same. The headings are
//! those of runc's, by which its users find their way.

use crate::log::program;

/// Each verb and what it is for.
const VERBS: [(&str, &str); 18] = [
    ("create", "create a container"),
    ("start", "start the program of a created container"),
    ("run", "create and start a container, wait for it and delete it"),
    ("exec", "run a process in a container"),
    ("state", "print a container's state"),
    ("list", "list containers"),
    ("ps", "list a container's processes"),
    ("kill", "send a signal to a container's init"),
    ("delete", "delete a container that is not running"),
    ("pause", "freeze all processes of a container"),
    ("resume", "thaw the processes of a container"),
    ("update", "change a container's limits"),
    ("events", "follow a container's statistics and events"),
    ("checkpoint", "save a running container into images"),
    ("restore", "restore a container from images"),
    ("validate", "show all that is wrong with a bundle, touching nothing"),
    ("spec", "write a config.json to start from"),
    ("features", "print what is supported"),
];

const OPTIONS: &str = "\
GLOBAL OPTIONS:
   --root DIR             folder of the containers' state
   --log FILE             file that errors are appended to
   --log-format FORMAT    text or json
   --debug                debug records in that file, or on standard error
   --rootless VALUE       true, false or auto: go on without cgroups that can't be made
   --cgroup-manager NAME  cgroupfs, systemd or disabled
   --systemd-cgroup       the same as --cgroup-manager systemd
   --version, -v          print the version
   --help, -h             print this; VERB --help for a verb's options
";

/// What `VERB` is for; empty for what is no verb.
pub fn purpose(verb: &str) -> &'static str {
    VERBS.iter().find(|(name, _)| *name == verb).map_or("", |(_, purpose)| purpose)
}

/// The text of `--help`.
pub fn text() -> String {
    let name = program();
    let verbs: String = VERBS.iter().map(|(verb, purpose)| format!("   {verb:<12}{purpose}\n")).collect();
    format!(
        "NAME:\n   {name} - Open Container Initiative runtime: containers out of bundles\n\n\
         USAGE:\n   {name} [GLOBAL OPTIONS] VERB [OPTIONS] [ARGUMENTS]\n\n\
         VERBS:\n{verbs}\n{OPTIONS}"
    )
}
