//! JSON documents: config.json up to the plan, and the record.

use std::path::Path;

use serde_json::Value;

use crate::cgroup::check_path;
use crate::cgroup::systemd::Unit;
use crate::container::record::Record;
use crate::error::Error;
use crate::place::Place;
use crate::plan::findings::Findings;
use crate::plan::resources::{check_all, devices, merge, resolve_v1, resolve_v2};
use crate::plan::{Plan, seccomp};
use crate::spec::reader::{Reading, read_all};
use crate::spec::state::Status;
use crate::spec::{self, Resources, Spec};

/// config.json to the plan, the filter, the limits and the device rules.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parsed = spec::parse(text);
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        // Of a property that is there twice, the value has only the last.
        let (once, null) = (spec::parse(&value.to_string()).is_ok(), value.is_null());
        assert!(once || parsed.is_err());
        let reading: Reading<Spec> = read_all(value);
        assert_eq!(once, reading.misfits.is_empty() && !null, "{:?}", reading.misfits);
        reading.misfits.iter().for_each(|misfit| check_place(&misfit.place()));
        if let Some(spec) = &reading.value {
            resolve(spec);
        }
    }
    match parsed {
        Ok(spec) => is_kept_whole(&spec),
        Err(error) => check_error(&error),
    }
}

fn resolve(spec: &Spec) {
    let mut findings = Findings::default();
    let plan = Plan::resolve_all("fuzz", Path::new("/bundle"), spec, &mut findings);
    let (env, args) = plan.process.as_ref().map_or((0, 0), |p| (p.env.len(), p.args.len()));
    let asked = spec.process.as_ref().map_or((0, 0), |p| (p.env.len(), p.args.len()));
    assert!(env <= asked.0 && args == asked.1);
    let linux = spec.linux.clone().unwrap_or_default();
    if let Some(wishes) = &linux.seccomp {
        seccomp::check(wishes, &mut findings);
        seccomp::compile(wishes).map(|program| super::models::kernel_takes(&program)).ok();
    }
    findings.keep(check_path(&linux.cgroups_path).map(|_| ()));
    findings.keep(Unit::parse(&linux.cgroups_path, "fuzz", false).map(|_| ()));
    if let Some(resources) = &linux.resources {
        limits(resources, &mut findings);
    }
    findings.into_all().iter().for_each(check_error);
}

fn limits(resources: &Resources, findings: &mut Findings) {
    for resolve in [resolve_v1, resolve_v2] {
        let mut all = Findings::default();
        check_all(resources, resolve, &mut all);
        let all = all.into_all();
        assert_eq!(all.is_empty(), resolve(resources).is_ok(), "{all:?}");
        all.into_iter().for_each(|error| findings.push(error));
    }
    if let Some(rules) = findings.keep(devices::resolve(&resources.devices).map(Some)) {
        super::models::verify(&devices::program(&rules));
        devices::Exceptions::follow(&rules).map(|exceptions| exceptions.writes()).ok();
    }
    findings.keep(merge(resources, resources).map(|_| ()));
}

/// What stands in the record is what was read.
fn is_kept_whole(spec: &Spec) {
    let kept = serde_json::to_string(spec).unwrap_or_else(|error| panic!("{error}"));
    let again = spec::parse(&kept).unwrap_or_else(|error| panic!("{error}: {kept}"));
    assert_eq!(serde_json::to_string(&again).ok(), Some(kept));
}

/// An error says where it is in both forms, and the one can be made of the other.
fn check_error(error: &Error) {
    assert!(!error.to_string().is_empty());
    if let Some(place) = error.place() {
        check_place(&place);
        assert!(error.pointer().is_some_and(|pointer| pointer.starts_with('/') || place.0.is_empty()));
    }
}

fn check_place(place: &Place) {
    assert_eq!(Place::parse(&place.to_string()), *place);
}

/// state.json, which nobody but us should have written.
pub fn record(input: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(input) else { return };
    let kept = serde_json::to_vec(&record).unwrap_or_else(|error| panic!("{error}"));
    let again: Record = serde_json::from_slice(&kept).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(serde_json::to_vec(&again).ok(), Some(kept));
    let state = again.state(Status::Stopped, 0);
    assert!(serde_json::to_vec(&state).is_ok());
    assert_eq!((state.id, state.bundle), (record.id, record.bundle));
}
