//! Ordinary users: the same verbs without any privilege (config-linux.md, "User namespace mappings").
//!
//! The user of these tests exists only in the mount namespace that each command gets, where /etc/passwd and
//! /etc/subuid are files of the test's. He has a folder for the bundle, one for XDG_RUNTIME_DIR, and a copy of the
//! runtime, for the workspace may be out of his sight.

mod cgroups;
mod life;
mod mounts;
mod namespaces;

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wharf_tests::user::{USER, write_files};
use wharf_tests::{Sandbox, copy_program, runtime_path};

/// The first of the ids that /etc/subuid gives him, and how many.
const SUB: (u32, u32) = (7_000_000, 65_536);

/// Joins the cgroup directories in $JOIN, gives the user his entries, and becomes him.
const BECOME: &str = "set -e
for dir in $JOIN; do echo $$ > $dir/cgroup.procs; done
for file in passwd group subuid subgid; do mount --bind \"$ETC/$file\" /etc/$file; done
unset JOIN ETC
exec setpriv --reuid 62001 --regid 62001 --clear-groups --inh-caps=-all -- \"$@\"";

/// A bundle of his.
struct Home {
    sandbox: Sandbox,
    join: String,
}

/// What `Said` of the library is to root's commands.
type Said = wharf_tests::Said;

impl Home {
    /// A bundle that runs a shell script, with the user's id as root's, the host's network, and no cgroup asked for.
    fn shell(script: &str, change: impl FnOnce(&mut Value)) -> Home {
        let sandbox = Sandbox::shell(script, |c| {
            let linux = c["linux"].as_object_mut().unwrap();
            linux.remove("cgroupsPath");
            linux.insert("uidMappings".into(), json!([{"containerID": 0, "hostID": USER, "size": 1}]));
            linux.insert("gidMappings".into(), json!([{"containerID": 0, "hostID": USER, "size": 1}]));
            let namespaces = linux["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
            namespaces.push(json!({"type": "user"}));
            c["mounts"][4] =
                json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]});
            change(c);
        });
        let home = Home { sandbox, join: String::new() };
        home.furnish();
        home
    }

    fn furnish(&self) {
        for folder in ["etc", "xdg"] {
            std::fs::create_dir(self.path(folder)).unwrap();
        }
        write_files(&self.path("etc"), SUB);
        let runtime = runtime_path();
        if runtime.is_file() {
            copy_program(&runtime, &self.path("runtime"));
        }
        let status =
            Command::new("chown").args(["-Rh", &format!("{USER}:{USER}")]).arg(self.path("")).status();
        assert!(status.unwrap().success());
        std::fs::set_permissions(self.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(self.path("xdg"), std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(self.path("etc"), Some(0), Some(0)).unwrap();
    }

    /// A path in the bundle.
    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.bundle().join(name)
    }

    /// The runtime as the user calls it.
    fn runtime(&self) -> String {
        let copy = self.path("runtime");
        if copy.exists() { copy.display().to_string() } else { runtime_path().display().to_string() }
    }

    /// Runs any command as the user, in the bundle. Output goes to files: a container that lives on would keep a
    /// pipe open.
    fn run_as_user(&self, words: &[&str]) -> Said {
        let (out, err) = (self.path("said.out"), self.path("said.err"));
        let file = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", BECOME, "sh"]).args(words);
        command.env("ETC", self.path("etc")).env("JOIN", &self.join).env("XDG_RUNTIME_DIR", self.path("xdg"));
        command.env_remove("USER").current_dir(self.path("")).stdin(Stdio::null());
        let status = command.stdout(file(&out)).stderr(file(&err)).status().unwrap();
        let read = |path: &Path| std::fs::read(path).unwrap();
        std::process::Output { status, stdout: read(&out), stderr: read(&err) }.into()
    }

    /// A verb of the runtime, with the default folder for its state.
    fn verb(&self, words: &[&str]) -> Said {
        self.run_as_user(&[&[self.runtime().as_str()], words].concat())
    }

    /// `run` with a terminal, and what came out of it.
    fn run_in_terminal(&self) -> String {
        let run = format!("{} run {}", self.runtime(), self.sandbox.id);
        let said = self.run_as_user(&["script", "-qec", &run, "/dev/null"]).ok();
        said.replace("\r\n", "\n").replace("^@", "") // script's own end of input
    }

    /// `run`, in the foreground.
    fn run(&self) -> Said {
        self.verb(&["run", &self.sandbox.id])
    }

    /// `create` and `start`.
    fn start(&self) {
        self.verb(&["create", &self.sandbox.id]).ok();
        self.verb(&["start", &self.sandbox.id]).ok();
    }

    fn exec(&self, script: &str) -> Said {
        self.verb(&["exec", &self.sandbox.id, "sh", "-c", script])
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state", &self.sandbox.id]).ok()).unwrap()
    }

    fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().unwrap()
    }

    /// The folders of containers that the runtime keeps for the user.
    fn states(&self) -> Vec<PathBuf> {
        let roots = std::fs::read_dir(self.path("xdg")).unwrap().map(|entry| entry.unwrap().path());
        roots.flat_map(|root| std::fs::read_dir(root).unwrap()).map(|entry| entry.unwrap().path()).collect()
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(self.states(), Vec::<PathBuf>::new());
        self.sandbox.assert_nothing_left();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed half-way may have left a container.
        self.verb(&["delete", "--force", &self.sandbox.id]);
    }
}

/// Maps the user's id to root's and his further ids to those from 1 on.
fn map_ranges(config: &mut Value) {
    let map = json!([
        {"containerID": 0, "hostID": USER, "size": 1},
        {"containerID": 1, "hostID": SUB.0, "size": SUB.1},
    ]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}
