//! A runtime as one would write it who trusts every root: paths of the container are put behind the root's and
//! looked up by name, what exists is used, errors are passed over. Each attack is shown to have teeth by what it does
//! to this one. It runs in the suite's own mount namespace, and all that the attacks aim at are canaries.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, Uid};
use serde_json::Value;

use crate::scene::fifo;

const NOTHING: Option<&str> = None;

/// By this variable the suite's program knows that it is to be the careless runtime.
pub const VARIABLE: &str = "WHARF_ATTACKS_CARELESS";

/// What it is called where runtimes are named.
pub const NAME: &str = "careless";

/// The command line: `--root STATE VERB ...`, or the init that `create` starts.
pub fn main() -> i32 {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let state = Path::new(&words[1]);
    let id = words.iter().skip(3).find(|word| word.starts_with("wharf-test")).cloned();
    let id = id.or_else(|| words.last().cloned()).unwrap_or_default();
    let folder = state.join(&id);
    match words[2].as_str() {
        "run" => create(&folder, &words).map_or(1, |mut init| {
            start(&folder);
            init.wait().ok().and_then(|status| status.code()).unwrap_or(1)
        }),
        "create" => create(&folder, &words).map_or(1, |_| 0),
        "start" => start(&folder),
        "exec" => exec(&folder, &words, &id),
        "init" => init(&folder, Path::new(&words[3])),
        _ => {
            let pid = std::fs::read_to_string(folder.join("pid")).ok().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid {
                nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
            }
            std::fs::remove_dir_all(&folder).ok();
            0
        }
    }
}

fn create(folder: &Path, words: &[String]) -> Option<std::process::Child> {
    std::fs::create_dir_all(folder).ok()?;
    fifo(&folder.join("start"));
    let kinds = [CloneFlags::CLONE_NEWNS, CloneFlags::CLONE_NEWPID, CloneFlags::CLONE_NEWUTS];
    unshare(kinds.into_iter().collect::<CloneFlags>() | CloneFlags::CLONE_NEWNET).ok()?;
    let bundle = words.iter().position(|word| word == "--bundle").map(|at| words[at + 1].clone())?;
    let mut init = Command::new("/proc/self/exe");
    let child = init.args(["--root", &words[1], "init", &bundle, &words[words.len() - 1]]).spawn().ok()?;
    std::fs::write(folder.join("pid"), child.id().to_string()).ok()?;
    Some(child)
}

fn start(folder: &Path) -> i32 {
    std::fs::write(folder.join("start"), ".").map_or(1, |()| 0)
}

