//! Device rules in the kernel: what a container may open is what its rules say, read in order.

use serde_json::{Value, json};
use wharf_tests::{Sandbox, has_cgroup_v1, is_ours};

/// Numbers that no driver has: what is allowed fails in another way, and does no harm.
const NUMBERS: [(u32, u32); 4] = [(1, 12), (1, 13), (10, 12), (10, 13)];

/// xorshift: the same lists each time.
struct Random(u64);

impl Random {
    fn one<T: Clone>(&mut self, list: &[T]) -> T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        list[((self.0 >> 11) % list.len() as u64) as usize].clone()
    }

    fn rule(&mut self) -> Value {
        json!({
            "allow": self.one(&[true, false]),
            "type": self.one(&["a", "b", "c", "c"]),
            "major": self.one(&[-1, 1, 10]),
            "minor": self.one(&[-1, 12, 13]),
            "access": self.one(&["rwm", "rw", "r", "w"]),
        })
    }
}

/// For each right, the last rule that matches (config-linux.md, "Allowed Device list").
fn is_allowed(rules: &[Value], kind: &str, (major, minor): (u32, u32), rights: &str) -> bool {
    let matches = |rule: &Value, right: char| {
        let number =
            |name: &str, n: u32| rule[name].as_i64().is_none_or(|wish| wish == -1 || wish == i64::from(n));
        let kinds = rule["type"].as_str().unwrap_or("a");
        (kinds == "a" || kinds == kind)
            && number("major", major)
            && number("minor", minor)
            && rule["access"].as_str().unwrap().contains(right)
    };
    let decides = |right| rules.iter().rev().find(|rule| matches(rule, right));
    rights.chars().all(|right| decides(right).is_some_and(|rule| rule["allow"] == true))
}

#[test]
fn random_device_rules_decide_in_the_kernel_as_they_read() {
    let mut script = "try() { if (eval \": $2 /tmp/$1\") 2>&1 | grep -q 'not permitted'; then echo no; else echo yes; fi; }\n"
        .to_owned();
    let mut asked = Vec::new();
    for kind in ["b", "c"] {
        for (major, minor) in NUMBERS {
            let name = format!("{kind}{major}-{minor}");
            script += &format!("mknod /tmp/{name} {kind} {major} {minor}\n");
            for (rights, redirection) in [("r", "<"), ("w", ">"), ("rw", "<>")] {
                script += &format!("try {name} '{redirection}'\n");
                asked.push((kind, (major, minor), rights));
            }
        }
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut decided, mut refused) = (0, 0);
    for _ in 0..30 {
        let mut rules = vec![json!({"allow": random.one(&[true, false, false]), "access": "rwm"})];
        rules.extend((0..random.one(&[1, 2, 3, 4])).map(|_| random.rule()));
        let sandbox = Sandbox::shell(&script, |c| {
            c["linux"]["resources"] = json!({"devices": rules});
            let sets = json!(["CAP_MKNOD"]);
            c["process"]["capabilities"] = json!({"bounding": sets, "effective": sets, "permitted": sets});
        });
        let said = sandbox.run();
        // Taking a part out of a wildcard is more than its lists can hold.
        if has_cgroup_v1() && said.code != 0 && said.err.contains("wildcard") {
            refused += 1;
            continue;
        }
        let out = said.ok();
        let answers: Vec<&str> = out.lines().collect();
        assert_eq!(answers.len(), asked.len(), "{out}");
        for (answer, (kind, numbers, rights)) in answers.iter().zip(&asked) {
            let expected = if is_allowed(&rules, kind, *numbers, rights) { "yes" } else { "no" };
            assert_eq!(*answer, expected, "{kind} {numbers:?} {rights}: {}", json!(rules));
            decided += 1;
        }
    }
    println!("{decided} accesses as the rules say; {refused} lists that cgroup v1 can't hold");
    assert!(decided >= 240 || !is_ours(), "{decided}");
}
