//! config.md: "Process", "POSIX process", "User", "Platform-specific configuration".

use serde_json::{Value, json};

use crate::container::{Container, inside, refused, required};
use crate::listening::Listener;

section! { SECTION = "config.md" # "configProcess";
    "This property is REQUIRED when start is called." => [start_of_a_container_without_a_process_is_an_error],
    "Runtimes MUST ignore consoleSize if terminal is false or unset." => [console_size_without_a_terminal_is_ignored],
    "height (uint, REQUIRED)" => [console_size_without_a_height_is_refused, terminal_has_the_size_asked_for],
    "width (uint, REQUIRED)" => [console_size_without_a_width_is_refused],
    "cwd (string, REQUIRED) is the working directory that will be set for the executable. This value MUST be an absolute path." => [
        process_without_a_cwd_is_refused, relative_cwd_is_refused, program_starts_in_its_cwd],
    "This specification extends the IEEE standard in that at least one entry is REQUIRED (non-Windows), and that entry is used with the same semantics as execvp's file." => [
        process_without_args_is_refused, program_is_looked_up_as_execvp_does],
    "commandLine is REQUIRED if this field is omitted." => ("another platform"),
}

section! { LIMITS = "config.md" # "configPOSIXProcess";
    "type (string, REQUIRED) the platform resource being limited." => [rlimit_without_a_type_is_refused],
    "The runtime MUST generate an error for any values which cannot be mapped to a relevant kernel interface." => [
        unknown_rlimit_is_refused],
    "For each entry in rlimits, a getrlimit(3) on type MUST succeed." => [every_rlimit_of_the_kernel_can_be_set],
    "soft (uint64, REQUIRED) the value of the limit enforced for the corresponding resource. rlim.rlim_cur MUST match the configured value." => [
        soft_limit_is_as_configured, rlimit_without_a_soft_limit_is_refused],
    "hard (uint64, REQUIRED) the ceiling for the soft limit that could be set by an unprivileged process. rlim.rlim_max MUST match the configured value." => [
        hard_limit_is_as_configured, rlimit_without_a_hard_limit_is_refused],
    "If rlimits contains duplicated entries with same type, the runtime MUST generate an error." => [
        duplicate_rlimits_are_refused],
}

section! { USER = "config.md" # "configPOSIXUser";
    "uid (int, REQUIRED) specifies the user ID in the container namespace." => [
        program_has_the_user_id, user_without_a_uid_is_refused],
    "gid (int, REQUIRED) specifies the group ID in the container namespace." => [
        program_has_the_group_id],
    "If unspecified, the umask should not be changed from the calling process' umask." => [
        umask_is_the_callers_unless_specified],
}

section! { PLATFORM = "config.md" # "configPlatformSpecificConfiguration";
    "This MUST be set if the target platform of this spec is windows." => ("another platform"),
}

/// What a script writes to its terminal.
#[track_caller]
pub fn on_terminal(script: &str, change: impl FnOnce(&mut Value)) -> String {
    let container = Container::shell(script, |c| {
        c["process"]["terminal"] = json!(true);
        change(c);
    });
    let listener = Listener::at(&container.bundle().join("console"));
    let (bundle, socket) = (container.bundle().to_str().unwrap(), listener.path.to_str().unwrap());
    container.verb(&["create", "--bundle", bundle, "--console-socket", socket, &container.id]).ok();
    let heard = listener.hear();
    container.start().ok();
    heard.terminal_output()
}

fn start_of_a_container_without_a_process_is_an_error() {
    crate::runtime::start_without_a_process_is_an_error();
}

fn console_size_without_a_terminal_is_ignored() {
    let out = inside("echo ran", |c| c["process"]["consoleSize"] = json!({"height": 25, "width": 80}));
    assert_eq!(out, "ran\n");
}

#[track_caller]
fn half_a_size(size: &Value) {
    refused(|c| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = size.clone();
    });
}

fn console_size_without_a_height_is_refused() {
    half_a_size(&json!({"width": 80}));
}

