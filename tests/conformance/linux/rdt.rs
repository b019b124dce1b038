//! config-linux.md: "IntelRdt". What does not need the hardware is shown everywhere; the rest mounts resctrl in the
//! suite's own world, in a class of its own, and writes back the schemata that it has read.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::container::{Container, refused};
use crate::requirement::{Skip, Tried};
use crate::world::kernel_has_file_system;

section! { SECTION = "config-linux.md" # "configLinuxIntelRdt";
    "If intelRdt is set, the runtime MUST write the container process ID to the tasks file in a proper sub-directory in a mounted resctrl pseudo-filesystem." => [
        process_is_in_its_class],
    "If no mounted resctrl pseudo-filesystem is available in the runtime mount namespace, the runtime MUST generate an error." => [
        rdt_without_resctrl_is_an_error],
    "If intelRdt is not set, the runtime MUST NOT manipulate any resctrl pseudo-filesystems." => [
        nothing_is_touched_without_rdt],
    "As a special case, value / means that the container MUST be assigned to the default CLOS (the root of the resctrl filesystem)." => [
        root_is_the_default_class],
    "The value SHOULD start with L3: and SHOULD NOT contain newlines." => [cache_schema_in_another_form_is_refused],
    "The value MUST start with MB: and MUST NOT contain newlines." => [bandwidth_schema_in_another_form_is_refused],
    "The value MUST NOT contain newlines." => [schemata_with_newlines_are_refused],
    "The following rules on parameters MUST be applied:" => ("the heading of the rules that follow"),
    "If both l3CacheSchema and memBwSchema are set, runtimes MUST write the values to the schemata file in that sub-directory discussed in closID." => [
        schemata_are_written],
    "The runtimes MUST write l3CacheSchema first and memBwSchema last." => [schemata_are_written],
    "If either l3CacheSchema or memBwSchema is set, runtimes MUST write the value to the schemata file in the that sub-directory discussed in closID." => [
        schemata_are_written],
    "If schemata field is set, runtimes MUST write the value to the schemata file in the that sub-directory discussed in closID." => [
        schemata_are_written],
    "If none of l3CacheSchema, memBwSchema or schemata is set, runtimes MUST NOT write to schemata files in any resctrl pseudo-filesystems." => [
        schemata_are_left_alone_unless_given],
    "If closID is not set, runtimes MUST use the container ID from start and create the <container-id> directory." => [
        class_of_the_container_lives_as_long_as_it],
    "if closID directory in a mounted resctrl pseudo-filesystem doesn't exist, the runtimes MUST create it." => [
        named_class_is_made_and_kept],
    "if closID directory in a mounted resctrl pseudo-filesystem exists, runtimes MUST compare l3CacheSchema and/or memBwSchema value with schemata file, and generate an error if doesn't match." => [
        class_with_other_schemata_is_an_error],
    "If closID is set, and none of l3CacheSchema, memBwSchema or schemata are set, runtime MUST check if corresponding pre-configured directory closID is present in mounted resctrl." => [
        named_class_without_schemata_must_be_there],
    "If such pre-configured directory closID exists, runtime MUST assign container to this closID and generate an error if directory does not exist." => [
        process_is_in_its_class, named_class_without_schemata_must_be_there],
    "If closID is not set and the runtime has created the sub-directory, the runtime MUST remove the sub-directory when the container is deleted." => [
        class_of_the_container_lives_as_long_as_it],
    "If closID is set or the runtime has not created the sub-directory, the runtime MUST NOT remove the sub-directory when the container is deleted." => [
        named_class_is_made_and_kept],
    "If enableMonitoring is set, the runtime MUST create a dedicated MON group for the container." => [
        monitoring_group_lives_as_long_as_the_container],
    "The runtime MUST use the container ID from start as the name of the MON group, i.e. create mon_groups/<container-id>/ subdirectory under the top-level CTRL_MON group (named after closID or <container-id>, see above)." => [
        monitoring_group_lives_as_long_as_the_container],
    "The runtime MUST delete the MON group after the container is deleted." => [monitoring_group_lives_as_long_as_the_container],
    "If creation of the MON group fails (e.g. the maximum number of MON groups is reached) the runtime MUST return an error." => [
        monitoring_group_that_is_there_is_an_error],
}

const ROOT: &str = "/sys/fs/resctrl";

/// The mounted resctrl.
fn resctrl() -> Result<PathBuf, Skip> {
    if !kernel_has_file_system("resctrl") {
        return Err(Skip("hardware: no Intel RDT, and the kernel has no resctrl".to_owned()));
    }
    if !Path::new(ROOT).join("schemata").exists() {
        let nothing: Option<&str> = None;
        mount(Some("resctrl"), ROOT, Some("resctrl"), MsFlags::empty(), nothing)
            .map_err(|errno| Skip(format!("hardware: resctrl does not mount: {errno}")))?;
    }
    Ok(PathBuf::from(ROOT))
}

/// A class that is gone at the end.
struct Class(PathBuf);

impl Class {
    fn made(name: &str) -> Result<Class, Skip> {
        let path = resctrl()?.join(name);
        std::fs::create_dir(&path).unwrap();
        Ok(Class(path))
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).ok();
    }
}

fn rdt(wish: &Value) -> impl Fn(&mut Value) + use<> {
    let wish = wish.clone();
    move |c| c["linux"]["intelRdt"] = wish.clone()
}

fn has_task(class: &Path, container: &Container) -> bool {
    let pid = container.pid().to_string();
    std::fs::read_to_string(class.join("tasks")).unwrap().lines().any(|line| line == pid)
}

