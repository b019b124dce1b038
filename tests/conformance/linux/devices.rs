//! config-linux.md: "Devices" and "Default Devices".

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use serde_json::{Value, json};

use crate::config::on_terminal;
use crate::container::{Container, inside, refused, required};

section! { SECTION = "config-linux.md" # "configLinuxDevices";
    "devices (array of objects, OPTIONAL) lists devices that MUST be available in the container." => [
        devices_of_every_type_are_there, device_may_be_anywhere_in_the_tree, device_has_mode_and_owner],
    "type (string, REQUIRED) - type of device: c, b, u or p." => [device_without_a_type_is_refused, unknown_device_type_is_refused],
    "path (string, REQUIRED) - full path to device inside container." => [device_without_a_path_is_refused],
    "If a file already exists at path that does not match the requested device, the runtime MUST generate an error." => [
        file_that_is_not_the_device_is_refused, device_that_is_there_already_is_fine],
    "major, minor (int64, REQUIRED unless type is p)" => [device_without_numbers_is_refused, fifo_needs_no_numbers],
    "The same type, major and minor SHOULD NOT be used for multiple devices." => ("binds the author of the bundle"),
}

section! { DEFAULTS = "config-linux.md" # "configLinuxDefaultDevices";
    "In addition to any devices configured with this setting, the runtime MUST also supply:" => [
        default_devices_work, ptmx_is_the_containers_own, console_is_the_terminal],
}

/// A config with one device.
fn one(device: &Value) -> impl Fn(&mut Value) + use<> {
    let device = device.clone();
    move |c| c["linux"]["devices"] = json!([device])
}

/// A second zero device, which every default rule lets through.
fn zero(path: &str) -> Value {
    json!({"path": path, "type": "c", "major": 1, "minor": 5, "fileMode": 0o644, "uid": 3, "gid": 4})
}

fn devices_of_every_type_are_there() {
    let out =
        inside("stat -c '%F %t:%T' /dev/c /dev/b /dev/u; stat -c %F /dev/p; head -c1 /dev/c | wc -c", |c| {
            c["linux"]["devices"] = json!([
                {"path": "/dev/c", "type": "c", "major": 1, "minor": 5},
                {"path": "/dev/b", "type": "b", "major": 7, "minor": 20},
                {"path": "/dev/u", "type": "u", "major": 1, "minor": 7},
                {"path": "/dev/p", "type": "p"},
            ]);
        });
    let (char, block) = ("character special file", "block special file");
    assert_eq!(out, format!("{char} 1:5\n{block} 7:14\n{char} 1:7\nfifo\n1\n"));
}

fn device_may_be_anywhere_in_the_tree() {
    let out =
        inside("stat -c %t:%T /srv/deep/zero; head -c1 /srv/deep/zero | wc -c", one(&zero("/srv/deep/zero")));
    assert_eq!(out, "1:5\n1\n");
}

/// The umask of the caller does not matter.
fn device_has_mode_and_owner() {
    let container = Container::shell("stat -c '%a %u %g' /dev/some", one(&zero("/dev/some")));
    assert_eq!(container.run_under("umask 077").ok(), "644 3 4\n");
}

fn device_without_a_type_is_refused() {
    required("/linux/devices/0/type", one(&zero("/dev/some")));
}

fn unknown_device_type_is_refused() {
    for kind in ["", "x", "char"] {
        refused(|c| {
            one(&zero("/dev/some"))(c);
            c["linux"]["devices"][0]["type"] = json!(kind);
        });
    }
}

fn device_without_a_path_is_refused() {
    required("/linux/devices/0/path", one(&zero("/dev/some")));
}

#[track_caller]
fn refused_over(name: &str, make: impl Fn(&std::path::Path)) {
    let container = Container::shell("true", one(&zero("/there")));
    let path = container.rootfs().join("there");
    make(&path);
    container.command(); // an ordinary user has the bundle from here on
    let before = path.symlink_metadata().unwrap();
    assert_ne!(container.create().code, 0, "accepted over {name}");
    container.is_gone();
    let after = path.symlink_metadata().unwrap();
    assert_eq!(
        (after.ino(), after.mode(), after.uid()),
        (before.ino(), before.mode(), before.uid()),
        "{name}"
    );
}

fn mknod(path: &std::path::Path, words: &[&str]) {
    let status = std::process::Command::new("mknod").arg(path).args(words).status().unwrap();
    assert!(status.success());
}

fn file_that_is_not_the_device_is_refused() {
    refused_over("a file", |path| std::fs::write(path, "kept").unwrap());
    refused_over("a folder", |path| std::fs::create_dir(path).unwrap());
    refused_over("another device", |path| mknod(path, &["c", "1", "3"]));
    refused_over("a device of another type", |path| mknod(path, &["b", "1", "5"]));
}

fn device_that_is_there_already_is_fine() {
    let container = Container::shell("head -c1 /there | wc -c", one(&zero("/there")));
    let path = container.rootfs().join("there");
    mknod(&path, &["c", "1", "5"]);
    assert_eq!(container.run().ok(), "1\n");
    assert!(path.metadata().unwrap().file_type().is_char_device());
}

fn device_without_numbers_is_refused() {
    required("/linux/devices/0/major", one(&zero("/dev/some")));
    required("/linux/devices/0/minor", one(&zero("/dev/some")));
}

fn fifo_needs_no_numbers() {
    let out =
        inside("echo through > /dev/pipe & cat /dev/pipe", one(&json!({"path": "/dev/pipe", "type": "p"})));
    assert_eq!(out, "through\n");
}

fn default_devices_work() {
    let out = inside(
        "cd /dev; stat -c '%n %F %t:%T %a' null zero full random urandom tty
         echo x > null; head -c3 zero | wc -c; echo x > full || echo no space
         head -c3 random | wc -c; head -c3 urandom | wc -c",
        |_| (),
    );
    let device = |name: &str, numbers: &str| format!("{name} character special file {numbers} 666\n");
    let nodes = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ];
    let nodes: String = nodes.iter().map(|(name, numbers)| device(name, numbers)).collect();
    assert_eq!(out, format!("{nodes}3\nno space\n3\n3\n"));
}

fn ptmx_is_the_containers_own() {
    let out = inside("[ /dev/ptmx -ef /dev/pts/ptmx ] && echo same; stat -L -c %t:%T /dev/ptmx", |_| ());
    assert_eq!(out, "same\n5:2\n");
}

fn console_is_the_terminal() {
    let out = on_terminal(
        "[ /dev/console -ef $(tty) ] && echo same; grep -c ' /dev/console ' /proc/self/mountinfo",
        |_| (),
    );
    assert_eq!(out, "same\n1\n");
    assert_eq!(inside("[ -e /dev/console ] || echo none", |_| ()), "none\n");
}
