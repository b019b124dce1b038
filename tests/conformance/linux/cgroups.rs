//! config-linux.md: "Control groups": where they are, and the list of allowed devices.

use serde_json::{Value, json};
use wharf_tests::{has_cgroup_v1, with_systemd_cgroups};

use crate::container::{Container, cgroup_of, required};
use crate::requirement::{Tried, skip};

section! { SECTION = "config-linux.md" # "configLinuxControlGroups";
    "A runtime MAY, during a particular container operation, such as create, start, or exec, check if the container cgroup is fit for purpose, and MUST generate an error if such a check fails." => [
        cgroup_that_is_in_use_is_shared_or_refused, exec_in_a_frozen_container_is_an_error],
}

section! { PATH = "config-linux.md" # "configLinuxCgroupsPath";
    "The value of cgroupsPath MUST be either an absolute path or a relative path." => [
        absolute_cgroups_path_is_relative_to_the_mount_point, relative_cgroups_path_is_accepted],
    "In the case of an absolute path (starting with /), the runtime MUST take the path to be relative to the cgroups mount point." => [
        absolute_cgroups_path_is_relative_to_the_mount_point],
    "If the value is specified, the runtime MUST consistently attach to the same place in the cgroups hierarchy given the same value of cgroupsPath." => [
        same_cgroups_path_is_the_same_place],
    "Runtimes MAY consider certain cgroupsPath values to be invalid, and MUST generate an error if this is the case." => [
        cgroups_path_with_dots_is_refused_or_stays_inside],
}

section! { DEVICES = "config-linux.md" # "configLinuxDeviceAllowedlist";
    "The runtime MUST apply entries in the listed order." => [later_device_rule_overrides_an_earlier_one],
    "allow (boolean, REQUIRED) - whether the entry is allowed or denied." => [device_rule_without_allow_is_refused],
}

/// A controller that every layout has in its way.
pub fn some_controller() -> &'static str {
    if has_cgroup_v1() { "memory" } else { "" }
}

/// The path of a container's cgroup below the mount point.
#[track_caller]
fn place(container: &Container) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let fields = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let found = fields
        .filter(|f| f[1].split(',').any(|name| name == some_controller()))
        .map(|f| f[2].to_owned())
        .next();
    found.unwrap()
}

/// What a runtime that does not check would do: both live in it.
fn cgroup_that_is_in_use_is_shared_or_refused() {
    let first = Container::sleeping(|_| ()).started();
    let second = Container::sleeping(|c| {
        c["linux"]["cgroupsPath"] = match with_systemd_cgroups() {
            true => json!(format!("system.slice:wharf:{}", first.id)),
            false => json!(format!("/{}", first.id)),
        };
    });
    if second.create().code == 0 {
        assert_eq!(place(&first), place(&second));
        second.stop();
    } else {
        second.is_gone();
        assert_eq!(first.status(), "running");
        let processes =
            std::fs::read_to_string(first.cgroup(some_controller()).join("cgroup.procs")).unwrap();
        assert_eq!(processes.trim(), first.pid().to_string(), "the refused one has left its process");
    }
    first.stop();
}

fn exec_in_a_frozen_container_is_an_error() {
    let container = Container::sleeping(|_| ()).started();
    container.verb(&["pause", &container.id]).ok();
    assert_ne!(container.exec("true").code, 0);
    container.verb(&["resume", &container.id]).ok();
    container.exec("true").ok();
}

fn absolute_cgroups_path_is_relative_to_the_mount_point() -> Tried {
    if with_systemd_cgroups() {
        return skip(
            "kernel interface: with the systemd driver a cgroupsPath has the form slice:prefix:name",
        );
    }
    let container = Container::sleeping(|_| ());
    container.create().ok();
    assert_eq!(place(&container), format!("/{}", container.id));
    Ok(())
}

fn relative_cgroups_path_is_accepted() -> Tried {
    if with_systemd_cgroups() {
        return skip(
            "kernel interface: with the systemd driver a cgroupsPath has the form slice:prefix:name",
        );
    }
    let container = Container::sleeping(|_| ());
    container.reconfigure(|c| c["linux"]["cgroupsPath"] = json!(format!("relative-{}", container.id)));
    container.create().ok();
    assert!(place(&container).ends_with(&format!("/relative-{}", container.id)), "{}", place(&container));
    Ok(())
}

fn same_cgroups_path_is_the_same_place() {
    let container = Container::sleeping(|_| ());
    let create = || {
        container.create().ok();
        let place = place(&container);
        container.stop();
        container.delete().ok();
        place
    };
    assert_eq!(create(), create());
}

fn cgroups_path_with_dots_is_refused_or_stays_inside() -> Tried {
    if with_systemd_cgroups() {
        return skip(
            "kernel interface: with the systemd driver a cgroupsPath has the form slice:prefix:name",
        );
    }
    for path in ["/../../../../tmp/ID", "../../../../../tmp/ID", "/a/../../../ID"] {
        let container = Container::sleeping(|_| ());
        let path = path.replace("ID", &container.id);
        container.reconfigure(|c| c["linux"]["cgroupsPath"] = json!(path));
        if container.create().code == 0 {
            let folder = cgroup_of(&format!("/proc/{}", container.pid()), some_controller()).unwrap();
            assert!(folder.join("cgroup.procs").exists(), "{}", folder.display());
        } else {
            container.is_gone();
        }
        assert!(!std::path::Path::new("/tmp").join(&container.id).exists());
    }
    Ok(())
}

/// Whether a block device, which no default rule names, opens under these rules.
#[track_caller]
fn opens(rules: &[Value]) -> bool {
    let out = crate::container::inside("(: < /dev/loop) 2>/dev/null && echo open || echo refused", |c| {
        c["linux"]["devices"] = json!([{"path": "/dev/loop", "type": "b", "major": 7, "minor": 0}]);
        c["linux"]["resources"] = json!({"devices": rules});
    });
    out == "open\n"
}

fn later_device_rule_overrides_an_earlier_one() {
    let rule = |allow: bool| json!({"allow": allow, "type": "b", "major": 7, "minor": 0, "access": "rwm"});
    let none = json!({"allow": false, "access": "rwm"});
    assert!(opens(&[none.clone(), rule(true)]), "the allowed device");
    assert!(!opens(&[none.clone(), rule(true), rule(false)]), "allowed and then denied");
    assert!(opens(&[none.clone(), rule(false), rule(true)]), "denied and then allowed");
    assert!(!opens(&[rule(true), none]), "all denied in the end");
}

fn device_rule_without_allow_is_refused() {
    required("/linux/resources/devices/0/allow", |c| {
        c["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    });
}
