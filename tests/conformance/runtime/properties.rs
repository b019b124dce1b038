//! runtime.md: "All of the properties configured in config.json … MUST be applied": those that have no sentence of
//! their own, one case each.

pub use crate::config::capabilities::*;
pub use crate::config::process::{
    environment_is_as_configured, program_has_the_additional_groups_and_no_others,
    terminal_is_on_all_three_streams, umask_is_as_configured,
};
pub use crate::linux::namespaces::{several_mappings_are_as_configured, time_namespace_has_its_own_clocks};
pub use crate::linux::resources::*;
pub use crate::linux::seccomp::*;

use nix::mount::MsFlags;
use serde_json::{Value, json};

use crate::container::{Container, inside};
use crate::requirement::{Tried, skip};
use crate::world::{Mounting, need};

pub fn hostname_is_as_configured() {
    assert_eq!(inside("hostname", |c| c["hostname"] = json!("mrs.dalloway")), "mrs.dalloway\n");
}

pub fn domainname_is_as_configured() {
    let out = inside("cat /proc/sys/kernel/domainname", |c| c["domainname"] = json!("foobarbaz.test"));
    assert_eq!(out, "foobarbaz.test\n");
}

pub fn sysctls_are_as_configured() {
    let out = inside("cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni fs/mqueue/msg_max", |c| {
        c["linux"]["sysctl"] =
            json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "4097", "fs.mqueue.msg_max": "11"});
    });
    assert_eq!(out, "1\n4097\n11\n");
}

pub fn personality_is_as_configured() {
    let machine =
        |domain: &str| inside("uname -m", |c| c["linux"]["personality"] = json!({"domain": domain}));
    let native = std::env::consts::ARCH;
    assert_eq!(machine("LINUX").trim(), native);
    if native == "x86_64" {
        assert_eq!(machine("LINUX32").trim(), "i686");
    }
}

pub fn memory_policy_is_as_configured() -> Tried {
    need("/proc/self/numa_maps", "no NUMA")?;
    let policy = |wish: Value| {
        inside("head -1 /proc/self/numa_maps | cut -d' ' -f2", |c| c["linux"]["memoryPolicy"] = wish)
    };
    assert_eq!(policy(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"})).trim(), "interleave:0");
    assert_eq!(
        policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})).trim(),
        "bind=static:0"
    );
    assert_eq!(policy(json!({"mode": "MPOL_LOCAL"})).trim(), "local");
    Ok(())
}

pub fn masked_files_and_folders_are_empty() {
    let container = Container::shell(
        "cat /secret; ls /hidden; echo x > /secret; touch /hidden/x 2>/dev/null || echo refused",
        |c| {
            c["linux"]["maskedPaths"] = json!(["/secret", "/hidden", "/proc/kcore", "/nosuch"]);
        },
    );
    std::fs::write(container.rootfs().join("secret"), "secret\n").unwrap();
    std::fs::create_dir_all(container.rootfs().join("hidden/file")).unwrap();
    assert_eq!(container.run().ok(), "refused\n");
    assert_eq!(std::fs::read_to_string(container.rootfs().join("secret")).unwrap(), "secret\n");
}

pub fn read_only_paths_refuse_writes() {
    let container =
        Container::shell("touch /fixed/x /fixed/deep/x /file 2>/dev/null || echo refused; ls /fixed", |c| {
            c["linux"]["readonlyPaths"] = json!(["/fixed", "/file", "/proc/sys", "/nosuch"]);
        });
    std::fs::create_dir_all(container.rootfs().join("fixed/deep")).unwrap();
    std::fs::write(container.rootfs().join("file"), "").unwrap();
    assert_eq!(container.run().ok(), "refused\ndeep\n");
    let out = inside("echo 1 > /proc/sys/net/ipv4/ip_forward 2>/dev/null || echo refused", |c| {
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    assert!(out.contains("refused"), "{out}");
}

/// The propagation of / as seen inside.
#[track_caller]
fn root_propagation(value: &str) -> String {
    let out = inside("cat /proc/self/mountinfo", |c| c["linux"]["rootfsPropagation"] = json!(value));
    let line = out.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    let tags: Vec<&str> = line.split(' ').skip(6).take_while(|word| *word != "-").collect();
    tags.join(" ")
}

pub fn root_propagation_shared_is_as_configured() {
    let seen = root_propagation("shared");
    assert!(seen.contains("shared:"), "{seen:?}");
}

/// What the host mounts below the root appears in the container; what the container mounts stays there.
pub fn root_propagation_slave_is_as_configured() {
    let container = Container::sleeping(|c| c["linux"]["rootfsPropagation"] = json!("slave"));
    std::fs::create_dir(container.rootfs().join("later")).unwrap();
    let container = container.started();
    let _mount = Mounting::tmpfs(&container.rootfs().join("later"), MsFlags::empty());
    assert_eq!(container.exec("stat -f -c %T /later").ok(), "tmpfs\n");
}

pub fn root_propagation_private_is_as_configured() {
    assert_eq!(root_propagation("private"), "");
}

pub fn root_propagation_unbindable_is_as_configured() {
    assert_eq!(root_propagation("unbindable"), "unbindable");
}

pub fn mount_label_is_applied_or_refused() -> Tried {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return skip("kernel: SELinux is on, and what its policy allows is not known");
    }
    let label = "system_u:object_r:container_file_t:s0";
    let container =
        Container::shell("grep ' /dev ' /proc/self/mountinfo", |c| c["linux"]["mountLabel"] = json!(label));
    let said = container.run();
    assert!(said.code != 0 || !said.out.contains("context="), "{said:?}");
    Ok(())
}
