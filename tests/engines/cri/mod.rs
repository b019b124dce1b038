//! containerd as Kubernetes uses it: pods and containers over the Container Runtime Interface, with the runtime
//! as a handler's `BinaryName` and CNI plugins for the pod's network.

mod client;
mod messages;

use std::collections::HashMap;

use wharf_tests::{runtime_path, wait_up_to};

use crate::containerd::Containerd;
use crate::image::IMAGE;
use crate::machine::PATIENCE;
use client::Client;
use messages::*;

/// The handler, the pause image, where Debian has the plugins, and that a host may lack CAP_SYS_RESOURCE.
const CONFIG: &str = r#"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "wharf"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wharf]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wharf.options]
"#;

/// A bridge with addresses of its own; containerd brings the loopback up itself.
const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods",
    "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.77.0.0/24", "dataDir": "/run/pods"}}]}"#;

/// A node with a pod.
struct Node {
    containerd: Containerd,
    client: Client,
    pod: String,
    config: PodSandboxConfig,
}

impl Node {
    fn start() -> Node {
        let binary = format!("BinaryName = \"{}\"\n", runtime_path().display());
        let containerd = Containerd::start("k8s.io", &format!("{CONFIG}{binary}"));
        let machine = &containerd.machine;
        std::fs::write(machine.path("pods.conflist"), NETWORK).unwrap();
        // The name makes it the first, before the one that Debian's podman brings.
        machine.run("install", &["-D", "pods.conflist", "/etc/cni/net.d/00-pods.conflist"]).ok();
        // The pause image: the same tree, with a program that waits.
        let pause =
            ["config", "--image", "layout:box", "--config.entrypoint", "sleep", "--config.cmd", "100000"];
        machine.run("umoci", &pause).ok();
        let archive = "oci-archive:pause.tar:docker.io/library/pause:1";
        machine.run("skopeo", &["copy", "-q", "oci:layout:box", archive]).ok();
        containerd.ctr(&format!("images import {}", machine.text("pause.tar"))).ok();
        let client = Client::connect(&machine.path("sock"));
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "pod".to_owned(),
                uid: "1".to_owned(),
                namespace: "default".to_owned(),
            }),
            hostname: "pod".to_owned(),
            log_directory: machine.text("logs"),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: "/pods/pod".to_owned(),
                sysctls: HashMap::from([("net.ipv4.ip_default_ttl".to_owned(), "77".to_owned())]),
            }),
        };
        let request =
            RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: "wharf".to_owned() };
        let mut pod = String::new();
        wait_up_to(PATIENCE, "the network's configuration to be read", || {
            let answer = client.call::<Id>("RunPodSandbox", &request);
            let is_too_early = matches!(&answer, Err(why) if why.contains("cni"));
            pod = if is_too_early { String::new() } else { answer.unwrap().id };
            !is_too_early
        });
        Node { containerd, client, pod, config }
    }

    fn create(&self, name: &str, script: &str, linux: LinuxContainerConfig) -> String {
        let config = ContainerConfig {
            metadata: Some(Name { name: name.to_owned() }),
            image: Some(Name { name: IMAGE.to_owned() }),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            working_dir: "/tmp".to_owned(),
            envs: vec![KeyValue { key: "A".to_owned(), value: b"b".to_vec() }],
            log_path: format!("{name}.log"),
            linux: Some(linux),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.pod.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        self.client.call::<Id>("CreateContainer", &request).unwrap().id
    }

    fn start_container(&self, id: &str) {
        self.client.call::<Nothing>("StartContainer", &Id { id: id.to_owned() }).unwrap();
    }

    fn exec(&self, id: &str, script: &str) -> (i32, String) {
        let cmd = ["sh", "-c", script].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 60 };
        let answer = self.client.call::<ExecSyncResponse>("ExecSync", &request).unwrap();
        (answer.exit_code, String::from_utf8([answer.stdout, answer.stderr].concat()).unwrap())
    }

    fn status(&self, id: &str) -> ContainerStatus {
        let id = Id { id: id.to_owned() };
        self.client.call::<ContainerStatusResponse>("ContainerStatus", &id).unwrap().status.unwrap()
    }

    fn remove(&self, id: &str) {
        self.client.call::<Nothing>("RemoveContainer", &Id { id: id.to_owned() }).unwrap();
    }

    fn stop(self) {
        let id = Id { id: self.pod.clone() };
        self.client.call::<Nothing>("StopPodSandbox", &id).unwrap();
        self.client.call::<Nothing>("RemovePodSandbox", &id).unwrap();
        self.containerd.stop(&["/pods", "/pods/pod"]);
    }
}

