//! The suite as an ordinary user's: with `WHARF_TEST_USER=ordinary` each call of the runtime is made by a user
//! without privilege, and each config that has no user namespace gets one whose root he is.
//!
//! What only root may do is listed here by its reason. A case that is listed and passes is an error, so the list says
//! what is so and can only shrink.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_tests::user::{FILES, USER, write_files};

/// The first of the further ids that /etc/subuid gives him, and how many: those of `container::add_user_namespace`.
const FURTHER: (u32, u32) = (100_000, 5_000_000);

/// The runtime under test where the user can reach it; unset, the suite is root's.
static RUNTIME: OnceLock<PathBuf> = OnceLock::new();

/// Why a case is root's alone, and which are.
const ROOTS: &[(&str, &[&str])] = &[
    (
        "the user has no control group; the runtime's own suite shows what one who has some can do",
        &[
            "absolute_cgroups_path_is_relative_to_the_mount_point",
            "any_file_of_the_unified_hierarchy_can_be_written",
            "block_throttles_are_as_configured",
            "block_weight_is_as_configured",
            "cgroup_that_is_in_use_is_shared_or_refused",
            "cgroup_that_is_mounted_writable_belongs_to_the_containers_user",
            "controllers_of_the_unified_files_are_enabled",
            "cpu_burst_is_as_configured",
            "cpu_idle_is_as_configured",
            "cpu_limits_are_as_configured",
            "cpus_and_memory_nodes_are_as_configured",
            "delete_undoes_what_create_made",
            "exec_in_a_frozen_container_is_an_error",
            "huge_page_limits_are_as_configured",
            "listed_files_that_are_not_there_are_passed_over",
            "memory_limit_below_the_usage_is_rejected",
            "memory_limits_are_as_configured",
            "memory_without_a_limit_is_unlimited",
            "only_files_of_the_delegate_list_change_their_owner",
            "process_limit_is_as_configured",
            "quota_smaller_than_the_burst_is_refused",
            "real_time_scheduler_is_as_configured",
            "real_time_share_is_as_configured",
            "relative_cgroups_path_is_accepted",
            "swappiness_and_oom_killer_are_as_configured",
            "unknown_properties_are_ignored_everywhere",
            "without_the_delegate_list_three_files_change_their_owner",
            "zero_processes_are_a_limit",
        ],
    ),
    (
        "mknod of a device",
        &[
            "device_has_mode_and_owner",
            "device_may_be_anywhere_in_the_tree",
            "device_without_a_path_is_refused",
            "device_without_a_type_is_refused",
            "device_without_numbers_is_refused",
            "devices_of_every_type_are_there",
            "later_device_rule_overrides_an_earlier_one",
        ],
    ),
    (
        "namespaces and network devices of root's",
        &[
            "attributes_and_addresses_come_along",
            "container_joins_a_pid_namespace",
            "container_joins_a_user_namespace",
            "container_joins_the_namespace_of_a_path",
            "delete_leaves_what_create_did_not_make",
            "namespaces_that_are_not_listed_are_the_runtimes",
            "network_device_is_left_alone_after_start",
            "network_device_is_up_inside",
            "network_device_may_have_another_name_inside",
            "network_device_stays_in_its_namespace_after_delete",
            "network_devices_are_moved_in",
            "template_lets_the_kernel_choose_the_name",
        ],
    ),
    (
        "options of root's mounts are locked for others, and so is what lies under them (mount_namespaces(7))",
        &[
            "bind_shows_a_file_or_a_folder_without_what_is_mounted_below",
            "dev_takes_nodev_off_a_bind",
            "exec_takes_noexec_off_a_bind",
            "private_bind_is_in_no_peer_group",
            "ratime_reaches_all_mounts_below",
            "rdev_reaches_all_mounts_below",
            "rdiratime_reaches_all_mounts_below",
            "relatime_takes_noatime_off_a_bind",
            "rexec_reaches_all_mounts_below",
            "rnoatime_reaches_all_mounts_below",
            "rnodiratime_reaches_all_mounts_below",
            "rnostrictatime_reaches_all_mounts_below",
            "ro_is_set_on_new_mounts_and_on_binds",
            "rrelatime_reaches_all_mounts_below",
            "rrw_reaches_all_mounts_below",
            "rstrictatime_reaches_all_mounts_below",
            "rsuid_reaches_all_mounts_below",
            "rw_takes_ro_off_a_bind",
            "slave_bind_has_a_master",
            "suid_takes_nosuid_off_a_bind",
            "symfollow_takes_nosymfollow_off_a_bind",
        ],
    ),
    (
        "a mount's ids can be mapped by the owner of its file system alone (mount_setattr(2))",
        &[
            "features_own_up_to_id_mapped_mounts",
            "idmap_is_no_parameter_of_the_file_system",
            "idmap_leaves_the_mounts_below_alone",
            "idmapped_bind_shows_ids_by_its_mapping",
            "idmapped_mount_is_one_of_the_kernels",
            "mount_options_of_the_features_are_recognized",
            "mounts_own_mapping_goes_before_the_containers",
            "ridmap_maps_the_mounts_below",
        ],
    ),
    ("a nice value below zero", &["scheduler_is_as_configured"]),
];

