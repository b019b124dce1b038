//! config-linux.md: what an entry for block devices, huge pages, network priorities and RDMA must have.
//!
//! An entry that lacks it is refused whether or not the host has the controller; so only that is looked at here, and
//! what a whole entry does is shown with the resources.

use serde_json::{Value, json};

use crate::container::{Container, refused, remove};

section! { BLOCK_IO = "config-linux.md" # "configLinuxBlockIO";
    "major, minor (int64, REQUIRED) - major, minor numbers for device." => [
        weight_device_without_numbers_is_refused, throttle_device_without_numbers_is_refused],
    "You MUST specify at least one of weight or leafWeight in a given entry, and MAY specify both." => [
        weight_device_without_a_weight_is_refused],
    "rate (uint64, REQUIRED) - bandwidth rate limit in bytes per second for the device" => [
        throttle_of_bytes_without_a_rate_is_refused],
    "rate (uint64, REQUIRED) - IO rate limit for the device" => [throttle_of_operations_without_a_rate_is_refused],
}

section! { HUGE_PAGES = "config-linux.md" # "configLinuxHugePageLimits";
    "pageSize (string, REQUIRED) - hugepage size." => [huge_page_limit_without_a_size_is_refused],
    "limit (uint64, REQUIRED) - limit in bytes of hugepagesize HugeTLB reservations (if supported) or usage." => [
        huge_page_limit_without_a_limit_is_refused],
}

section! { NETWORK = "config-linux.md" # "configLinuxNetwork";
    "name (string, REQUIRED) - interface name in runtime network namespace" => [network_priority_without_a_name_is_refused],
    "priority (uint32, REQUIRED) - priority applied to the interface" => [network_priority_without_a_priority_is_refused],
}

section! { RDMA = "config-linux.md" # "configLinuxRDMA";
    "You MUST specify at least one of the hcaHandles or hcaObjects in a given entry, and MAY specify both." => [
        rdma_entry_without_a_limit_is_refused],
}

/// `create` refuses these resources once the field at `pointer` is taken away.
#[track_caller]
fn refused_without(pointer: &str, resources: &Value) {
    let mut resources = resources.clone();
    remove(&mut resources, pointer);
    let container = Container::shell("true", |c| c["linux"]["resources"] = resources.clone());
    assert_ne!(container.create().code, 0, "accepted: {resources}");
    container.is_gone();
}

const THROTTLES: [&str; 4] =
    ["throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"];

fn throttle(name: &str) -> Value {
    json!({"blockIO": {name: [{"major": 7, "minor": 0, "rate": 1_000_000}]}})
}

fn weight() -> Value {
    json!({"blockIO": {"weightDevice": [{"major": 7, "minor": 0, "weight": 500}]}})
}

fn weight_device_without_numbers_is_refused() {
    for field in ["major", "minor"] {
        refused_without(&format!("/blockIO/weightDevice/0/{field}"), &weight());
    }
}

fn throttle_device_without_numbers_is_refused() {
    for name in THROTTLES {
        for field in ["major", "minor"] {
            refused_without(&format!("/blockIO/{name}/0/{field}"), &throttle(name));
        }
    }
}

fn weight_device_without_a_weight_is_refused() {
    refused_without("/blockIO/weightDevice/0/weight", &weight());
}

fn throttle_of_bytes_without_a_rate_is_refused() {
    for name in &THROTTLES[..2] {
        refused_without(&format!("/blockIO/{name}/0/rate"), &throttle(name));
    }
}

fn throttle_of_operations_without_a_rate_is_refused() {
    for name in &THROTTLES[2..] {
        refused_without(&format!("/blockIO/{name}/0/rate"), &throttle(name));
    }
}

fn huge_pages() -> Value {
    json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]})
}

fn huge_page_limit_without_a_size_is_refused() {
    refused_without("/hugepageLimits/0/pageSize", &huge_pages());
}

fn huge_page_limit_without_a_limit_is_refused() {
    refused_without("/hugepageLimits/0/limit", &huge_pages());
}

fn priorities() -> Value {
    json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}})
}

fn network_priority_without_a_name_is_refused() {
    refused_without("/network/priorities/0/name", &priorities());
}

fn network_priority_without_a_priority_is_refused() {
    refused_without("/network/priorities/0/priority", &priorities());
}

fn rdma_entry_without_a_limit_is_refused() {
    refused(|c| c["linux"]["resources"] = json!({"rdma": {"mlx5_1": {}}}));
}