/// What a kubelet asks for: limits, a user, a root that is not written, and paths that are hidden.
fn restricted() -> LinuxContainerConfig {
    LinuxContainerConfig {
        resources: Some(LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit_in_bytes: 64 << 20,
            oom_score_adj: 500,
            cpuset_cpus: "0".to_owned(),
        }),
        security_context: Some(LinuxContainerSecurityContext {
            run_as_user: Some(Number { value: 1000 }),
            readonly_rootfs: true,
            no_new_privs: true,
            masked_paths: vec!["/proc/kcore".to_owned()],
            readonly_paths: vec!["/proc/sys".to_owned()],
        }),
    }
}

#[test]
fn kubernetes_runs_a_pod() {
    let node = Node::start();
    let id = Id { id: node.pod.clone() };
    let pod = node.client.call::<PodSandboxStatusResponse>("PodSandboxStatus", &id).unwrap().status.unwrap();
    let address = pod.network.unwrap().ip;
    assert!(pod.state == 0 && address.starts_with("10.77.0."), "{address}");

    let script = "trap 'exit 9' TERM; echo started; while :; do sleep 1; done";
    let web = node.create("web", script, restricted());
    assert_eq!(node.status(&web).state, 0);
    node.start_container(&web);
    assert_eq!(node.status(&web).state, 1);
    let log = node.containerd.machine.path("logs/web.log");
    wait_up_to(PATIENCE, "the log", || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("stdout F started")
    });

    let view = "echo $A $PWD $(id -u) $(hostname); cat /proc/self/oom_score_adj; touch /x 2>/dev/null || echo no; \
                grep NoNewPrivs /proc/self/status; cat /proc/sys/net/ipv4/ip_default_ttl; ip -4 addr show dev eth0";
    let (code, text) = node.exec(&web, view);
    assert!(text.starts_with("b /tmp 1000 pod\n500\nno\nNoNewPrivs:\t1\n77\n"), "{text}");
    assert!(code == 0 && text.contains(&address), "{text}");
    assert_eq!(node.exec(&web, "exit 4").0, 4);
    let stats =
        node.client.call::<ContainerStatsResponse>("ContainerStats", &Id { id: web.clone() }).unwrap();
    assert!(stats.stats.unwrap().memory.unwrap().working_set_bytes.unwrap().value > 0);

    let limit = LinuxContainerResources {
        memory_limit_in_bytes: 128 << 20,
        cpu_quota: 25_000,
        ..restricted().resources.unwrap()
    };
    let update = UpdateContainerResourcesRequest { container_id: web.clone(), linux: Some(limit) };
    node.client.call::<Nothing>("UpdateContainerResources", &update).unwrap();
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || \
                  cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max";
    let (_, text) = node.exec(&web, limits);
    assert!(text.starts_with("134217728\n25000"), "{text}");

    let stop = StopContainerRequest { container_id: web.clone(), timeout: 60 };
    node.client.call::<Nothing>("StopContainer", &stop).unwrap();
    let status = node.status(&web);
    assert_eq!((status.state, status.exit_code), (2, 9), "{status:?}");
    node.remove(&web);
    node.stop();
}

#[test]
fn kubernetes_learns_why_a_container_ended() {
    let node = Node::start();
    let wait = |id: &str| {
        wait_up_to(PATIENCE, "the end", || node.status(id).state == 2);
        node.status(id)
    };
    let ended = node.create("ended", "exit 7", LinuxContainerConfig::default());
    node.start_container(&ended);
    assert_eq!((wait(&ended).exit_code, wait(&ended).reason.as_str()), (7, "Error"));

    let resources = LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() };
    let greedy = LinuxContainerConfig { resources: Some(resources), security_context: None };
    let killed = node.create("killed", "tail /dev/zero", greedy);
    node.start_container(&killed);
    assert_eq!(wait(&killed).reason, "OOMKilled", "{:?}", wait(&killed));

    let cmd = vec!["nosuch".to_owned()];
    let running = node.create("running", "sleep 1000", LinuxContainerConfig::default());
    node.start_container(&running);
    let exec = ExecSyncRequest { container_id: running.clone(), cmd, timeout: 60 };
    let why = node.client.call::<ExecSyncResponse>("ExecSync", &exec).unwrap_err();
    assert!(why.contains("executable file not found in $PATH"), "{why}");
    for id in [&ended, &killed, &running] {
        node.remove(id);
    }
    node.stop();
}
