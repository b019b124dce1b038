//! runtime-linux.md: descriptors and links.

use serde_json::json;

use crate::container::{Container, inside};

section! { DESCRIPTORS = "runtime-linux.md" # "runtimeLinuxFileDescriptors";
    "By default, only the stdin, stdout and stderr file descriptors are kept open for the application by the runtime." => [
        program_has_the_three_standard_descriptors_alone],
}

section! { LINKS = "runtime-linux.md" # "runtimeLinuxDevSymbolicLinks";
    "While creating the container (step 2 in the lifecycle), runtimes MUST create the following symlinks if the source file exists after processing mounts:" => [
        dev_links_lead_to_the_descriptors, dev_links_are_not_made_without_proc],
}

/// The runtime is started with some more. The shell has a further one while it lists the folder, and none after.
fn program_has_the_three_standard_descriptors_alone() {
    let container = Container::shell("for f in /proc/$$/fd/*; do [ -e $f ] && echo $f; done; true", |_| ());
    let said = container.run_under("exec 7</dev/null 8</etc/passwd 9>/dev/null");
    assert_eq!(said.ok(), "/proc/1/fd/0\n/proc/1/fd/1\n/proc/1/fd/2\n");
}

fn dev_links_lead_to_the_descriptors() {
    let out = inside("for l in fd stdin stdout stderr; do readlink /dev/$l; done", |_| ());
    assert_eq!(out, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n");
}

/// Without /proc the source of the links is not there. A runtime may make them all the same; it must not fail.
fn dev_links_are_not_made_without_proc() {
    inside("true", |c| {
        c["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != json!("/proc"))
    });
}