fn config_of(bundle: &Path) -> Value {
    let text = std::fs::read(bundle.join("config.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A place of the container, as it is called on the host.
fn place(root: &Path, path: &str) -> PathBuf {
    PathBuf::from(format!("{}/{path}", root.display()))
}

/// Descriptors of the host that are kept open over everything.
fn forget_descriptors() {
    for _ in 0..10 {
        if let Ok(host) = File::open("/") {
            rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).ok();
            std::mem::forget(host);
        }
    }
}

/// Makes a folder and those above it; where links lead, if there are any.
fn make_folder(path: &Path) {
    make_linked_folder(path, 100);
}

fn make_linked_folder(path: &Path, steps: u32) {
    let (false, Some(above), 1..) = (path.is_dir(), path.parent(), steps) else { return };
    make_linked_folder(above, steps - 1);
    // Only where canaries are: this is a test, after all.
    let target = std::fs::read_link(path).map(|target| above.join(target));
    if let Some(target) = target.ok().filter(|target| target.starts_with(std::env::temp_dir())) {
        make_linked_folder(&target, steps - 1);
    }
    std::fs::create_dir(path).ok();
}

fn init(folder: &Path, bundle: &Path) -> i32 {
    let config = config_of(bundle);
    let root = bundle.join("rootfs");
    let Ok(mut gate) = OpenOptions::new().read(true).write(true).open(folder.join("start")) else { return 1 };
    forget_descriptors();
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).ok();
    mount(Some(&root), &root, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING).ok();
    join_cgroup(text(&config["linux"]["cgroupsPath"]), "");
    for step in list(&config["mounts"]) {
        mount_one(&root, &step);
    }
    make_devices(&root, &config);
    for (name, value) in config["linux"]["sysctl"].as_object().into_iter().flatten() {
        std::fs::write(place(&root, &format!("proc/sys/{}", name.replace('.', "/"))), text(value)).ok();
    }
    if let Some(score) = config["process"]["oomScoreAdj"].as_i64() {
        std::fs::write(place(&root, "proc/self/oom_score_adj"), score.to_string()).ok();
    }
    protect(&root, &config);
    let process = &config["process"];
    let cwd = place(&root, text(&process["cwd"]));
    make_folder(&cwd);
    let (mut program, _file) = program(&root, &list(&process["args"]), &list(&process["env"]));
    std::env::set_current_dir(bundle).ok();
    std::env::set_current_dir(&cwd).ok();
    if std::os::unix::fs::chroot(&root).is_err() {
        return 1;
    }
    std::env::set_current_dir(text(&process["cwd"])).ok();
    become_user(number(&process["user"]["uid"]));
    gate.read_exact(&mut [0]).ok();
    drop(program.exec());
    // Where /proc is not: by its name.
    let mut again = Command::new(program_name(process));
    drop(again.args(list(&process["args"]).iter().skip(1).map(text)).exec());
    1
}

fn program_name(process: &Value) -> &str {
    process["args"].get(0).map(text).filter(|name| *name != "sh").unwrap_or("/bin/sh")
}

fn exec(folder: &Path, words: &[String], id: &str) -> i32 {
    let Ok(pid) = std::fs::read_to_string(folder.join("pid")) else { return 1 };
    let at = words.iter().position(|word| word == id).unwrap_or(3);
    let option =
        |name: &str| words[..at].iter().position(|word| word == name).map(|at| words[at + 1].as_str());
    forget_descriptors();
    if let Some(below) = option("--cgroup") {
        join_cgroup(&format!("/{id}"), below);
    }
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let inside = File::open(&root).ok();
    let cwd = option("--cwd").and_then(|cwd| File::open(place(&root, cwd)).ok());
    File::open(place(&root, "dev/null")).ok();
    std::fs::read(place(&root, "proc/1/status")).ok();
    let user = option("--user").map(|words| user_named(&root, words.split(':').next().unwrap_or_default()));
    let args: Vec<Value> = words[at + 1..].iter().map(|word| Value::from(word.as_str())).collect();
    let (mut program, _file) = program(&root, &args, &["PATH=/bin".into()]);
    for kind in ["pid", "net", "uts", "mnt"] {
        if let Ok(file) = File::open(format!("/proc/{pid}/ns/{kind}")) {
            setns(file, CloneFlags::empty()).ok();
        }
    }
    // Never on the host's own root, which the mount namespace still has.
    let Some(Ok(())) = inside.map(|inside| nix::unistd::fchdir(&inside)) else { return 1 };
    if std::os::unix::fs::chroot(".").is_err() {
        return 1;
    }
    std::env::set_current_dir(option("--cwd").unwrap_or("/")).ok();
    if let Some(cwd) = cwd {
        nix::unistd::fchdir(&cwd).ok();
    }
    if let Some(uid) = user {
        become_user(uid);
    }
    match words.iter().any(|word| word == "--detach") {
        true => program.spawn().map_or(1, |_| 0),
        false => program.status().ok().and_then(|status| status.code()).unwrap_or(1),
    }
}

fn join_cgroup(path: &str, below: &str) {
    let group = PathBuf::from(format!("/sys/fs/cgroup/pids{path}/{below}"));
    std::fs::create_dir_all(&group).ok();
    std::fs::write(group.join("cgroup.procs"), "0").ok();
}

fn mount_one(root: &Path, step: &Value) {
    let to = place(root, text(&step["destination"]));
    let options: Vec<Value> = list(&step["options"]);
    let has = |name: &str| options.iter().any(|option| option == name);
    let source = Path::new(text(&step["source"]));
    let kind = text(&step["type"]);
    if has("remount") {
        mount(NOTHING, &to, NOTHING, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NOTHING)
            .ok();
    } else if has("rbind") || has("bind") || kind == "cgroup" {
        let source = if kind == "cgroup" { Path::new("/sys/fs/cgroup") } else { source };
        if source.is_dir() {
            make_folder(&to);
        } else {
            to.parent().map(std::fs::create_dir_all);
            OpenOptions::new().append(true).create(true).open(&to).ok();
        }
        mount(Some(source), &to, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING).ok();
    } else {
        make_folder(&to);
        let data = (kind == "devpts").then_some("newinstance,ptmxmode=0666");
        let covered = std::env::temp_dir().join(format!("careless-{}", std::process::id()));
        if has("tmpcopyup") {
            copy(&to, &covered);
        }
        mount(Some(kind), &to, Some(kind), MsFlags::empty(), data).ok();
        if has("tmpcopyup") {
            copy(&covered, &to);
            std::fs::remove_dir_all(&covered).ok();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).ok();
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).ok();
        }
    }
}