fn console_size_without_a_width_is_refused() {
    half_a_size(&json!({"height": 25}));
}

fn terminal_has_the_size_asked_for() {
    let out = on_terminal("stty size", |c| c["process"]["consoleSize"] = json!({"height": 33, "width": 99}));
    assert_eq!(out, "33 99\n");
}

/// Of the property `terminal`.
pub fn terminal_is_on_all_three_streams() {
    let out = on_terminal("for n in 0 1 2; do [ -t $n ] && readlink /proc/self/fd/$n; done", |_| ());
    assert!(out.lines().count() == 3 && out.lines().all(|line| line.starts_with("/dev/pts/")), "{out}");
}

fn process_without_a_cwd_is_refused() {
    required("/process/cwd", |_| ());
}

fn relative_cwd_is_refused() {
    refused(|c| c["process"]["cwd"] = json!("tmp"));
}

fn program_starts_in_its_cwd() {
    assert_eq!(inside("pwd", |c| c["process"]["cwd"] = json!("/tmp")), "/tmp\n");
}

/// Whether at `create` or at `start` is left open.
fn process_without_args_is_refused() {
    for args in [None, Some(json!([]))] {
        let container = Container::shell("true", |c| match args {
            None => crate::container::remove(c, "/process/args"),
            Some(args) => c["process"]["args"] = args,
        });
        assert!(container.create().code != 0 || container.start().code != 0);
    }
}

fn program_is_looked_up_as_execvp_does() {
    let container =
        Container::new(&["tool"], |c| c["process"]["env"] = json!(["PATH=/nosuch:/opt/tools:/bin"]));
    let tools = container.rootfs().join("opt/tools");
    std::fs::create_dir_all(&tools).unwrap();
    std::os::unix::fs::symlink("/bin/pwd", tools.join("tool")).unwrap();
    let said = container.run();
    assert!(said.err.contains("tool") || said.out == "/\n", "{said:?}"); // busybox knows no applet `tool`
    assert_eq!(Container::new(&["/bin/pwd"], |_| ()).run().ok(), "/\n");
    assert_ne!(Container::new(&["nosuch"], |_| ()).run().code, 0);
}

fn rlimits(entries: &Value) -> impl Fn(&mut Value) + use<> {
    let entries = entries.clone();
    move |c| c["process"]["rlimits"] = entries.clone()
}

const NOFILE: &str = "grep 'open files' /proc/self/limits | tr -s ' ' | cut -d' ' -f4,5";

fn rlimit_without_a_type_is_refused() {
    required("/process/rlimits/0/type", rlimits(&json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])));
}

fn rlimit_without_a_soft_limit_is_refused() {
    required("/process/rlimits/0/soft", rlimits(&json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])));
}

fn rlimit_without_a_hard_limit_is_refused() {
    required("/process/rlimits/0/hard", rlimits(&json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])));
}

fn unknown_rlimit_is_refused() {
    for name in ["RLIMIT_NOSUCH", "CORE", ""] {
        refused(rlimits(&json!([{"type": name, "soft": 1, "hard": 1}])));
    }
}

/// Name, value that root may set without further capabilities, the name in /proc/self/limits.
const EVERY_RLIMIT: [(&str, u64, &str); 16] = [
    ("RLIMIT_AS", 1 << 40, "Max address space"),
    ("RLIMIT_CORE", 0, "Max core file size"),
    ("RLIMIT_CPU", 1000, "Max cpu time"),
    ("RLIMIT_DATA", 1 << 40, "Max data size"),
    ("RLIMIT_FSIZE", 1 << 30, "Max file size"),
    ("RLIMIT_LOCKS", 1000, "Max file locks"),
    ("RLIMIT_MEMLOCK", 65536, "Max locked memory"),
    ("RLIMIT_MSGQUEUE", 100_000, "Max msgqueue size"),
    ("RLIMIT_NICE", 0, "Max nice priority"),
    ("RLIMIT_NOFILE", 512, "Max open files"),
    ("RLIMIT_NPROC", 3000, "Max processes"),
    ("RLIMIT_RSS", 1 << 30, "Max resident set"),
    ("RLIMIT_RTPRIO", 0, "Max realtime priority"),
    ("RLIMIT_RTTIME", 1 << 30, "Max realtime timeout"),
    ("RLIMIT_SIGPENDING", 1000, "Max pending signals"),
    ("RLIMIT_STACK", 8 << 20, "Max stack size"),
];