/// Whether the suite is an ordinary user's.
pub fn is_ordinary() -> bool {
    RUNTIME.get().is_some()
}

/// Why only root may do what this case does; nothing, if anybody may.
pub fn roots(case: &str) -> Option<&'static str> {
    ROOTS.iter().find(|(_, cases)| is_ordinary() && cases.contains(&case)).map(|(reason, _)| *reason)
}

/// Makes the user known in the suite's own mount namespace, where the suite is to be his. The folder is his for as long.
pub fn enter() -> Option<TempDir> {
    match std::env::var("WHARF_TEST_USER").as_deref() {
        Ok("ordinary") => {}
        Ok(other) => panic!("WHARF_TEST_USER: {other:?} is not \"ordinary\""),
        Err(_) => return None,
    }
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    write_files(folder.path(), FURTHER);
    let nothing: Option<&str> = None;
    for name in FILES {
        let hosts = Path::new("/etc").join(name);
        mount(Some(&folder.path().join(name)), &hosts, nothing, MsFlags::MS_BIND, nothing).unwrap();
    }
    let runtime = wharf_tests::runtime_path();
    let mut within_reach = runtime.clone();
    if runtime.is_file() {
        within_reach = folder.path().join("runtime");
        std::fs::copy(&runtime, &within_reach).unwrap();
    }
    RUNTIME.set(within_reach).unwrap();
    Some(folder)
}

/// The same command as the user gives it, to whom all is given that root has made in the bundle.
pub fn command(plain: Command, bundle: &Path) -> Command {
    let Some(runtime) = RUNTIME.get() else { return plain };
    give(bundle);
    let mut command = Command::new("setpriv");
    let user = USER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
    command.arg(runtime).args(plain.get_args()).stdin(Stdio::null());
    command
}

/// Gives the user a bundle, and a config that he may run: in a user namespace, without a control group.
pub fn hand_over(bundle: &Path, config: &mut Value, default_cgroup: &Value) {
    if !is_ordinary() {
        return;
    }
    std::fs::set_permissions(bundle, std::fs::Permissions::from_mode(0o755)).unwrap();
    let Some(linux) = config["linux"].as_object_mut() else { return };
    if linux.get("cgroupsPath") == Some(default_cgroup) {
        linux.remove("cgroupsPath");
    }
    let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) else { return };
    if namespaces.iter().any(|namespace| namespace["type"] == "user") {
        return;
    }
    namespaces.push(json!({"type": "user"}));
    let (first, count) = FURTHER;
    let map = json!([
        {"containerID": 0, "hostID": USER, "size": 1},
        {"containerID": 1, "hostID": first, "size": count},
    ]);
    for field in ["uidMappings", "gidMappings"] {
        linux.entry(field).or_insert(map.clone());
    }
}

/// Makes the user the owner of all of root's that is at `path`; what vanishes meanwhile is a container's.
fn give(path: &Path) {
    let Ok(meta) = path.symlink_metadata() else { return };
    if meta.uid() == 0 {
        lchown(path, Some(USER), Some(USER)).ok();
    }
    if meta.is_dir() {
        std::fs::read_dir(path).into_iter().flatten().for_each(|entry| give(&entry.unwrap().path()));
    }
}
