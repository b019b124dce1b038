//! `linux.resources` and `linux.cgroupsPath`.

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::place::Host;

/// Writes both.
pub fn put(dice: &Dice, host: &Host, config: &mut Value) {
    let path = match dice.below(30) {
        0 => None,
        1 => Some(host.id.clone()),
        2..=5 => Some(format!("/{0}/{0}", host.id)),
        _ => Some(format!("/{}", host.id)),
    };
    if let Some(path) = path {
        config["linux"]["cgroupsPath"] = json!(path);
    }
    if !dice.chance(65) {
        return;
    }
    let mut resources = json!({});
    type Part = (&'static str, u64, fn(&Dice) -> Value);
    let parts: [Part; 5] = [
        ("devices", 50, devices),
        ("memory", 40, memory),
        ("cpu", 40, cpu),
        ("pids", 40, pids),
        ("blockIO", 20, block_io),
    ];
    for (name, percent, make) in parts {
        if dice.chance(percent) {
            resources[name] = make(dice);
        }
    }
    if dice.chance(2) {
        resources["network"] = json!({"classID": 1_048_577});
    }
    if dice.chance(2) {
        resources["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 1 << 21}]);
    }
    if dice.chance(2) {
        resources["unified"] = json!({"memory.high": "100000000"});
    }
    config["linux"]["resources"] = resources;
}

fn devices(dice: &Dice) -> Value {
    let list = [
        json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}),
        json!({"allow": true, "type": "c", "major": 1, "access": "r"}),
        json!({"allow": true, "type": "b", "major": 7, "minor": 0, "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
        json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}),
        json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}),
        json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"}),
    ];
    let mut rules = dice.some(&list, 35);
    if dice.chance(80) {
        rules.insert(0, json!({"allow": false, "access": "rwm"}));
    } else if dice.chance(30) {
        rules.insert(0, json!({"allow": true, "access": "rwm"}));
    }
    json!(rules)
}

/// Each of the given properties in `percent` of cases.
fn object(dice: &Dice, percent: u64, properties: &[(&str, Value)]) -> Value {
    properties
        .iter()
        .filter(|_| dice.chance(percent))
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn memory(dice: &Dice) -> Value {
    let limit = dice.one(&[64i64 << 20, 100_000_000, 256 << 20, -1]);
    let mut memory = object(
        dice,
        30,
        &[
            ("reservation", json!(48 << 20)),
            ("swap", json!(if limit < 0 { -1 } else { limit * 2 })),
            ("kernelTCP", json!(32 << 20)),
            ("swappiness", json!(dice.below(101))),
            ("disableOOMKiller", json!(dice.chance(50))),
            ("useHierarchy", json!(true)),
        ],
    );
    if dice.chance(80) {
        memory["limit"] = json!(limit);
    }
    if dice.chance(5) {
        memory[dice.pick(&["limit", "swap", "reservation"])] = json!(dice.one(&[0i64, 4096, -2]));
    }
    memory
}

fn cpu(dice: &Dice) -> Value {
    let mut cpu = object(
        dice,
        35,
        &[
            ("shares", json!(dice.one(&[0u64, 512, 1024, 2048, 262_144]))),
            ("quota", json!(dice.one(&[0i64, -1, 50_000, 150_000]))),
            ("period", json!(dice.one(&[0u64, 100_000, 50_000]))),
            ("cpus", json!(dice.pick(&["0", "0-1", "1", ""]))),
            ("mems", json!(dice.pick(&["0", ""]))),
        ],
    );
    if dice.chance(5) {
        cpu[dice.pick(&["cpus", "mems"])] = json!(dice.pick(&["77", "x"]));
    }
    if dice.chance(4) {
        cpu[dice.pick(&["idle", "burst"])] = json!(0); // an idle group would starve where others work
    }
    if dice.chance(3) {
        cpu["realtimeRuntime"] = json!(dice.one(&[0, 1000]));
    }
    cpu
}

/// A limit of 0 is left out: runc 1.1.5 takes it as unset, and under a real one no probe could fork.
fn pids(dice: &Dice) -> Value {
    json!({"limit": dice.one(&[-1, 64, 100, 32768])})
}

fn block_io(dice: &Dice) -> Value {
    let device = |rate: u64| json!([{"major": 254, "minor": 0, "rate": rate}]);
    object(
        dice,
        35,
        &[
            ("weight", json!(dice.one(&[0, 10, 500, 1000]))),
            ("throttleReadBpsDevice", device(1 << 30)),
            ("throttleWriteBpsDevice", device(1 << 30)),
            ("throttleReadIOPSDevice", device(100_000)),
            ("throttleWriteIOPSDevice", device(100_000)),
        ],
    )
}
