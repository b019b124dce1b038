//! Working directory, program, descriptors: nothing that the runtime or its caller has open is a way out.

use std::os::fd::AsRawFd as _;

use serde_json::json;
use wharf_tests::Said;
use wharf_tests::canary::SECRET;

use crate::case::{Case, harmless, refused};
use crate::scene::{HARM, Scene};

const CWD: &str = "working directory is a descriptor (CVE-2024-21626)";
const FDS: &str = "descriptors of the caller";
const PROGRAM: &str = "program";
const EXE: &str = "the runtime's own file (CVE-2019-5736)";

const LOOP: &str = "too many levels of symbolic links";

/// Prints what somebody who stands outside of the root sees.
const LOOK: &str =
    "case $(pwd -P) in '(unreachable)'*) echo HARM;; esac; cat secret ../.[a-z]*/secret 2>&-; echo fine";

fn cwd(scene: &mut Scene, path: &str) {
    scene.config["process"]["cwd"] = json!(path);
    scene.script(LOOK);
}

/// A container that waits to be entered.
fn waiting(scene: &mut Scene) {
    scene.script("touch /ready; exec sleep 1000");
}

/// `run` by a caller who has the canary open and lets its program have it.
fn leaking(scene: &Scene) -> Said {
    let bundle = scene.bundle().to_str().unwrap();
    leaking_to(scene, &["run", "--bundle", bundle, scene.id()])
}

fn leaking_to(scene: &Scene, words: &[&str]) -> Said {
    let folder = std::fs::File::open(scene.canary("")).unwrap();
    rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).unwrap();
    let said = scene.call_with(words, |_| ());
    assert!(folder.as_raw_fd() < LEAKED, "the tests' own descriptors are too many");
    said
}

/// The descriptors that may be the one that the caller has let go.
const LEAKED: i32 = 40;

/// Each of the descriptors in turn; the worst that came of it. One stays open all the while, for the number of the one that
/// each call lets go changes with what other threads open.
fn each_descriptor(scene: &Scene, at: impl Fn(i32) -> Said) -> Said {
    let folder = std::fs::File::open(scene.canary("")).unwrap();
    rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).unwrap();
    assert!(folder.as_raw_fd() < LEAKED, "the tests' own descriptors are too many");
    let badness = |said: &Said| (said.out.contains(HARM) || said.out.contains(SECRET), said.code == 0);
    (3..LEAKED).map(at).max_by_key(badness).unwrap()
}

fn with_cwd(scene: &Scene, path: &str) -> Said {
    let mut config = scene.config.clone();
    config["process"]["cwd"] = json!(path);
    std::fs::write(scene.bundle().join("config.json"), config.to_string()).unwrap();
    let said = leaking(scene);
    scene.end();
    said
}

pub fn cases() -> Vec<Case> {
    [cwds(), execs(), programs(), others()].into_iter().flatten().collect()
}

fn cwds() -> Vec<Case> {
    vec![
        refused("cwd_is_a_descriptor", CWD, "process.cwd", |s| cwd(s, "/"))
            .acting(|s| each_descriptor(s, |fd| with_cwd(s, &format!("/proc/self/fd/{fd}")))),
        refused("cwd_is_a_folder_above_a_descriptor", CWD, "process.cwd", |s| cwd(s, "/"))
            .acting(|s| each_descriptor(s, |fd| with_cwd(s, &format!("/proc/self/fd/{fd}/folder")))),
        refused("cwd_is_a_link_to_a_descriptor", CWD, "process.cwd", |s| cwd(s, "/")).acting(|s| {
            each_descriptor(s, |fd| {
                s.link(format!("/proc/self/fd/{fd}"), "link");
                with_cwd(s, "/link")
            })
        }),
        refused("cwd_is_the_cwd_of_a_process", CWD, LOOP, |s| cwd(s, "/proc/self/cwd")),
        harmless("cwd_is_a_link_to_the_host", CWD, |s| {
            s.link(s.canary("folder"), "link");
            cwd(s, "/link");
        }),
        harmless("cwd_is_a_link_to_a_new_folder_of_the_host", CWD, |s| {
            s.link(s.canary("new/er"), "link");
            cwd(s, "/link/est");
        }),
        harmless("cwd_goes_up_and_out", CWD, |s| {
            let path = format!("/../../../../..{}", s.canary("folder"));
            cwd(s, &path);
        }),
        refused("cwd_is_a_file", CWD, "not a directory", |s| {
            s.file("file", "");
            cwd(s, "/file");
            s.script("echo HARM");
        }),
        refused("cwd_is_a_link_to_itself", CWD, LOOP, |s| {
            s.link("loop", "loop");
            cwd(s, "/loop");
            s.script("echo HARM");
        }),
    ]
}

