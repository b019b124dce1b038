//! config-linux.md: "Network Devices". The devices are dummies of the suite's own network namespace.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::container::{Container, add_namespace, remove_namespace};
use crate::requirement::{Skip, Tried};
use crate::world::{Holder, ip};

section! { SECTION = "config-linux.md" # "configLinuxNetworkDevices";
    "netDevices (object, OPTIONAL) - A set of network devices that MUST be made available in the container." => [
        network_devices_are_moved_in, network_device_may_have_another_name_inside],
    "The runtime MUST check if moving the network interface to the container namespace is possible." => [
        network_device_that_is_not_there_is_refused, network_devices_without_a_namespace_are_refused],
    "If a network device with the specified name already exists in the container namespace, the runtime MUST generate an error, unless the user has provided a template by appending %d to the new name." => [
        name_that_is_taken_inside_is_refused],
    "In that case, the runtime MUST allow the move, and the kernel will generate a unique name for the interface within the container's network namespace." => [
        template_lets_the_kernel_choose_the_name],
    "The runtime MUST preserve existing network interface attributes, including all permanent IP addresses (IFA_F_PERMANENT flag) of any family with global scope (RT_SCOPE_UNIVERSE value) as defined in RFC 3549 Section 2.3.3.2." => [
        attributes_and_addresses_come_along],
    "The runtime MUST set the network device state to \"up\" after moving it to the network namespace to allow the container to send and receive network traffic through that device." => [
        network_device_is_up_inside],
    "The runtime MUST NOT actively manage the interface's lifecycle and configuration within the container's network namespace." => [
        network_device_is_left_alone_after_start],
    "The runtime MUST NOT attempt to move the interface out of the namespace before deletion." => [
        network_device_stays_in_its_namespace_after_delete],
}

/// One end of a pair; in the suite's namespace as long as nobody moves it. The other end stays.
struct Veth {
    name: String,
    peer: String,
}

impl Veth {
    fn new() -> Result<Veth, Skip> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (name, peer) = (format!("wd{number}"), format!("peer{number}"));
        let made = std::process::Command::new("ip")
            .args(["link", "add", &name, "type", "veth", "peer", "name", &peer])
            .output()
            .unwrap();
        match made.status.success() {
            true => Ok(Veth { name, peer }),
            false => Err(Skip("kernel: no veth devices (CONFIG_VETH)".to_owned())),
        }
    }

    fn is_here(&self) -> bool {
        let shown = ip(&["-oneline", "link", "show"]);
        shown.lines().any(|line| {
            line.split(['@', ' ', ':']).any(|word| word == self.name)
                && !line.contains(&format!(": {}@", self.peer))
        })
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        std::process::Command::new("ip").args(["link", "delete", &self.peer]).output().ok();
    }
}

const NAMES: &str = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | grep -v lo";

fn network_devices_are_moved_in() -> Tried {
    let (one, two) = (Veth::new()?, Veth::new()?);
    let container = Container::sleeping(|c| {
        c["linux"]["netDevices"] = json!({one.name.clone(): {}, two.name.clone(): {}});
    });
    let container = container.started();
    let mut seen: Vec<String> = container.exec(NAMES).ok().lines().map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, [one.name.clone(), two.name.clone()]);
    assert!(!one.is_here() && !two.is_here());
    Ok(())
}

fn network_device_may_have_another_name_inside() -> Tried {
    let veth = Veth::new()?;
    let container = Container::shell(NAMES, |c| {
        c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "inner0"}})
    });
    assert_eq!(container.run().ok(), "inner0\n");
    Ok(())
}

fn network_device_that_is_not_there_is_refused() {
    let container = Container::shell("true", |c| c["linux"]["netDevices"] = json!({"wd-nosuch": {}}));
    assert_ne!(container.create().code, 0);
    container.is_gone();
}

/// The runtime's own namespace is no place to move it to.
fn network_devices_without_a_namespace_are_refused() -> Tried {
    let veth = Veth::new()?;
    let container = Container::shell("true", |c| {
        remove_namespace(c, "network");
        c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "moved"}});
    });
    assert_ne!(container.create().code, 0);
    container.is_gone();
    assert!(veth.is_here());
    Ok(())
}

