//! The image that the engines run: a static busybox with all its names, made on the spot.

use wharf_tests::fill_rootfs;

use crate::machine::Machine;

/// What it is called.
pub const IMAGE: &str = "docker.io/library/box:1";

/// Its root file system as `rootfs.tar`, and the text of that path.
pub fn make_tree(machine: &Machine) -> String {
    fill_rootfs(&machine.path("rootfs"));
    machine.run("tar", &["-C", "rootfs", "-cf", "rootfs.tar", "."]).ok();
    machine.text("rootfs.tar")
}

/// The image as an OCI archive, and the text of its path.
pub fn make_archive(machine: &Machine) -> String {
    make_tree(machine);
    let umoci = |line: &str| machine.run("umoci", &line.split(' ').collect::<Vec<_>>()).ok();
    umoci("init --layout layout");
    umoci("new --image layout:box");
    umoci("unpack --image layout:box bundle");
    machine.run("tar", &["-C", "bundle/rootfs", "-xf", "rootfs.tar"]).ok();
    umoci("repack --image layout:box bundle");
    umoci("config --image layout:box --config.env PATH=/bin --config.cmd sh");
    machine.run("skopeo", &["copy", "-q", "oci:layout:box", &format!("oci-archive:image.tar:{IMAGE}")]).ok();
    machine.text("image.tar")
}
