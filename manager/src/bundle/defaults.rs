//! What every container gets unless it asks otherwise; the values are Docker's, so that an image that
//! runs there finds the same world here.

use serde_json::{Value, json};

/// Bounding, effective and permitted capabilities.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The search path of an image that sets none.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Parts of /proc and /sys that tell of the host or act on it.
pub const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Parts of /proc that may be read and not written.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The kernel's file systems, in the order they nest.
pub fn mounts() -> Vec<Value> {
    [
        ("/proc", "proc", "proc", "nosuid noexec nodev"),
        ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "ro nosuid noexec nodev"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=67108864"),
    ]
    .into_iter()
    .map(|(destination, kind, source, options)| {
        let options: Vec<&str> = options.split(' ').collect();
        json!({ "destination": destination, "type": kind, "source": source, "options": options })
    })
    .collect()
}

/// Device access: nothing, then what every container has. The numbers are the kernel's
/// (Documentation/admin-guide/devices.txt).
pub fn device_rules() -> Value {
    let allow = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = json!({ "allow": true, "type": kind, "access": access });
        if let Some(major) = major {
            rule["major"] = json!(major);
        }
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    };
    json!([
        { "allow": false, "access": "rwm" },
        allow("c", None, None, "m"), // make any node, use none
        allow("b", None, None, "m"),
        allow("c", Some(1), Some(3), "rwm"), // null
        allow("c", Some(1), Some(5), "rwm"), // zero
        allow("c", Some(1), Some(7), "rwm"), // full
        allow("c", Some(1), Some(8), "rwm"), // random
        allow("c", Some(1), Some(9), "rwm"), // urandom
        allow("c", Some(5), Some(0), "rwm"), // tty
        allow("c", Some(5), Some(1), "rwm"), // console
        allow("c", Some(5), Some(2), "rwm"), // ptmx
        allow("c", Some(136), None, "rwm"), // pts
    ])
}
