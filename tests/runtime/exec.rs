//! exec: a further process.

use serde_json::json;
use wharf_tests::{Sandbox, is_ours, wait_until};

#[test]
fn exec_is_in_all_namespaces_and_gives_its_exit_code() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let links = "for n in pid mnt ipc uts net; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done | sort | uniq -c | grep -vc ' 2 '";
    assert_eq!(sandbox.exec(links).out, "0\n");
    assert_eq!(sandbox.exec("exit 7").code, 7);
    assert_eq!(sandbox.exec("kill -15 $$").code, 143);
    sandbox
        .verb(&["exec", &sandbox.id, "nosuch"])
        .fails(255, &["nosuch", "executable file not found in $PATH"]);
}

#[test]
fn exec_takes_user_env_and_cwd() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let arguments = [
        "exec",
        "--user",
        "1000:5",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        &sandbox.id,
        "sh",
        "-c",
        "id -u; id -g; echo $A; pwd",
    ];
    assert_eq!(sandbox.verb(&arguments).ok(), "1000\n5\nb\n/tmp\n");
    sandbox.verb(&["exec", "--user", "4294967296", &sandbox.id, "id"]).fails(255, &["--user"]);
    for none in ["4294967295", "1:4294967295"] {
        sandbox.verb(&["exec", "--user", none, &sandbox.id, "id"]).fails(255, &["4294967295"]);
    }
}

#[test]
fn words_of_the_program_are_never_taken_for_options() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let words = ["exec", "-user", "1000", "--no-new-privs=true", &sandbox.id];
    let program = ["sh", "-c", "id -u; echo \"$@\"", "-cwd", "-user", "0", "-env=A", "--", "-tty", "-detach"];
    let out = sandbox.verb(&[&words[..], &program[..]].concat()).ok();
    assert_eq!(out, "1000\n-user 0 -env=A -- -tty -detach\n");
}

#[test]
fn exec_enters_a_working_directory_but_makes_none() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let inside = ["exec", "--cwd", "/nosuch", &sandbox.id, "true"];
    sandbox.verb(&inside).fails(255, &["chdir to cwd", "/nosuch", "no such file or directory"]);
    assert!(!sandbox.rootfs().join("nosuch").exists());
}

#[test]
fn detached_exec_outlives_the_runtime() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let file = sandbox.bundle().join("exec.pid");
    sandbox.verb(&["exec", "-d", "--pid-file", file.to_str().unwrap(), &sandbox.id, "sleep", "999"]).ok();
    let pid = std::fs::read_to_string(file).unwrap();
    let command_line = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert_eq!(command_line(), "sleep\u{0}999\u{0}");
    sandbox.verb(&["kill", &sandbox.id, "KILL"]).ok();
    wait_until("the end of the exec'd process", || command_line().is_empty());
}

/// What bash makes of `--process <(echo ...)`. Of all else that is open nothing gets into the container.
#[test]
fn process_can_come_over_a_descriptor_of_the_caller() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let process = json!({"args": ["ls", "/proc/self/fd"], "cwd": "/", "env": ["PATH=/bin"]});
    let script = "exec 7</etc/passwd; \"$@\" exec --process <(printf %s \"$PROCESS\") \"$ID\"";
    let runtime = sandbox.command();
    let said: wharf_tests::Said = std::process::Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(runtime.get_program())
        .args(runtime.get_args())
        .envs([("PROCESS", process.to_string()), ("ID", sandbox.id.clone())])
        .output()
        .unwrap()
        .into();
    assert_eq!(said.ok(), "0\n1\n2\n3\n"); // 3 is the one by which ls reads the folder
}

#[test]
fn added_capability_is_ambient_if_the_config_lets_it_be_inherited() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_CHOWN"], "effective": ["CAP_KILL"], "ambient": ["CAP_KILL"]});
    });
    let said = sandbox.create();
    assert!(said.err.contains("can't raise ambient capability CAP_KILL: "), "{said:?}");
    sandbox.verb(&["start", &sandbox.id]).ok();
    let ambient = |capability: &str| {
        let script = "sed -n s/^CapAmb:.0*//p /proc/self/status";
        sandbox.verb(&["exec", "--cap", capability, &sandbox.id, "sh", "-c", script]).ok()
    };
    assert_eq!(ambient("CAP_CHOWN"), "1\n");
    assert_eq!(ambient("CAP_KILL"), "\n");
}

#[test]
fn process_file_is_taken_whole() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let process = json!({"args": ["sh", "-c", "id -u; pwd; env"], "cwd": "/tmp", "env": ["X=1", "PATH=/bin"], "user": {"uid": 7, "gid": 7}});
    let file = sandbox.bundle().join("process.json");
    std::fs::write(&file, process.to_string()).unwrap();
    let out = sandbox.verb(&["exec", "--process", file.to_str().unwrap(), &sandbox.id]).ok();
    assert!(out.starts_with("7\n/tmp\n") && out.contains("X=1"), "{out}");
}

#[test]
fn personality_and_memory_policy_are_execd_processes_too() {
    if !is_ours() {
        return; // runc 1.1 knows neither
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["personality"] = json!({"domain": "LINUX32"});
        if std::path::Path::new("/proc/self/numa_maps").exists() {
            c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"});
        }
    });
    sandbox.start();
    let personality =
        |pid: &str| format!("cat /proc/{pid}/personality; head -1 /proc/{pid}/numa_maps | cut -d' ' -f2");
    let execd = sandbox.exec(&personality("self")).ok();
    assert_eq!(execd, sandbox.exec(&personality("1")).ok());
    assert!(execd.starts_with("00000008\n"), "{execd}");
    assert!(!execd.contains("default"), "{execd}");
}

/// A filter must bind every process of the container, not only its first.
#[test]
fn execd_process_has_the_containers_filter() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}]});
    });
    sandbox.start();
    assert_eq!(sandbox.exec("grep Seccomp: /proc/self/status").ok(), "Seccomp:\t2\n");
}