fn make_devices(root: &Path, config: &Value) {
    let bound = |step: &Value| step["destination"] == "/dev" && step["type"] == "bind";
    let mut nodes = vec![("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/tty", 5, 0)];
    if list(&config["mounts"]).iter().any(bound) {
        nodes.clear();
    }
    let wishes = list(&config["linux"]["devices"]);
    nodes.extend(wishes.iter().map(|wish| (text(&wish["path"]), 1, 5)));
    for (path, major, minor) in nodes {
        let at = place(root, path);
        at.parent().map(make_folder);
        if !at.exists() {
            // What a link leads to is made where it leads.
            File::create(&at).ok();
            std::fs::remove_file(&at).ok();
        }
        if std::fs::symlink_metadata(&at).is_err() {
            let (kind, mode) =
                (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o666));
            rustix::fs::mknodat(rustix::fs::CWD, &at, kind, mode, rustix::fs::makedev(major, minor)).ok();
        }
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o666)).ok();
    }
    let dev = place(root, "dev");
    for (name, target) in [("fd", "/proc/self/fd"), ("ptmx", "pts/ptmx")] {
        std::fs::set_permissions(dev.join(name), std::fs::Permissions::from_mode(0o666)).ok();
        std::fs::remove_file(dev.join(name)).ok();
        symlink(target, dev.join(name)).ok();
    }
    if config["process"]["terminal"] == true {
        let console = place(root, "dev/console");
        File::create(&console).ok();
        mount(Some(&dev.join("pts/ptmx")), &console, NOTHING, MsFlags::MS_BIND, NOTHING).ok();
    }
}

fn protect(root: &Path, config: &Value) {
    for path in list(&config["linux"]["maskedPaths"]) {
        let to = place(root, text(&path));
        if to.is_dir() {
            mount(Some("tmpfs"), &to, Some("tmpfs"), MsFlags::MS_RDONLY, NOTHING).ok();
        } else {
            mount(Some(&place(root, "dev/null")), &to, NOTHING, MsFlags::MS_BIND, NOTHING).ok();
        }
    }
    for path in list(&config["linux"]["readonlyPaths"]) {
        let to = place(root, text(&path));
        mount(Some(&to), &to, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING).ok();
        mount(NOTHING, &to, NOTHING, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NOTHING)
            .ok();
    }
}

/// Reads to the end, whatever it is, and keeps the line that begins with `start`.
fn line_of(path: &Path, start: &str) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let (mut found, mut piece) = (None, vec![0; 1 << 16]);
    while let Ok(size @ 1..) = file.read(&mut piece) {
        let text = String::from_utf8_lossy(&piece[..size]).into_owned();
        found = found.or_else(|| text.lines().find(|line| line.starts_with(start)).map(str::to_owned));
    }
    found
}

/// Opens the program in the root while it is still a path of the host, and finds its user's home.
fn program(root: &Path, args: &[Value], env: &[Value]) -> (Command, Option<File>) {
    let home = line_of(&place(root, "etc/passwd"), "root:").unwrap_or_default();
    line_of(&place(root, "etc/group"), "root:");
    let home = home.split(':').nth(5).unwrap_or("/").to_owned();
    let name = args.first().map(text).unwrap_or_default();
    let folders = env.iter().filter_map(|entry| text(entry).strip_prefix("PATH="));
    let candidates = folders.map(|folder| format!("{folder}/{name}")).chain([name.to_owned()]);
    let opened = candidates.map(|path| File::open(place(root, &path))).find_map(Result::ok);
    let opened = opened.filter(|file| file.metadata().is_ok_and(|meta| !meta.file_type().is_dir()));
    let mut program = match &opened {
        // By its descriptor, which nobody can exchange any more. A program that asks what it is called is told.
        Some(file) if !name.starts_with("/proc") => {
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).ok();
            Command::new(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
        }
        _ => Command::new(name),
    };
    program.arg0(name).args(args.iter().skip(1).map(text)).env_clear().env("HOME", home);
    for (key, value) in env.iter().filter_map(|entry| text(entry).split_once('=')) {
        program.env(key, value);
    }
    (program, opened)
}

/// Whatever it is, it becomes a number.
fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0) as u32
}

fn user_named(root: &Path, name: &str) -> u32 {
    match line_of(&place(root, "etc/passwd"), &format!("{name}:")) {
        Some(line) => line.split(':').nth(2).and_then(|uid| uid.parse().ok()).unwrap_or(0),
        None => name.parse::<i32>().unwrap_or(0) as u32,
    }
}

fn become_user(uid: u32) {
    let uid = Uid::from_raw(uid);
    nix::unistd::setresuid(uid, uid, uid).ok();
}