/// One line of the default schemata.
fn schema(prefix: &str) -> Result<String, Skip> {
    let text = std::fs::read_to_string(resctrl()?.join("schemata")).unwrap();
    let line = text.lines().map(str::trim).find(|line| line.starts_with(prefix)).map(str::to_owned);
    line.ok_or_else(|| Skip(format!("hardware: RDT without {prefix}")))
}

fn process_is_in_its_class() -> Tried {
    let class = Class::made("wharf-conformance-given")?;
    let container = Container::sleeping(rdt(&json!({"closID": "wharf-conformance-given"}))).started();
    assert!(has_task(&class.0, &container));
    container.stop();
    Ok(())
}

fn rdt_without_resctrl_is_an_error() {
    let container = Container::shell("true", rdt(&json!({"closID": "nosuch"})));
    let container = match std::fs::read_to_string("/proc/self/mounts").unwrap().contains(" resctrl ") {
        true => container.under(&format!("umount {ROOT}")),
        false => container,
    };
    assert_ne!(container.create().code, 0);
    container.is_gone();
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn nothing_is_touched_without_rdt() -> Tried {
    let root = resctrl()?;
    let before = (folders(&root), std::fs::read_to_string(root.join("schemata")).unwrap());
    let container = Container::sleeping(|_| ()).started();
    assert_eq!((folders(&root), std::fs::read_to_string(root.join("schemata")).unwrap()), before);
    container.stop();
    Ok(())
}

fn root_is_the_default_class() -> Tried {
    let root = resctrl()?;
    let container = Container::sleeping(rdt(&json!({"closID": "/"}))).started();
    assert!(has_task(&root, &container));
    container.stop();
    container.delete().ok();
    assert!(root.join("schemata").exists());
    Ok(())
}

fn cache_schema_in_another_form_is_refused() {
    for schema in ["0=f", "L3:0=f\nMB:0=100"] {
        refused(rdt(&json!({"l3CacheSchema": schema})));
    }
}

fn bandwidth_schema_in_another_form_is_refused() {
    for schema in ["0=70", "MB:0=70\nL3:0=f"] {
        refused(rdt(&json!({"memBwSchema": schema})));
    }
}

fn schemata_with_newlines_are_refused() {
    refused(rdt(&json!({"schemata": ["L3:0=f\nMB:0=100"]})));
}

fn schemata_are_written() -> Tried {
    let (cache, bandwidth) = (schema("L3:")?, schema("MB:").ok());
    let mut wish = json!({"l3CacheSchema": cache, "schemata": [cache]});
    if let Some(bandwidth) = bandwidth {
        wish["memBwSchema"] = json!(bandwidth);
    }
    let container = Container::sleeping(rdt(&wish)).started();
    let written = std::fs::read_to_string(resctrl()?.join(&container.id).join("schemata")).unwrap();
    assert!(written.contains(&cache), "{written}");
    container.stop();
    Ok(())
}

fn schemata_are_left_alone_unless_given() -> Tried {
    let class = Class::made("wharf-conformance-left")?;
    let before = std::fs::read_to_string(class.0.join("schemata")).unwrap();
    let container = Container::sleeping(rdt(&json!({"closID": "wharf-conformance-left"}))).started();
    assert_eq!(std::fs::read_to_string(class.0.join("schemata")).unwrap(), before);
    container.stop();
    Ok(())
}

fn class_of_the_container_lives_as_long_as_it() -> Tried {
    let root = resctrl()?;
    let container = Container::sleeping(rdt(&json!({}))).started();
    let class = root.join(&container.id);
    assert!(has_task(&class, &container));
    container.stop();
    container.delete().ok();
    assert!(!class.exists());
    Ok(())
}

fn named_class_is_made_and_kept() -> Tried {
    let class = Class(resctrl()?.join("wharf-conformance-made"));
    let wish = json!({"closID": "wharf-conformance-made", "l3CacheSchema": schema("L3:")?});
    let container = Container::sleeping(rdt(&wish)).started();
    assert!(has_task(&class.0, &container));
    container.stop();
    container.delete().ok();
    assert!(class.0.exists());
    Ok(())
}

fn class_with_other_schemata_is_an_error() -> Tried {
    let class = Class::made("wharf-conformance-other")?;
    let container = Container::shell(
        "true",
        rdt(&json!({"closID": "wharf-conformance-other", "l3CacheSchema": "L3:0=1"})),
    );
    assert_ne!(container.create().code, 0);
    container.is_gone();
    assert!(class.0.exists());
    Ok(())
}

fn named_class_without_schemata_must_be_there() {
    refused(rdt(&json!({"closID": "wharf-conformance-nosuch"})));
}

fn monitoring_group_lives_as_long_as_the_container() -> Tried {
    let class = Class::made("wharf-conformance-monitored")?;
    let wish = json!({"closID": "wharf-conformance-monitored", "enableMonitoring": true});
    let container = Container::sleeping(rdt(&wish)).started();
    let group = class.0.join("mon_groups").join(&container.id);
    assert!(has_task(&group, &container));
    container.stop();
    container.delete().ok();
    assert!(!group.exists());
    Ok(())
}

fn monitoring_group_that_is_there_is_an_error() -> Tried {
    let class = Class::made("wharf-conformance-full")?;
    let wish = json!({"closID": "wharf-conformance-full", "enableMonitoring": true});
    let container = Container::shell("true", rdt(&wish));
    std::fs::create_dir(class.0.join("mon_groups").join(&container.id)).unwrap();
    assert_ne!(container.create().code, 0);
    container.is_gone();
    Ok(())
}
