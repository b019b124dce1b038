//! One bundle, unmodified, under runc and under ours: what the container sees is the same but for what
//! docs/behaviour-notes.md lists.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use wharf_tests::{Said, Sandbox, is_ours, runtime_path};

/// Prints the view, a line for each fact.
const LOOK: &str = r#"
sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* /mount /; s/ shared:[0-9]*//; s/ master:[0-9]*//' /proc/self/mountinfo
grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups|SigIgn|SigBlk)' /proc/self/status
for n in cgroup ipc mnt net pid uts user; do [ "$(readlink /proc/self/ns/$n)" = "$(cat /outer/$n)" ] && echo "host $n"; done
cat /proc/self/limits | tr -s ' '
ls -ln /dev | awk '{print "dev", $1, $3, $4, $5, $6, $NF}' | grep -v '^dev total' | sed 's/ [A-Z][a-z][a-z] / /'
ls /proc/self/fd | tr '\n' ' '; echo
umask; pwd; hostname; id; env | sort; cat /proc/self/oom_score_adj; ip -o link | cut -d' ' -f2,3
for f in /proc/kcore /proc/keys /proc/timer_list /proc/acpi; do cat $f 2>&1 | head -c 30; ls -d $f 2>&1; done
for f in /proc/sys/kernel/x /proc/irq/x /sys/x /x; do touch $f 2>&1; done
true
"#;

/// What behaviour-notes.md gives a reason for: masked places (another null device, read-only flags) and the
/// flags of the tmpfs at /sys/fs/cgroup.
fn is_listed(line: &str) -> bool {
    let noted =
        ["/proc/keys", "/proc/timer_list", "/proc/kcore", "/proc/acpi", "/sys/firmware", "/sys/fs/cgroup"];
    let masked = line.starts_with("mount ") && noted.iter().any(|path| line.contains(path));
    masked || line.starts_with("SigIgn") // runc hands on what its caller ignores
}

fn view(sandbox: &Sandbox, runtime: &Path) -> BTreeSet<String> {
    let mut command = sandbox.command_of(runtime);
    let said: Said =
        command.args(["run", "--bundle"]).arg(sandbox.bundle()).arg(&sandbox.id).output().unwrap().into();
    said.ok().lines().filter(|line| !is_listed(line)).map(str::to_owned).collect()
}

/// No program finds a signal ignored because of who started the runtime.
fn view_of_signals(sandbox: &Sandbox) -> String {
    let said = sandbox.run();
    said.ok().lines().find(|line| line.starts_with("SigIgn")).unwrap_or_default().to_owned()
}

#[test]
fn container_sees_the_same_under_runc() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell(LOOK, |c| {
        let sets = json!(["CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
        c["process"]["capabilities"] = json!({"bounding": sets, "effective": sets, "permitted": sets});
        c["process"]["noNewPrivileges"] = json!(true);
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]);
        c["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [7]});
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        c["linux"]["maskedPaths"] =
            json!(["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"]);
        c["linux"]["readonlyPaths"] =
            json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
        c["linux"]["resources"] =
            json!({"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 50}});
        c["root"]["readonly"] = json!(true);
        let mounts = c["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}));
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}));
        mounts.push(
            json!({"destination": "/outer", "type": "none", "source": "outer", "options": ["rbind", "ro"]}),
        );
        mounts.push(json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["nodev", "noexec", "size=64k", "mode=1777"]}));
    });
    let outer = sandbox.bundle().join("outer");
    std::fs::create_dir(&outer).unwrap();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"] {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        std::fs::write(outer.join(kind), link.to_str().unwrap()).unwrap();
    }
    let (ours, runcs) = (view(&sandbox, &runtime_path()), view(&sandbox, Path::new("runc")));
    let only =
        |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join("\n");
    let (ours_alone, runcs_alone) = (only(&ours, &runcs), only(&runcs, &ours));
    assert!(ours == runcs, "\nonly ours:\n{ours_alone}\nonly runc's:\n{runcs_alone}");
    assert!(!view_of_signals(&sandbox).contains('8'), "a signal is ignored");
    assert!(ours.len() > 60, "{ours:?}");
}