fn name_that_is_taken_inside_is_refused() -> Tried {
    let veth = Veth::new()?;
    let container =
        Container::shell("true", |c| c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "lo"}}));
    assert_ne!(container.create().code, 0);
    container.is_gone();
    assert!(veth.is_here(), "a failed create has moved it");
    Ok(())
}

fn template_lets_the_kernel_choose_the_name() -> Tried {
    let veth = Veth::new()?;
    let holder = Holder::of(&["--net"]);
    let inside = holder.path("net");
    let made = std::process::Command::new("nsenter")
        .arg(format!("--net={inside}"))
        .args(["ip", "link", "add", "in0", "type", "veth", "peer", "name", "out0"])
        .status();
    assert!(made.unwrap().success());
    let container = Container::shell(NAMES, |c| {
        add_namespace(c, json!({"type": "network", "path": inside}));
        c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "in%d"}});
    });
    assert_eq!(container.run().ok().lines().filter(|name| name.starts_with("in")).count(), 2);
    Ok(())
}

/// MTU, hardware address, group; addresses of both families that are permanent and global, and no others.
fn attributes_and_addresses_come_along() -> Tried {
    let veth = Veth::new()?;
    let name = veth.name.as_str();
    ip(&["link", "set", &veth.peer, "up"]);
    ip(&["link", "set", name, "mtu", "1400", "address", "02:00:00:00:00:77", "up"]);
    ip(&["address", "add", "10.77.0.2/24", "broadcast", "10.77.0.255", "dev", name]);
    ip(&["address", "add", "fd77::2/64", "nodad", "dev", name]);
    ip(&["address", "add", "169.254.7.7/16", "scope", "link", "dev", name]);
    let container =
        Container::sleeping(|c| c["linux"]["netDevices"] = json!({name: {"name": "in0"}})).started();
    let net = format!("--net=/proc/{}/ns/net", container.pid());
    let shown = std::process::Command::new("nsenter")
        .args([net.as_str(), "ip", "address", "show", "dev", "in0"])
        .output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    for part in [
        "mtu 1400",
        "02:00:00:00:00:77",
        "inet 10.77.0.2/24 brd 10.77.0.255 scope global",
        "inet6 fd77::2/64 scope global",
    ] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    assert!(!shown.contains("169.254.7.7"), "{shown}");
    Ok(())
}

fn network_device_is_up_inside() -> Tried {
    let veth = Veth::new()?;
    let container = Container::shell("cat /sys/class/net/in0/flags", |c| {
        c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "in0"}});
    });
    let flags = container.run().ok();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap();
    assert_eq!(flags & 1, 1, "IFF_UP");
    Ok(())
}

/// What the container does to it stays as it is through the runtime's further verbs.
fn network_device_is_left_alone_after_start() -> Tried {
    let veth = Veth::new()?;
    let container =
        Container::sleeping(|c| c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "in0"}}))
            .started();
    let net = format!("--net=/proc/{}/ns/net", container.pid());
    let status = std::process::Command::new("nsenter")
        .args([net.as_str(), "ip", "link", "set", "in0", "down", "mtu", "999"])
        .status();
    assert!(status.unwrap().success());
    container.state();
    container.verb(&["pause", &container.id]).ok();
    container.verb(&["resume", &container.id]).ok();
    let seen = container.exec("cat /sys/class/net/in0/mtu /sys/class/net/in0/operstate");
    assert_eq!(seen.ok(), "999\ndown\n");
    Ok(())
}

/// Somebody else keeps the namespace alive.
fn network_device_stays_in_its_namespace_after_delete() -> Tried {
    let veth = Veth::new()?;
    let holder = Holder::of(&["--net"]);
    let container = Container::sleeping(|c| {
        add_namespace(c, json!({"type": "network", "path": holder.path("net")}));
        c["linux"]["netDevices"] = json!({veth.name.clone(): {"name": "in0"}});
    });
    let container = container.started();
    container.stop();
    container.delete().ok();
    let net = format!("--net={}", holder.path("net"));
    let shown =
        std::process::Command::new("nsenter").args([net.as_str(), "ip", "-br", "link"]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("in0"), "{shown:?}");
    assert!(!veth.is_here());
    Ok(())
}
