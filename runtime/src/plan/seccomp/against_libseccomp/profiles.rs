//! The profiles: those that engines wrote, and any number of generated ones.

use super::ARCHES;
use crate::plan::seccomp::{NOTIFY, OPERATORS};
use crate::spec;

/// xorshift: the same numbers each time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 11) % limit as u64) as usize
    }

    pub fn one<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    pub fn number(&mut self) -> u64 {
        match self.below(5) {
            0 => self.below(8) as u64,
            1 => 1 << self.below(64),
            2 => u64::MAX >> self.below(64),
            3 => self.next() & 0xffff_ffff,
            _ => self.next(),
        }
    }
}

const NAMES: [&str; 28] = [
    "read",
    "write",
    "open",
    "close",
    "clone",
    "clone3",
    "personality",
    "ioctl",
    "socket",
    "bind",
    "accept4",
    "recvmmsg",
    "sendto",
    "semop",
    "semtimedop",
    "shmat",
    "msgctl",
    "execve",
    "uselib",
    "ptrace",
    "openat2",
    "socketcall",
    "ipc",
    "no_such_call",
    "mseal",
    "futex",
    "set_thread_area",
    "faccessat2",
];

/// What engines wrote for their containers: docker.io 20.10, containerd 1.6 and podman 4.3 of Debian, and our own
/// manager; and what the example bundle has.
pub fn real() -> Vec<spec::Seccomp> {
    let bundle: spec::Spec =
        serde_json::from_str(include_str!("../../../../../bundles/seccomp/config.json")).unwrap();
    let texts = [
        include_str!("profiles/containerd.json"),
        include_str!("profiles/docker.json"),
        include_str!("profiles/docker-all-capabilities.json"),
        include_str!("profiles/podman.json"),
        include_str!("profiles/podman-all-capabilities.json"),
        include_str!("profiles/wharf.json"),
    ];
    let mut all: Vec<spec::Seccomp> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    all.extend(bundle.linux.unwrap().seccomp);
    all
}

/// One that has anything that can stand in a filter.
pub fn generated(random: &mut Random) -> spec::Seccomp {
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "LOG", "TRACE", "TRAP", "NOTIFY"];
    let pick = |random: &mut Random, actions: &[&str]| {
        let name = random.one(actions);
        let errno = matches!(name, "ERRNO" | "TRACE") && random.below(2) == 0;
        (format!("SCMP_ACT_{name}"), errno.then(|| random.one(&[0, 1, 2, 38, 133, 4095])))
    };
    let (default_action, default_errno_ret) = pick(random, &actions[..7]);
    let architectures =
        ARCHES.iter().filter(|_| random.below(2) == 0).map(|(.., name)| (*name).to_owned()).collect();
    let condition = |random: &mut Random| spec::SyscallArg {
        index: random.below(6) as u32,
        value: random.number(),
        value_two: random.number(),
        op: random.one(&OPERATORS).0.to_owned(),
    };
    let rules = random.one(&[1, 3, 6, 12, 40]);
    let syscalls = (0..rules)
        .map(|_| {
            let (action, errno_ret) = pick(random, &actions);
            let names = (0..=random.below(4)).map(|_| random.one(&NAMES).to_owned());
            let names = names.filter(|name| action != NOTIFY || name != "write").collect();
            let args = (0..random.one(&[0, 0, 1, 1, 2, 3])).map(|_| condition(random)).collect();
            spec::SyscallRule { names, action, errno_ret, args }
        })
        .filter(|rule: &spec::SyscallRule| !rule.names.is_empty())
        .collect();
    spec::Seccomp { default_action, default_errno_ret, architectures, syscalls, ..Default::default() }
}

/// Values around those that the rules name.
pub fn boundaries(profile: &spec::Seccomp) -> Vec<u64> {
    let mut values = vec![0, 1, u64::MAX];
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        let (a, b) = (arg.value, arg.value_two);
        values.extend([
            a,
            a.wrapping_add(1),
            a.wrapping_sub(1),
            a ^ 1 << 32,
            a & 0xffff_ffff,
            a | 0xffff_ffff_0000_0000,
        ]);
        values.extend([a & b, b, !a | a & b]);
    }
    values
}
