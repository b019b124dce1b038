//! What runc would install: the machine's libseccomp, called as runc calls it (`libseccomp.py`), and before its
//! program runc's own stub, which answers calls newer than the profile.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{ARCHES, arches_of, default_of};
use crate::fuzzing::models::{Call, answer, kernel_takes};
use crate::plan::seccomp::tables::{Arch, X32_BIT};
use crate::plan::seccomp::{ENOSYS, Instruction, Program, RET_ALLOW, RET_ERRNO, RET_LOG, RET_TRACE, action};
use crate::spec;

/// What runc would install.
pub struct Reference {
    pub program: Program,
    /// By architecture, the last call that the stub knows; `None` where it lets everything through.
    pub last: Option<HashMap<&'static str, u32>>,
}

impl Reference {
    /// runc's answer to calls after the last that the profile names (its libcontainer/seccomp/patchbpf).
    pub fn stub(&self, arch: Arch, number: u32) -> Option<u32> {
        let last = self.last.as_ref()?;
        let x32 = number & X32_BIT != 0;
        let name = match arch {
            Arch::X86_64 | Arch::X32 if x32 => "x32",
            Arch::X86_64 | Arch::X32 => "x86_64",
            Arch::X86 => "x86",
            Arch::Aarch64 => "aarch64",
        };
        last.get(name).filter(|last| number > **last).map(|_| RET_ERRNO | ENOSYS)
    }

    pub fn answer(&self, arch: Arch, call: &Call) -> u32 {
        self.stub(arch, call.number).unwrap_or_else(|| answer(&self.program, call))
    }
}

/// The other compiler, in a process.
pub struct Libseccomp {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    child: Child,
}

impl Libseccomp {
    pub fn start() -> Libseccomp {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/plan/seccomp/against_libseccomp/libseccomp.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Libseccomp { input, output: BufReader::new(output), child }
    }

    /// Its program, or why it has none. Names that it does not know are taken out of the profile: it is older.
    pub fn compile(&mut self, profile: &mut spec::Seccomp) -> Result<Reference, String> {
        let default = default_of(profile);
        let arches: Vec<&str> = ARCHES
            .iter()
            .filter(|(arch, ..)| arches_of(profile).contains(arch))
            .map(|(_, name, _)| *name)
            .collect();
        let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
        let mut rules = Vec::new();
        for rule in &profile.syscalls {
            let ret = action("a", &rule.action, rule.errno_ret).unwrap();
            let condition = |arg: &spec::SyscallArg| {
                let name = arg.op.trim_start_matches("SCMP_CMP_");
                let operator = operators.iter().position(|known| *known == name).unwrap() + 1;
                json!([arg.index, operator, arg.value, arg.value_two])
            };
            let conditions: Vec<Value> = rule.args.iter().map(condition).collect();
            let one = |name| json!({"name": name, "action": ret, "conditions": conditions});
            rules.extend(rule.names.iter().map(one));
        }
        writeln!(self.input, "{}", json!({"default": default, "archs": arches, "rules": rules})).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let unknown: Vec<String> = serde_json::from_value(said["unknown"].clone()).unwrap();
        for rule in &mut profile.syscalls {
            rule.names.retain(|name| !unknown.contains(name));
        }
        profile.syscalls.retain(|rule| !rule.names.is_empty());
        if let Some(error) = said["error"].as_str() {
            return Err(error.to_owned());
        }
        let instructions = read(said["program"].as_str().unwrap());
        let program = Program { instructions, flags: 0 };
        kernel_takes(&program);
        let permissive = matches!(default & 0xffff_0000, RET_ALLOW | RET_LOG | RET_TRACE);
        let silent = permissive || profile.default_errno_ret == Some(ENOSYS);
        let last = (!silent).then(|| {
            let of = |name: &'static str| {
                let numbers: HashMap<String, i64> =
                    serde_json::from_value(said["numbers"][name].clone()).ok()?;
                let last = *numbers.values().max()?;
                u32::try_from(last).ok().filter(|last| *last != 0).map(|last| (name, last))
            };
            ARCHES.iter().filter_map(|(_, name, _)| of(name)).collect()
        });
        Ok(Reference { program, last })
    }
}

impl Drop for Libseccomp {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub fn read(hex: &str) -> Vec<Instruction> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let one = |c: &[u8]| Instruction {
        code: u16::from_ne_bytes([c[0], c[1]]),
        jt: c[2],
        jf: c[3],
        k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
    };
    bytes.chunks(8).map(one).collect()
}
