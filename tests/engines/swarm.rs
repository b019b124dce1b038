//! A swarm of two nodes, each a machine with a dockerd of its own, joined by a wire: a service is scaled, one of
//! its tasks is killed, a node is drained.

use wharf_tests::wait_up_to;

use crate::docker::Docker;
use crate::machine::PATIENCE;
use crate::skip;

const ADDRESSES: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

/// The nodes; the first is the manager.
struct Swarm([Docker; 2]);

impl Swarm {
    /// Two nodes and a network between them.
    fn start() -> Swarm {
        let nodes = [Docker::start(&[]), Docker::start(&[])];
        nodes[0].machine.wire(&nodes[1].machine, ADDRESSES);
        nodes[0].run(&format!("swarm init --advertise-addr {}", ADDRESSES[0])).ok();
        let token = nodes[0].run("swarm join-token --quiet worker").ok();
        let manager = format!("{}:2377", ADDRESSES[0]);
        let join = format!("swarm join --token {} --advertise-addr {}", token.trim(), ADDRESSES[1]);
        nodes[1].run(&format!("{join} {manager}")).ok();
        nodes[0].run("network create --driver overlay --attachable between").ok();
        Swarm(nodes)
    }

    /// For each of the service's tasks that should run and does: task and node.
    fn running(&self) -> Vec<(String, String)> {
        let format = "{{.ID}} {{.Node}} {{.CurrentState}}";
        let words = ["service", "ps", "--filter", "desired-state=running", "--format", format, "web"];
        let table = self.0[0].words(&words).ok();
        let rows = table.lines().map(|row| row.split(' ').map(str::to_owned).collect::<Vec<_>>());
        rows.filter(|row| row[2] == "Running").map(|row| (row[0].clone(), row[1].clone())).collect()
    }

    fn wait_for_tasks(&self, count: usize) {
        wait_up_to(PATIENCE, &format!("{count} running tasks"), || self.running().len() == count);
    }

    /// How a node is called: as its machine.
    fn name(&self, node: usize) -> String {
        self.0[node].run("info --format {{.Name}}").ok().trim().to_owned()
    }

    /// The service's containers on a node.
    fn containers(&self, node: usize) -> Vec<String> {
        self.0[node].run("ps --quiet --no-trunc").ok().lines().map(str::to_owned).collect()
    }

    /// Leaves the swarm and asserts that nothing is left.
    fn stop(self) {
        self.0[0].run("service rm web").ok();
        wait_up_to(PATIENCE, "an end of the tasks", || (0..2).all(|node| self.containers(node).is_empty()));
        // The network is in use until the last task is gone from the manager's books.
        wait_up_to(PATIENCE, "the network to go", || self.0[0].run("network rm between").code == 0);
        self.0[1].run("swarm leave").ok();
        self.0[0].run("swarm leave --force").ok();
        self.0.into_iter().for_each(Docker::stop);
    }
}

#[test]
fn docker_swarm_scales_reschedules_and_drains() {
    let swarm = Swarm::start();
    let script = "hostname >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    // So a name leads to all tasks, and no virtual address is needed.
    if !std::path::Path::new("/proc/net/ip_vs").exists() {
        skip::skip("a service's virtual address and the routing mesh", "the kernel has no IPVS");
    }
    let create = "service create --detach --no-resolve-image --name web --network between --endpoint-mode dnsrr \
                  --restart-delay 100ms --stop-grace-period 1s --replicas 2 box:1";
    swarm.0[0].shell(create, script).ok();
    swarm.wait_for_tasks(2);
    swarm.0[0].run("service scale --detach web=4").ok();
    swarm.wait_for_tasks(4);
    assert_eq!([swarm.containers(0).len(), swarm.containers(1).len()], [2, 2]);

    // Every task is reached from one, over the wire too.
    let container = swarm.containers(1).remove(0);
    let ask = "for address in $(nslookup tasks.web | sed -n 's/^Address: //p'); do wget -qO- http://$address/; done";
    let mut expected: Vec<_> = [swarm.containers(0), swarm.containers(1)].concat();
    expected.iter_mut().for_each(|id| id.truncate(12));
    expected.sort();
    wait_up_to(PATIENCE, "all tasks to answer", || {
        let said = swarm.0[1].shell(&format!("exec {container}"), ask);
        let mut answers: Vec<_> = said.out.lines().map(str::to_owned).collect();
        answers.sort();
        answers == expected
    });

    let pid = swarm.0[1].inspect(&container, ".State.Pid");
    let before = swarm.running();
    swarm.0[1].machine.run("kill", &["-KILL", &pid]).ok();
    wait_up_to(PATIENCE, "a task in its place", || {
        let now = swarm.running();
        now.len() == 4 && now != before
    });
    let failed = "service ps --filter desired-state=shutdown --no-trunc --format {{.Error}} web";
    assert!(swarm.0[0].run(failed).ok().contains("non-zero exit (137)"));

    let second = swarm.name(1);
    swarm.0[0].run(&format!("node update --availability drain {second}")).ok();
    wait_up_to(PATIENCE, "the second node to be empty", || {
        let now = swarm.running();
        now.len() == 4 && now.iter().all(|(_, node)| *node != second) && swarm.containers(1).is_empty()
    });
    swarm.stop();
}