fn every_rlimit_of_the_kernel_can_be_set() {
    let entries: Vec<Value> = EVERY_RLIMIT
        .iter()
        .map(|(kind, value, _)| json!({"type": kind, "soft": value, "hard": value}))
        .collect();
    let out = inside("cat /proc/self/limits", rlimits(&json!(entries)));
    for (kind, value, title) in EVERY_RLIMIT {
        let line = out.lines().find(|line| line.starts_with(title)).unwrap();
        let words: Vec<&str> = line[title.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [value.to_string(), value.to_string()], "{kind}: {line}");
    }
}

fn soft_limit_is_as_configured() {
    let out = inside(NOFILE, rlimits(&json!([{"type": "RLIMIT_NOFILE", "soft": 321, "hard": 654}])));
    assert_eq!(out.split(' ').next().unwrap(), "321");
}

fn hard_limit_is_as_configured() {
    let out = inside(NOFILE, rlimits(&json!([{"type": "RLIMIT_NOFILE", "soft": 321, "hard": 654}])));
    assert_eq!(out.split(' ').nth(1).unwrap(), "654\n");
}

fn duplicate_rlimits_are_refused() {
    let one = json!({"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64});
    refused(rlimits(&json!([one, one])));
    refused(rlimits(&json!([one, {"type": "RLIMIT_NOFILE", "soft": 65, "hard": 65}])));
}

fn user(user: &Value) -> impl Fn(&mut Value) + use<> {
    let user = user.clone();
    move |c| c["process"]["user"] = user.clone()
}

fn program_has_the_user_id() {
    let out = inside("grep ^Uid: /proc/self/status", user(&json!({"uid": 1234, "gid": 5})));
    assert_eq!(out, "Uid:\t1234\t1234\t1234\t1234\n");
}

fn program_has_the_group_id() {
    let out = inside("grep ^Gid: /proc/self/status", user(&json!({"uid": 1234, "gid": 5678})));
    assert_eq!(out, "Gid:\t5678\t5678\t5678\t5678\n");
}

fn user_without_a_uid_is_refused() {
    required("/process/user/uid", user(&json!({"uid": 0, "gid": 0})));
}

/// Of the property `additionalGids`.
pub fn program_has_the_additional_groups_and_no_others() {
    let groups = |more: Value| {
        inside("grep ^Groups: /proc/self/status", user(&json!({"uid": 9, "gid": 5, "additionalGids": more})))
    };
    assert_eq!(groups(json!([7, 4_000_000])).trim(), "Groups:\t7 4000000");
    assert_eq!(groups(json!([])).trim(), "Groups:");
}

/// Of the property `umask`.
pub fn umask_is_as_configured() {
    let with = |mask: u32| inside("umask", user(&json!({"uid": 0, "gid": 0, "umask": mask})));
    assert_eq!(with(0o027), "0027\n");
    assert_eq!(with(0), "0000\n");
}

fn umask_is_the_callers_unless_specified() {
    let container = Container::shell("umask", |_| ());
    let said = container.run_under("umask 0035");
    assert_eq!(said.ok(), "0035\n");
}

/// Of the property `env`.
pub fn environment_is_as_configured() {
    let out = inside("echo $A; echo \"$B\"; echo ${C-unset}", |c| {
        c["process"]["env"] = json!(["PATH=/bin", "A=one two", "B="]);
    });
    assert_eq!(out, "one two\n\nunset\n");
}
