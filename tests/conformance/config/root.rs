//! config.md: "Specification version" and "Root".

use serde_json::json;

use crate::container::{accepted, inside, refused};

section! { VERSION = "config.md" # "configSpecificationVersion";
    "ociVersion (string, REQUIRED) MUST be in SemVer v2.0.0 format" => [
        config_without_a_version_is_refused, version_that_is_no_semver_is_refused, every_version_from_1_0_on_is_accepted],
}

section! { ROOT = "config.md" # "configRoot";
    "On Windows, for Windows Server Containers, this field is REQUIRED." => ("another platform"),
    "For Hyper-V Containers, this field MUST NOT be set." => ("another platform"),
    "On all other platforms, this field is REQUIRED." => [config_without_a_root_is_refused],
    "path (string, REQUIRED) Specifies the path to the root filesystem for the container." => [
        root_without_a_path_is_refused, root_path_may_be_absolute_or_relative_to_the_bundle],
    "On Windows, path MUST be a volume GUID path." => ("another platform"),
    "The value SHOULD be the conventional rootfs." => ("binds the author of the bundle"),
    "A directory MUST exist at the path declared by the field." => [
        root_that_is_not_there_is_refused, root_that_is_a_file_is_refused],
    "If true then the root filesystem MUST be read-only inside the container" => [
        read_only_root_refuses_writes, root_is_writable_unless_asked_otherwise],
    "On Windows, this field MUST be omitted or false." => ("another platform"),
}

fn config_without_a_version_is_refused() {
    refused(|c| drop(c.as_object_mut().unwrap().remove("ociVersion")));
}

fn version_that_is_no_semver_is_refused() {
    for version in ["", "one", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x"] {
        let said = refused(|c| c["ociVersion"] = json!(version));
        assert!(!said.is_empty(), "{version:?}");
    }
}

fn every_version_from_1_0_on_is_accepted() {
    for version in ["1.0.0", "1.0.2-dev", "1.0.2", "1.1.0", "1.1.0+dev", "1.2.1", "1.3.0"] {
        accepted(|c| c["ociVersion"] = json!(version));
    }
}

fn config_without_a_root_is_refused() {
    refused(|c| drop(c.as_object_mut().unwrap().remove("root")));
}

fn root_without_a_path_is_refused() {
    refused(|c| c["root"] = json!({"readonly": false}));
}

fn root_path_may_be_absolute_or_relative_to_the_bundle() {
    accepted(|c| c["root"]["path"] = json!("rootfs"));
    let container = crate::container::Container::shell("true", |_| ());
    let absolute = container.rootfs();
    container.reconfigure(|c| c["root"]["path"] = json!(absolute));
    container.run().ok();
}

fn root_that_is_not_there_is_refused() {
    refused(|c| c["root"]["path"] = json!("nosuch"));
}

fn root_that_is_a_file_is_refused() {
    refused(|c| c["root"]["path"] = json!("config.json"));
}

fn read_only_root_refuses_writes() {
    let out = inside("touch /x 2>/dev/null || echo refused; touch /dev/x && echo dev is not the root", |c| {
        c["root"]["readonly"] = json!(true);
    });
    assert_eq!(out, "refused\ndev is not the root\n");
}

fn root_is_writable_unless_asked_otherwise() {
    assert_eq!(inside("touch /x && echo written", |_| ()), "written\n");
    assert_eq!(inside("touch /x && echo written", |c| c["root"]["readonly"] = json!(false)), "written\n");
}
