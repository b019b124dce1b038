//! bundle.md: what a bundle is.

use crate::container::Container;

section! { SECTION = "bundle.md" # "containerFormat";
    "This REQUIRED file MUST reside in the root of the bundle directory and MUST be named config.json." => [
        bundle_without_a_config_is_refused, config_is_read_from_the_root_of_the_bundle],
    "When supplied, while these artifacts MUST all be present in a single directory on the local filesystem, that directory itself is not part of the bundle." => (
        "binds the author of the bundle; where the root may lie is said by root.path"),
}

fn bundle_without_a_config_is_refused() {
    let container = Container::shell("true", |_| ());
    std::fs::remove_file(container.bundle().join("config.json")).unwrap();
    assert_ne!(container.create().code, 0);
    container.is_gone();
}

fn config_is_read_from_the_root_of_the_bundle() {
    let container = Container::shell("echo read", |_| ());
    assert_eq!(container.run().ok(), "read\n");
}
