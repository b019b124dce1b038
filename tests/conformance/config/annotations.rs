//! config.md: "Annotations".

use serde_json::json;

use crate::container::{Container, accepted, refused};

section! { SECTION = "config.md" # "configAnnotations";
    "Annotations MUST be a key-value map." => [annotations_that_are_no_map_are_refused, annotations_are_in_the_state],
    "Keys MUST be strings." => [annotations_that_are_no_map_are_refused],
    "Keys MUST NOT be an empty string." => [empty_annotation_key_is_refused],
    "Keys SHOULD be named using a reverse domain notation - e.g. com.example.myKey." => ("binds the author of the bundle"),
    "annotations using keys in this namespace MUST be as described in this section." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the os property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "This annotation SHOULD only be used in accordance with the OCI image specification's runtime conversion specification." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the os.version property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the os.features property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the architecture property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the variant property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the author property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "The annotation value MUST have a valid value for the created property as defined in the OCIimage specification." => ("binds the author of the bundle"),
    "Indicates signal that SHOULD be sent by the container runtimes to kill the container." => (
        "read by the caller, who gives every kill its signal (runtime.md, Kill)"),
    "The annotation value MUST have a valid value for the config.StopSignal property as defined in the OCI image specification." => ("binds the author of the bundle"),
    "All other keys in the org.opencontainers namespace not specified in this above table are reserved and MUST NOT be used by subsequent specifications." => (
        "binds the authors of specifications"),
    "Runtimes MUST handle unknown annotation keys like any other unknown property." => [unknown_annotation_keys_are_ignored],
    "Values MUST be strings." => [annotation_value_that_is_no_string_is_refused],
}

fn annotations_that_are_no_map_are_refused() {
    refused(|c| c["annotations"] = json!(["com.example.key", "value"]));
    refused(|c| c["annotations"] = json!("com.example.key=value"));
}

fn annotations_are_in_the_state() {
    let container =
        Container::sleeping(|c| c["annotations"] = json!({"com.example.a": "b", "com.example.empty": ""}));
    container.create().ok();
    let annotations = &container.state()["annotations"];
    assert_eq!(annotations["com.example.a"], "b");
    assert_eq!(annotations["com.example.empty"], "");
}

fn empty_annotation_key_is_refused() {
    refused(|c| c["annotations"] = json!({"": "value"}));
}

fn unknown_annotation_keys_are_ignored() {
    accepted(|c| {
        c["annotations"] =
            json!({"org.opencontainers.nosuch": "x", "com.example.nosuch": "y", "a key": "z", "é": ""});
    });
}

fn annotation_value_that_is_no_string_is_refused() {
    for value in [json!(1), json!(true), json!({"a": "b"}), json!(["a"])] {
        refused(|c| c["annotations"] = json!({"com.example.key": value}));
    }
}
