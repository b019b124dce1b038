//! containerd and its shim, by `ctr`.

use wharf_tests::{Said, runtime_path, wait_up_to};

use crate::image::{self, IMAGE};
use crate::machine::{Daemon, Machine, PATIENCE};
use crate::skip;

/// containerd's groups in the cgroup hierarchies: one for each of its namespaces.
const KEPT: [&str; 1] = ["/default"];

/// A machine on which containerd runs and has the image.
pub struct Containerd {
    /// The machine.
    pub machine: Machine,
    daemon: Daemon,
    namespace: String,
}

impl Containerd {
    /// Starts it with `plugins` in its configuration, and the image in `namespace`.
    pub fn start(namespace: &str, plugins: &str) -> Containerd {
        let mut machine = Machine::boot();
        let archive = image::make_archive(&machine);
        let at = machine.text("");
        let config = format!(
            "version = 2\nroot = \"{at}root\"\nstate = \"{at}state\"\n[grpc]\naddress = \"{at}sock\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{at}opt\"\n{plugins}"
        );
        std::fs::write(machine.path("config.toml"), config).unwrap();
        let socket = machine.text("sock");
        machine.set("CONTAINERD_ADDRESS", &socket);
        let daemon = machine.start("containerd", &["-c", "config.toml"]);
        let containerd = Containerd { machine, daemon, namespace: namespace.to_owned() };
        wait_up_to(PATIENCE, "containerd", || containerd.ctr("version").code == 0);
        containerd.ctr(&format!("images import {archive}")).ok();
        containerd
    }

    /// `ctr` with the words of `line`.
    pub fn ctr(&self, line: &str) -> Said {
        let words = ["--namespace", &self.namespace].into_iter().chain(line.split(' '));
        self.machine.run("ctr", &words.collect::<Vec<_>>())
    }

    /// `ctr run` on the runtime under test: options, image, ID, then a shell script.
    fn run(&self, options: &str, id: &str, script: &str) -> Said {
        let runtime = runtime_path();
        let line = format!("--namespace {} run {options}", self.namespace);
        let last = ["--runc-binary", runtime.to_str().unwrap(), IMAGE, id, "sh", "-c", script];
        self.machine.run("ctr", &line.split(' ').chain(last).collect::<Vec<_>>())
    }

    /// What a task is said to be.
    fn status(&self, id: &str) -> String {
        let table = self.ctr("tasks ls").ok();
        let row = table.lines().find(|row| row.split_whitespace().next() == Some(id)).unwrap_or_default();
        row.split_whitespace().nth(2).unwrap_or_default().to_owned()
    }

    fn wait_for(&self, id: &str, status: &str) {
        wait_up_to(PATIENCE, &format!("{id} {status}"), || self.status(id) == status);
    }

    /// Ends containerd, asserts that nothing is left, and ends the machine.
    pub fn stop(self, kept: &[&str]) {
        self.daemon.stop();
        self.machine.assert_nothing_left(kept);
    }
}

#[test]
fn containerd_runs_a_program_to_its_end() {
    let containerd = Containerd::start("default", "");
    let run = containerd.run("--rm", "once", "echo hi; exit 3");
    assert_eq!((run.code, run.out.as_str()), (3, "hi\n"), "{run:?}");
    let bind = format!("--mount type=bind,src={},dst=/host,options=rbind:ro", containerd.machine.text(""));
    let options = format!("--rm --read-only --env A=b --cwd /tmp {bind}");
    let view = containerd.run(&options, "view", "echo $A; pwd; touch /host/x || touch /x || echo no");
    assert_eq!(view.out, "b\n/tmp\nno\n", "{view:?}");
    let words = ["run", "--rm", "--runc-binary", runtime_path().to_str().unwrap(), IMAGE, "none", "nosuch"]
        .map(str::to_owned);
    let missing = containerd.machine.run("ctr", &words.each_ref().map(String::as_str));
    missing.fails(1, &["executable file not found in $PATH"]);
    containerd.stop(&KEPT);
}

#[test]
fn containerd_drives_a_task() {
    let containerd = Containerd::start("default", "");
    let script = "trap 'exit 9' TERM; touch /tmp/ready; while :; do sleep 1; done";
    containerd.run("-d --memory-limit 67108864 --cpus 0.5", "task", script).ok();
    wait_up_to(PATIENCE, "the program", || {
        containerd.ctr("tasks exec --exec-id ready task test -e /tmp/ready").code == 0
    });
    let exec = containerd.ctr("tasks exec --exec-id exec task ls /tmp");
    assert_eq!((exec.code, exec.out.as_str()), (0, "ready\n"), "{exec:?}");
    assert_eq!(containerd.ctr("tasks exec --exec-id code task test -e /nosuch").code, 1);
    let ps = containerd.ctr("tasks ps task").ok();
    assert!(ps.lines().count() >= 2, "{ps}");
    let metrics = containerd.ctr("tasks metrics --format json task").ok();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["memory"]["usage"]["limit"], 64 << 20, "{metrics}");
    assert!(metrics["pids"]["current"].as_u64().unwrap() >= 1, "{metrics}");
    containerd.ctr("tasks pause task").ok();
    assert_eq!(containerd.status("task"), "PAUSED");
    containerd.ctr("tasks resume task").ok();
    assert_eq!(containerd.status("task"), "RUNNING");
    containerd.ctr("tasks kill -s SIGTERM task").ok();
    containerd.wait_for("task", "STOPPED");
    containerd.ctr("tasks kill -s SIGTERM task").fails(1, &["process already finished: not found"]);
    let end = containerd.ctr("tasks delete task");
    assert!(end.err.contains("exit code 9"), "{end:?}");
    containerd.ctr("containers delete task").ok();
    containerd.stop(&KEPT);
}

#[test]
fn containerd_checkpoints_and_restores_a_task() {
    let containerd = Containerd::start("default", "");
    let script = "n=0; while :; do n=$((n+1)); echo $n >/tmp/n.new; mv /tmp/n.new /tmp/n; sleep 0.1; done";
    containerd.run("-d", "task", script).ok();
    let count = |number: &str| -> Option<u32> {
        let said = containerd.ctr(&format!("tasks exec --exec-id {number} task cat /tmp/n"));
        said.out.trim().parse().ok()
    };
    let (mut tries, mut before) = (0, 0);
    wait_up_to(PATIENCE, "the count", || {
        tries += 1;
        before = count(&format!("e{tries}")).unwrap_or(0);
        before > 5
    });
    let checkpoint = containerd.ctr("containers checkpoint --task --image --rw task checkpoint:1");
    let is_made = skip::succeeded("containerd's checkpoint and restore", &checkpoint);
    assert_eq!(containerd.status("task"), "RUNNING", "neither success nor failure ends it");
    containerd.ctr("tasks kill -s SIGKILL task").ok();
    containerd.wait_for("task", "STOPPED");
    containerd.ctr("tasks delete task");
    containerd.ctr("containers delete task").ok();
    if is_made {
        containerd.ctr("containers restore --live task checkpoint:1").ok();
        assert_eq!(containerd.status("task"), "RUNNING");
        assert!(count("after").unwrap() >= before);
        containerd.ctr("tasks kill -s SIGKILL task").ok();
        containerd.wait_for("task", "STOPPED");
        containerd.ctr("tasks delete task");
        containerd.ctr("containers delete task").ok();
    }
    containerd.stop(&KEPT);
}
