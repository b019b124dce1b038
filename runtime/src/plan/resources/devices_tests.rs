//! Random rule lists: the program, run in a small interpreter, and v1's lists, kept as the kernel keeps them,
//! against the specification's own words.

use super::*;
use crate::fuzzing::models::{Access, Controller, allows, verify};

/// xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn rule(&mut self) -> Rule {
        let mut number = || [None, Some(0), Some(1)][self.below(3) as usize];
        let numbers = (number(), number());
        let (kind, access) = (['a', 'b', 'c'][self.below(3) as usize], 1 + self.below(7) as u8);
        let total = self.below(12) == 0;
        let (kind, numbers, access) = if total { ('a', (None, None), ALL) } else { (kind, numbers, access) };
        Rule { allow: self.below(2) == 0, kind, numbers, access, default: false }
    }
}

/// The specification: for each right, the last rule that matches.
fn allowed(rules: &[Rule], device: &Device, access: u8) -> bool {
    let matches = |rule: &&Rule| {
        (rule.kind == 'a' || rule.kind == device.0)
            && rule.numbers.0.is_none_or(|n| Some(n) == device.1)
            && rule.numbers.1.is_none_or(|n| Some(n) == device.2)
    };
    let right = |bit: u8| {
        rules.iter().rev().filter(matches).find(|rule| rule.access & bit != 0).is_some_and(|r| r.allow)
    };
    RIGHTS.iter().filter(|(_, bit)| access & bit != 0).all(|(_, bit)| right(*bit))
}

/// What the kernel's controller says once it was told these exceptions.
fn allowed_by_v1(exceptions: &Exceptions, device: &Device, access: u8) -> bool {
    let mut controller = Controller::default();
    exceptions.writes().iter().for_each(|(file, line)| controller.write(file, line));
    controller.allows(asked(device, access))
}

fn interpret(program: &[Instruction], device: &Device, access: u8) -> bool {
    allows(program, asked(device, access))
}

fn asked(device: &Device, access: u8) -> Access {
    (device.0, device.1.unwrap(), device.2.unwrap(), access)
}

/// A hundred thousand lists, each over all kinds, rights and numbers: those that rules name, and one that none does.
#[test]
fn program_and_v1_lists_decide_as_the_rules_do() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut lists, mut on_v1, mut updates) = (0, 0, 0);
    let mut in_force: Option<(Controller, Exceptions)> = None;
    for _ in 0..100_000 {
        let rules: Vec<Rule> = (0..random.below(7)).map(|_| random.rule()).collect();
        let (program, exceptions) = (program(&rules), Exceptions::follow(&rules).ok());
        verify(&program);
        lists += 1;
        let controller = exceptions.map(|exceptions| {
            on_v1 += 1;
            let (mut controller, writes) = match in_force.take().filter(|_| random.below(2) == 0) {
                // As `update` does it, from what is in force.
                Some((controller, old)) => {
                    updates += 1;
                    (controller, old.writes_to(&exceptions))
                }
                None => (Controller::default(), exceptions.writes()),
            };
            writes.iter().for_each(|(file, line)| controller.write(file, line));
            in_force = Some((controller.clone(), exceptions));
            controller
        });
        for device in ['b', 'c'].into_iter().flat_map(|k| (0..9).map(move |n| (k, Some(n / 3), Some(n % 3))))
        {
            for access in 1..=ALL {
                let expected = allowed(&rules, &device, access);
                assert_eq!(interpret(&program, &device, access), expected, "{rules:?} {device:?} {access}");
                // The kernel asks for mknod alone, never with the others (security/device_cgroup.c).
                let is_asked = access == 1 || access & 1 == 0;
                if let (Some(controller), true) = (&controller, is_asked) {
                    let said = controller.allows(asked(&device, access));
                    assert_eq!(said, expected, "v1: {controller:?} {rules:?} {device:?} {access}");
                }
            }
        }
    }
    assert!(on_v1 * 2 > lists && updates * 4 > on_v1, "{on_v1} of {lists} lists on v1, {updates} as updates");
}

/// eBPF compares 64 bits, and takes an immediate for a number with a sign.
#[test]
fn numbers_with_the_highest_bit_match_as_others_do() {
    for number in [0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let rule =
            |allow, major| Rule { allow, kind: 'c', numbers: (major, Some(1)), access: ALL, default: false };
        let rules = [rule(true, None), rule(false, Some(number))];
        let device = ('c', Some(number), Some(1));
        assert!(!interpret(&program(&rules), &device, 2), "{number:#x}");
    }
}

