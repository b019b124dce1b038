//! `hooks`: each kind notes in a file that it ran, where, and what it read.

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::place::Host;

/// Writes `hooks`, in a quarter of configs.
pub fn put(dice: &Dice, host: &Host, config: &mut Value) {
    if !dice.chance(25) {
        return;
    }
    let mut hooks = serde_json::Map::new();
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        if !dice.chance(40) {
            continue;
        }
        let list: Vec<Value> =
            (0..1 + dice.below(2)).map(|at| hook(dice, host, &format!("{kind}{at}"))).collect();
        hooks.insert(kind.to_owned(), json!(list));
    }
    config["hooks"] = Value::Object(hooks);
}

fn hook(dice: &Dice, host: &Host, name: &str) -> Value {
    let log = host.bundle.join("hooks");
    let (log, inside) = (log.to_str().unwrap(), "/var/hooks"); // startContainer has the container's root
    let status = r#"sed -n 's/.*"status" *: *"\([a-z]*\)".*/\1/p'"#;
    let script =
        format!("f={log}; [ -d /look ] && f={inside}; echo \"{name} $0 $(pwd) A=$A S=$({status})\" >> $f");
    let script = if dice.chance(3) { "exit 3".to_owned() } else { script };
    let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script, name]});
    if dice.chance(70) {
        hook["env"] = json!(["PATH=/bin:/usr/bin", "A=1"]);
    }
    if dice.chance(40) {
        hook["timeout"] = json!(20);
    }
    hook
}
