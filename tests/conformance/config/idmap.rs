//! config.md: id-mapped mounts, by option and by the mount's own mappings.

use std::os::unix::fs::chown;

use serde_json::{Value, json};

use crate::container::{Container, add, add_user_namespace, refused};
use crate::world::Mounting;

section! { OPTIONS = "config.md" # "configLinuxMountOptions (idmap)";
    "idmap | SHOULD | Indicates that the mount MUST have an idmapping applied." => [
        idmapped_bind_shows_ids_by_its_mapping, idmap_leaves_the_mounts_below_alone],
    "ridmap | SHOULD | Indicates that the mount MUST have an idmapping applied, and the mapping is applied recursively" => [
        ridmap_maps_the_mounts_below],
    "This option SHOULD NOT be passed to the underlying mount(2) call." => [idmap_is_no_parameter_of_the_file_system],
    "If uidMappings or gidMappings are specified for the mount, the runtime MUST use those values for the mount's mapping." => [
        mounts_own_mapping_goes_before_the_containers],
    "If they are not specified, the runtime MAY use the container's user namespace mapping, otherwise an error MUST be returned." => [
        idmap_without_mappings_takes_the_containers_or_is_refused],
    "If there are no uidMappings and gidMappings specified and the container isn't using user namespaces, an error MUST be returned." => [
        idmap_without_any_mapping_is_refused],
}

section! { MAPPINGS = "config.md" # "configPOSIXMounts";
    "This SHOULD be implemented using mount_setattr(MOUNT_ATTR_IDMAP), available since Linux 5.12." => [
        idmapped_mount_is_one_of_the_kernels],
    "If specified, the options field of the mounts structure SHOULD contain either idmap or ridmap" => (
        "binds the author of the bundle"),
    "If specified, it MUST be specified along with gidMappings." => [uid_mapping_without_a_gid_mapping_is_refused],
    "If specified, it MUST be specified along with uidMappings." => [gid_mapping_without_a_uid_mapping_is_refused],
}

fn map(size: u32) -> Value {
    json!([{"containerID": 0, "hostID": 5000, "size": size}])
}

/// A bind of `outer` to /m with `option` and a mapping of 0–99 to 5000–5099.
fn mapped(option: &str) -> Value {
    json!({"destination": "/m", "source": "outer", "options": ["rbind", option],
        "uidMappings": map(100), "gidMappings": map(100)})
}

/// Runs `script` over two mounts, one below the other, with a file of user 7 and group 8 in each. They are of the
/// bundle's own file system, for the ids of a tmpfs can be mapped from Linux 6.3 on.
#[track_caller]
fn look(script: &str, change: impl FnOnce(&mut Value)) -> String {
    let container = Container::shell(script, change).give_away();
    let outer = container.bundle().join("outer");
    let _mounts = [&outer, &outer.join("inner")].map(|folder| {
        let mount = Mounting::bind(folder);
        std::fs::write(folder.join("file"), "").unwrap();
        chown(folder.join("file"), Some(7), Some(8)).unwrap();
        mount
    });
    container.run().ok()
}

const STAT: &str = "stat -c %u:%g /m/file /m/inner/file";

fn idmapped_bind_shows_ids_by_its_mapping() {
    let out = look("stat -c %u:%g /m/file", |c| add(&mut c["mounts"], mapped("idmap")));
    assert_eq!(out, "5007:5008\n");
}

fn idmap_leaves_the_mounts_below_alone() {
    assert_eq!(look(STAT, |c| add(&mut c["mounts"], mapped("idmap"))), "5007:5008\n7:8\n");
}

fn ridmap_maps_the_mounts_below() {
    assert_eq!(look(STAT, |c| add(&mut c["mounts"], mapped("ridmap"))), "5007:5008\n5007:5008\n");
}

fn idmap_is_no_parameter_of_the_file_system() {
    let out = look("stat -c %u:%g /m/file; grep -c ' /m .*idmap=' /proc/self/mountinfo; true", |c| {
        add(&mut c["mounts"], mapped("idmap"));
    });
    assert_eq!(out, "5007:5008\n0\n");
}

/// Outside of the container 100000 is its root; the mount's mapping makes files of 7 its user 3.
fn mounts_own_mapping_goes_before_the_containers() {
    let own = json!([{"containerID": 7, "hostID": 100_003, "size": 1}]);
    let groups = json!([{"containerID": 8, "hostID": 100_004, "size": 1}]);
    let out = look("stat -c %u:%g /m/file", |c| {
        add_user_namespace(c);
        add(
            &mut c["mounts"],
            json!({"destination": "/m", "source": "outer", "options": ["bind", "idmap"], "uidMappings": own, "gidMappings": groups}),
        );
    });
    assert_eq!(out, "3:4\n");
}

fn idmap_without_mappings_takes_the_containers_or_is_refused() {
    let change = |c: &mut Value| {
        add_user_namespace(c);
        add(
            &mut c["mounts"],
            json!({"destination": "/m", "source": "rootfs/etc", "options": ["bind", "idmap"]}),
        );
    };
    let container = Container::shell("stat -c %u:%g /m/passwd", change).give_away();
    let said = container.run();
    if said.code == 0 {
        assert_eq!(said.out, "0:0\n");
    }
    container.is_gone();
}

fn idmap_without_any_mapping_is_refused() {
    for option in ["idmap", "ridmap"] {
        refused(|c| {
            add(
                &mut c["mounts"],
                json!({"destination": "/m", "source": "rootfs/etc", "options": ["bind", option]}),
            );
        });
    }
}

/// mountinfo says `idmapped` of such a mount.
fn idmapped_mount_is_one_of_the_kernels() {
    let out = look("grep ' /m ' /proc/self/mountinfo", |c| add(&mut c["mounts"], mapped("idmap")));
    assert!(out.contains("idmapped"), "{out}");
}

#[track_caller]
fn half_a_mapping(missing: &str) {
    refused(|c| {
        let mut mount = mapped("idmap");
        mount["source"] = json!("rootfs");
        mount.as_object_mut().unwrap().remove(missing);
        add(&mut c["mounts"], mount);
    });
}

fn uid_mapping_without_a_gid_mapping_is_refused() {
    half_a_mapping("gidMappings");
}

fn gid_mapping_without_a_uid_mapping_is_refused() {
    half_a_mapping("uidMappings");
}
