//! Control groups: the container's place is below the hierarchies and nowhere else.

use serde_json::json;
use wharf_tests::Said;

use crate::case::{Case, harmless, refused};
use crate::scene::Scene;

const PATH: &str = "control group as a path (crun 1.28)";
const BELOW: &str = "control group outside of the container's (crun 1.29)";
const WRITE: &str = "control groups that the container changes (CVE-2022-0492, CVE-2023-25809)";

fn path(scene: &mut Scene, path: &str) {
    scene.config["linux"]["cgroupsPath"] = json!(path);
}

fn below(scene: &Scene, words: &str) -> Said {
    scene.begin().unwrap_or_else(|| {
        let id = scene.id();
        let script = format!("grep -v {id} /proc/self/cgroup | grep -v ':/$' && echo HARM; grep -q {id} /proc/self/cgroup || echo HARM; echo fine");
        scene.exec(&["--cgroup", words], &["sh", "-c", &script])
    })
}

fn waiting(scene: &mut Scene) {
    scene.script("touch /ready; exec sleep 1000");
}

pub fn cases() -> Vec<Case> {
    const UP: &str = "cgroupsPath";
    vec![
        refused("cgroup_goes_up_to_the_host", PATH, UP, |s| {
            let to = format!("/../../../../../../../..{}", s.canary("made"));
            path(s, &to);
        }),
        refused("cgroup_goes_down_and_up_to_the_host", PATH, UP, |s| {
            let to = format!("/wharf-test/../../../../../../..{}", s.canary("made"));
            path(s, &to);
        }),
        refused("relative_cgroup_goes_up_to_the_host", PATH, UP, |s| {
            let to = format!("wharf-test/../../../../../../../../../..{}", s.canary("made"));
            path(s, &to);
        }),
        refused("exec_goes_up_from_the_cgroup", BELOW, "cgroup", waiting).acting(|s| below(s, "..")),
        refused("exec_goes_down_and_up_from_the_cgroup", BELOW, "cgroup", waiting)
            .acting(|s| below(s, "a/../../..")),
        refused("exec_goes_to_the_cgroup_above_all", BELOW, "cgroup", waiting).acting(|s| below(s, "/../..")),
        harmless("container_writes_to_read_only_control_groups", WRITE, |s| {
            s.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
            s.script(
                "for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do (echo $$ >$f) 2>&- && echo HARM; done; echo fine",
            );
        }),
        harmless("container_sees_control_groups_above_its_own", WRITE, |s| {
            s.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
            let id = s.id().to_owned();
            s.script(&format!("find /sys/fs/cgroup -name '{id}' | grep -q . && echo HARM; echo fine"));
        }),
    ]
}