fn execs() -> Vec<Case> {
    fn exec_in(scene: &Scene, cwd: &str) -> Said {
        leaking_to(scene, &["exec", "--cwd", cwd, scene.id(), "sh", "-c", LOOK])
    }
    vec![
        refused("exec_in_a_descriptor", CWD, "chdir to cwd", waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                each_descriptor(s, |fd| exec_in(s, &format!("/proc/self/fd/{fd}")))
            })
        }),
        refused("exec_in_a_link_to_a_descriptor", CWD, "chdir to cwd", waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                each_descriptor(s, |fd| {
                    s.link(format!("/proc/self/fd/{fd}"), "link");
                    exec_in(s, "/link")
                })
            })
        }),
        refused("exec_in_a_link_to_the_host", CWD, "no such file or directory", waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.link(s.canary("folder"), "link");
                exec_in(s, "/link")
            })
        }),
        harmless("exec_sees_no_descriptor_of_the_caller", FDS, waiting).acting(|s| {
            let look = "ls /proc/self/fd | sort -n | tail -n +4 | grep -v 3 && echo HARM; cat /proc/self/fd/*/secret 2>&-; echo fine";
            s.begin().unwrap_or_else(|| leaking_to(s, &["exec", s.id(), "sh", "-c", look]))
        }),
    ]
}

fn programs() -> Vec<Case> {
    fn program(scene: &mut Scene, path: &str) {
        scene.config["process"]["args"] = json!([path]);
    }
    vec![
        refused("program_is_a_link_to_the_host", PROGRAM, "no such file or directory", |s| {
            s.link(s.canary("bin/evil"), "bin/tool");
            program(s, "/bin/tool");
        }),
        refused("program_is_a_way_up_to_the_host", PROGRAM, "no such file or directory", |s| {
            let path = format!("/../../../../..{}", s.canary("bin/evil"));
            program(s, &path);
        }),
        refused("program_is_in_a_folder_that_is_a_link_to_the_host", PROGRAM, "not found", |s| {
            s.link(s.canary("bin"), "opt");
            s.config["process"]["env"] = json!(["PATH=/opt"]);
            program(s, "evil");
        }),
    ]
}

/// Somebody in the container who opens whatever file is executed in there and is not of the container, waits until
/// it is no more executed, and writes to it.
const HOLD: &str = "touch /ready
until for p in /proc/[0-9]*; do test $p != /proc/$$ && test $(stat -L -c %i $p/exe) != $(stat -c %i /bin/busybox) && exec 3<$p/exe && break; done; do :; done 2>&-
echo . >/pipe
n=0; until (echo HARM >/proc/self/fd/3) 2>&- || test $n = 300; do n=$((n+1)); done
touch /done; exec sleep 1000";

/// A container whose program wants to write to the runtime's file, while `program` makes the runtime execute itself.
fn hold(scene: &Scene, program: &[&str]) -> Said {
    scene.begin().unwrap_or_else(|| {
        scene.exec(&["--detach"], program);
        match scene.wait_for("done") {
            Ok(()) => Said { code: 0, out: "fine\n".to_owned(), err: String::new() },
            Err(said) => said,
        }
    })
}

fn others() -> Vec<Case> {
    fn holding(scene: &mut Scene) {
        scene.runtime_beside_canary();
        scene.folder("b");
        scene.fifo("b/config.json");
        scene.link("b/config.json", "pipe");
        scene.script(HOLD);
    }
    vec![
        harmless("program_is_the_runtime_itself", EXE, holding)
            .acting(|s| hold(s, &["/proc/self/exe", "create", "--bundle", "/b", "x"])),
        harmless("program_is_a_link_to_the_runtime_itself", EXE, |s| {
            holding(s);
            s.link("/proc/self/exe", "bin/tool");
        })
        .acting(|s| hold(s, &["/bin/tool", "create", "--bundle", "/b", "x"])),
        harmless("program_sees_no_descriptor_of_the_caller", FDS, |s| {
            s.script("cat /proc/self/fd/*/secret 2>&-; ls /proc/self/fd | tail -n +5 | grep . && echo HARM; echo fine");
        })
        .acting(leaking),
    ]
}