#[test]
fn kernel_takes_every_program() {
    let mut random = Random(42);
    let load = |rules: &[Rule]| crate::sys::bpf::load_device_program(&program(rules));
    if let Err(errno @ (rustix::io::Errno::PERM | rustix::io::Errno::NOSYS)) = load(&resolve(&[]).unwrap()) {
        eprintln!("skipped: bpf(2) says {errno}");
        return;
    }
    for _ in 0..500 {
        let rules: Vec<Rule> = (0..random.below(9)).map(|_| random.rule()).collect();
        load(&rules).unwrap_or_else(|errno| panic!("{errno}: {rules:?}"));
    }
}

#[test]
fn allowing_read_and_write_apart_allows_both_at_once() {
    let wish = |allow, access: &str| DeviceRule {
        allow,
        kind: "c".into(),
        major: Some(1),
        minor: Some(11),
        access: access.into(),
    };
    let rules = resolve(&[wish(true, "r"), wish(true, "w")]).unwrap();
    let device = ('c', Some(1), Some(11));
    assert!(interpret(&program(&rules), &device, 6));
    assert!(allowed_by_v1(&Exceptions::follow(&rules).unwrap(), &device, 6));
}

#[test]
fn part_of_a_wildcard_can_not_be_taken_back_on_v1() {
    let wish =
        |allow, minor| DeviceRule { allow, kind: "c".into(), major: Some(1), minor, ..Default::default() };
    let rules = resolve(&[wish(true, None), wish(false, Some(11))]).unwrap();
    assert!(Exceptions::follow(&rules).unwrap_err().to_string().contains("devices[1]"));
    assert!(!interpret(&program(&rules), &('c', Some(1), Some(11)), 2));
}

/// All but one device that every container has: v1 would go on denying that one too.
#[test]
fn wildcards_that_deny_what_every_container_has_are_refused_on_v1() {
    let wish = |allow, access: &str| DeviceRule { allow, access: access.into(), ..Default::default() };
    let rules = resolve(&[wish(true, ""), wish(false, "w")]).unwrap();
    assert!(interpret(&program(&rules), &('c', Some(1), Some(3)), 4));
    let error = Exceptions::follow(&rules).unwrap_err();
    assert_eq!(error.pointer().as_deref(), Some("/linux/resources/devices"));
    // Making nodes alone, which every container may, is taken back as a whole.
    assert!(Exceptions::follow(&resolve(&[wish(true, ""), wish(false, "m")]).unwrap()).is_ok());
}

#[test]
fn default_devices_terminals_and_tunnels_are_allowed_though_all_is_denied() {
    let rules = resolve(&[DeviceRule { access: "rwm".into(), ..Default::default() }]).unwrap();
    let program = program(&rules);
    let may_read_and_write = |major, minor| interpret(&program, &('c', Some(major), Some(minor)), 2 | 4);
    for (major, minor) in
        [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (10, 200), (136, 0), (136, 77)]
    {
        assert!(may_read_and_write(major, minor), "{major}:{minor}");
    }
    for (major, minor) in [(1, 1), (1, 11), (4, 0), (5, 1), (10, 229)] {
        assert!(!may_read_and_write(major, minor), "{major}:{minor}");
    }
}

#[test]
fn odd_rules_are_refused() {
    for bad in [
        DeviceRule { kind: "x".into(), ..Default::default() },
        DeviceRule { access: "rx".into(), ..Default::default() },
        DeviceRule { major: Some(-2), ..Default::default() },
        DeviceRule { minor: Some(1 << 32), ..Default::default() },
    ] {
        assert!(resolve(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
    }
}

/// devices.list shows what was written: the config's rules as they stand there, those of every container behind.
#[test]
fn lines_for_v1_keep_the_order_and_the_letters_of_the_rules() {
    let wish = |kind: &str, numbers: (i64, i64), access: &str| DeviceRule {
        allow: true,
        kind: kind.into(),
        major: Some(numbers.0),
        minor: Some(numbers.1),
        access: access.into(),
    };
    let rules = [wish("c", (10, 229), "rwm"), wish("b", (8, 20), "rw"), wish("b", (10, 200), "r")];
    let writes = Exceptions::follow(&resolve(&rules).unwrap()).unwrap().writes();
    let lines: Vec<&str> = writes[1..4].iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines, ["c 10:229 mrw", "b 8:20 rw", "b 10:200 r"]);
}
