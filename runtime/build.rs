//! Says how the released program is to be linked; why, stands in `release.ld` and `src/sys/early.rs`.

use std::env::var;
use std::process::Command;

#[allow(clippy::print_stdout, reason = "this is how cargo is told")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=release.ld");
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu")
    {
        return;
    }
    let script = format!("-Wl,-T,{}/release.ld", env!("CARGO_MANIFEST_DIR"));
    // Cargo forgets `strip` for a package that the profile says more of (0.5 MB).
    let mut words = vec!["-Wl,--strip-all", "-Wl,--no-eh-frame-hdr", &script];
    // The program relocates itself at its start. Packed, what it has to read for that is 2 kB and not 79.
    if var("HOST") == var("TARGET") && c_library().is_some_and(|version| version >= (2, 36)) {
        words.push("-Wl,-z,pack-relative-relocs");
    }
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        words.push("-Wl,-e,wharf_start"); // src/sys/early.rs
    }
    for word in words {
        println!("cargo::rustc-link-arg-bins={word}");
    }
}

/// The version of the C library that is linked; older than 2.36, its start-up code reads no packed relocations.
fn c_library() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?; // "glibc 2.36"
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
