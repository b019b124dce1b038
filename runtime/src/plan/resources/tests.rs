//! Conversions, value by value.

use super::v2::{io_weight, weight_of_shares};
use super::*;
use crate::spec::Resources;

fn resources(text: &str) -> Resources {
    serde_json::from_str(text).unwrap()
}

/// First candidate of each write.
fn values(writes: &[Write]) -> Vec<(&str, &str)> {
    writes.iter().map(|w| (w.candidates[0].0.as_str(), w.candidates[0].1.as_str())).collect()
}

fn on_v1(text: &str) -> Vec<Write> {
    resolve_v1(&resources(text)).unwrap()
}

fn on_v2(text: &str) -> Vec<Write> {
    resolve_v2(&resources(text)).unwrap()
}

#[test]
fn zeros_that_engines_send_are_unset_and_pids_zero_is_the_lowest_limit() {
    let text = r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0,"kernelTCP":0,"disableOOMKiller":false},
                   "cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0,"cpus":"","mems":""},
                   "pids":{"limit":0},"blockIO":{"weight":0,"leafWeight":0},"network":{"classID":0,"priorities":[]}}"#;
    assert_eq!(values(&on_v1(text)), [("memory.oom_control", "0"), ("pids.max", "1")]);
    assert_eq!(values(&on_v2(text)), [("pids.max", "1")]);
    assert_eq!(values(&on_v2(r#"{"pids":{"limit":-1}}"#)), [("pids.max", "max")]);
    assert!(on_v2(r#"{"pids":{}}"#).is_empty());
}

#[test]
fn v2_counts_swap_by_itself() {
    for (memory, expected) in [
        (r#"{"limit":100,"swap":100}"#, vec![("memory.max", "100"), ("memory.swap.max", "0")]),
        (r#"{"limit":100,"swap":150}"#, vec![("memory.max", "100"), ("memory.swap.max", "50")]),
        (r#"{"limit":100,"swap":-1}"#, vec![("memory.max", "100"), ("memory.swap.max", "max")]),
        (r#"{"limit":-1}"#, vec![("memory.max", "max"), ("memory.swap.max", "max")]),
        (r#"{"limit":100,"swap":0}"#, vec![("memory.max", "100")]),
        (r#"{"swap":-1}"#, vec![("memory.swap.max", "max")]),
    ] {
        let writes = on_v2(&format!(r#"{{"memory":{memory}}}"#));
        assert_eq!(values(&writes), expected, "{memory}");
        let lenient = writes.iter().find(|w| w.candidates[0].0 == "memory.swap.max").map(|w| w.optional);
        assert_eq!(lenient.unwrap_or(true), memory != r#"{"limit":100,"swap":150}"#, "{memory}");
    }
    for bad in [r#"{"swap":5}"#, r#"{"limit":10,"swap":5}"#, r#"{"limit":-1,"swap":5}"#, r#"{"limit":-2}"#] {
        let resources = resources(&format!(r#"{{"memory":{bad}}}"#));
        assert!(resolve_v1(&resources).is_err() && resolve_v2(&resources).is_err(), "{bad}");
    }
}

#[test]
fn v1_lifts_both_memory_limits_and_leaves_their_order_open() {
    let writes = on_v1(r#"{"memory":{"limit":-1}}"#);
    assert_eq!(values(&writes), [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")]);
    assert!(writes.iter().all(|w| w.group == "memory") && writes[1].optional);
}

#[test]
fn v2_converts_shares_and_quota() {
    let text = r#"{"cpu":{"shares":1024,"quota":-1,"period":50000,"burst":0}}"#;
    assert_eq!(
        values(&on_v2(text)),
        [("cpu.weight", "100"), ("cpu.max", "max 50000"), ("cpu.max.burst", "0")]
    );
    assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 100, 10_000]);
    let period = on_v2(r#"{"cpu":{"period":50000}}"#);
    assert!(period[0].keeps_first_word && period[0].candidates[0].1 == "50000");
    assert_eq!(values(&on_v2(r#"{"cpu":{"quota":20000}}"#)), [("cpu.max", "20000")]);
    assert_eq!(values(&on_v2(r#"{"cpu":{"shares":1024,"idle":1}}"#)), [("cpu.idle", "1")]);
    assert_eq!(values(&on_v2(r#"{"cpu":{"shares":2,"idle":0}}"#)), [("cpu.idle", "0"), ("cpu.weight", "1")]);
}

#[test]
fn io_weight_is_converted_where_bfq_is_not() {
    let writes = on_v2(r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}]}}"#);
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(writes[0].candidates, [pair("io.bfq.weight", "500"), pair("io.weight", "4950")]);
    assert_eq!(writes[1].candidates, [pair("io.bfq.weight", "8:0 10"), pair("io.weight", "8:0 1")]);
    assert_eq!([10, 1000].map(io_weight), [1, 10_000]);
    assert!(resolve_v2(&resources(r#"{"blockIO":{"weight":9}}"#)).is_err());
}

#[test]
fn hugepages_are_limited_when_reserved_and_when_faulted_in() {
    let text = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#;
    let expected = [("hugetlb.2MB.rsvd.max", "0"), ("hugetlb.2MB.max", "0")];
    assert_eq!(values(&on_v2(text)), expected);
    assert_eq!(values(&on_v1(text))[1], ("hugetlb.2MB.limit_in_bytes", "0"));
    for bad in ["2", "MB", "02MB", "2mb", "2MiB", "../2MB", "-2MB", "2 MB"] {
        let text = format!(r#"{{"hugepageLimits":[{{"pageSize":"{bad}","limit":1}}]}}"#);
        assert!(resolve_v2(&resources(&text)).is_err(), "{bad}");
    }
}

#[test]
fn rdma_takes_one_of_its_two_numbers_or_both() {
    let text = r#"{"rdma":{"mlx5_0":{"hcaHandles":3,"hcaObjects":10000},"rxe3":{"hcaObjects":0}}}"#;
    let expected = [("rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"), ("rdma.max", "rxe3 hca_object=0")];
    assert_eq!(values(&on_v1(text)), expected);
    assert_eq!(values(&on_v2(text)), expected);
    assert!(resolve_v2(&resources(r#"{"rdma":{"mlx5_0":{}}}"#)).is_err());
    assert!(resolve_v2(&resources(r#"{"rdma":{"a b":{"hcaObjects":1}}}"#)).is_err());
}

#[test]
fn v1_has_network_marks_and_v2_names_what_it_lacks() {
    let text = r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]}}"#;
    assert_eq!(values(&on_v1(text)), [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "eth0 5")]);
    for (text, field) in [
        (r#"{"network":{"classID":1}}"#, "network.classID"),
        (r#"{"network":{"priorities":[{"name":"eth0","priority":5}]}}"#, "network.priorities"),
        (r#"{"memory":{"swappiness":0}}"#, "memory.swappiness"),
        (r#"{"memory":{"disableOOMKiller":true}}"#, "memory.disableOOMKiller"),
        (r#"{"memory":{"useHierarchy":false}}"#, "memory.useHierarchy"),
        (r#"{"memory":{"kernelTCP":1}}"#, "memory.kernelTCP"),
        (r#"{"cpu":{"realtimeRuntime":1}}"#, "cpu.realtimeRuntime"),
        (r#"{"blockIO":{"leafWeight":10}}"#, "blockIO.leafWeight"),
    ] {
        let error = resolve_v2(&resources(text)).unwrap_err();
        assert!(error.kind() == Kind::Unsupported && error.to_string().contains(field), "{error}");
    }
    assert!(on_v2(r#"{"memory":{"useHierarchy":true,"disableOOMKiller":false,"kernel":1}}"#).is_empty());
}

#[test]
fn unified_keys_are_file_names_and_their_lines_single_writes() {
    for bad in ["../x.y", "a/b.c", "noController", ".x", "x.", "memory.max/../x"] {
        let resources =
            Resources { unified: [(bad.to_owned(), "1".to_owned())].into(), ..Default::default() };
        assert!(resolve_v2(&resources).is_err(), "{bad}");
    }
    let text = r#"{"unified":{"io.max":"8:0 rbps=1\n8:16 rbps=2","memory.high":"7"}}"#;
    let expected = [("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("memory.high", "7")];
    assert_eq!(values(&on_v2(text)), expected);
    assert!(resolve_v1(&resources(text)).is_err());
}
