//! What the caller hands over and gets back: descriptors of socket activation, a pidfd, readiness.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;
use wharf_tests::{Said, Sandbox, is_ours};

/// Runs a script that ends in `exec "$@"`, with a verb of the runtime as arguments.
fn run_by(sandbox: &Sandbox, script: &str, arguments: &[&str]) -> Said {
    let verb = sandbox.command();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(verb.get_program()).args(verb.get_args()).args(arguments);
    command.output().unwrap().into()
}

/// sd_listen_fds(3): they are 3 and up, LISTEN_PID is the program's own PID.
#[test]
fn descriptors_of_socket_activation_reach_the_program_before_the_preserved_ones() {
    let script = "cat <&3; cat <&4; cat <&5; echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)); ls /proc/self/fd | wc -l";
    let sandbox = Sandbox::shell(script, |_| ());
    for name in ["a", "b", "c"] {
        std::fs::write(sandbox.bundle().join(name), format!("{name}\n")).unwrap();
    }
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    let around = format!(
        "cd {bundle}; exec 3<a 4<b 5<c 6<a; LISTEN_FDS=2 LISTEN_FDNAMES=x:y LISTEN_PID=$$; \
         export LISTEN_FDS LISTEN_FDNAMES LISTEN_PID; exec \"$@\""
    );
    let arguments = ["run", "--preserve-fds", "1", "--bundle", &bundle, &sandbox.id];
    let out = run_by(&sandbox, &around, &arguments).ok();
    if is_ours() {
        assert_eq!(out, "a\nb\nc\n2 x:y 0\n7\n"); // 0 to 5, and the folder that ls reads
    }
}

#[test]
fn descriptor_that_is_announced_and_closed_is_an_error() {
    let sandbox = Sandbox::shell("true", |_| ());
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    let arguments = ["run", "--preserve-fds", "2", "--bundle", &bundle, &sandbox.id];
    let said = run_by(&sandbox, "exec 3</dev/null 4<&-; exec \"$@\"", &arguments);
    assert_ne!(said.code, 0);
    sandbox.assert_nothing_left();
}

/// One message from whoever connects next: the descriptors with it, and its text.
pub fn receive(listener: &UnixListener) -> (Vec<OwnedFd>, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut text = vec![0; 1 << 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut buffer = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut buffer, RecvFlags::empty()).unwrap();
    text.truncate(received.bytes);
    let fds = buffer.drain().flat_map(|part| match part {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    (fds.collect(), text)
}

#[test]
fn pidfd_socket_gets_the_pidfd_of_init_and_of_exec() {
    if !is_ours() {
        return; // runc has it since 1.2
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    let (bundle, socket) = (sandbox.bundle().to_str().unwrap(), path.to_str().unwrap());
    sandbox.verb(&["create", "--pidfd-socket", socket, "--bundle", bundle, &sandbox.id]).ok();
    let init = receive(&listener).0.remove(0);
    let pid = format!("Pid:\t{}", sandbox.state()["pid"]);
    let refers_to =
        |fd: &OwnedFd| std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    assert!(refers_to(&init).contains(&pid), "{}", refers_to(&init));
    sandbox.verb(&["start", &sandbox.id]).ok();
    sandbox.verb(&["exec", "--detach", "--pidfd-socket", socket, &sandbox.id, "sleep", "1000"]).ok();
    assert!(!refers_to(&receive(&listener).0[0]).contains(&pid));
}

/// sd_notify(3): `start` is over when the program says that it is ready, and the manager hears of its PID.
#[test]
fn start_waits_for_readiness_and_tells_the_service_manager() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    // busybox has no client for such sockets, so the test itself speaks for the program, through its root.
    let sandbox = Sandbox::shell("echo $NOTIFY_SOCKET; sleep 1000", |_| ());
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    let mut create = sandbox.command();
    create.env("NOTIFY_SOCKET", &path).args(["create", "--bundle", &bundle, &sandbox.id]);
    let out = std::fs::File::create(sandbox.bundle().join("stdout")).unwrap();
    assert!(create.stdout(out).status().unwrap().success());
    let mut start = sandbox.command();
    start.env("NOTIFY_SOCKET", &path).args(["start", &sandbox.id]);
    let mut start = start.spawn().unwrap();
    let shown = || std::fs::read_to_string(sandbox.bundle().join("stdout")).unwrap();
    wharf_tests::wait_until("the program's first line", || shown().ends_with('\n'));
    assert!(start.try_wait().unwrap().is_none(), "start did not wait");
    let pid = sandbox.state()["pid"].to_string();
    let inside = format!("/proc/{pid}/root{}", shown().trim());
    UnixDatagram::unbound().unwrap().send_to(b"STATUS=soon\nREADY=1", inside).unwrap();
    let mut message = [0; 256];
    let length = manager.recv(&mut message).unwrap();
    let text = String::from_utf8_lossy(&message[..length]).into_owned();
    assert!(text.contains("READY=1"), "{text}");
    if is_ours() {
        assert!(text.contains(&format!("MAINPID={pid}")), "{text}");
    }
    assert!(start.wait().unwrap().success());
}

#[test]
fn program_reads_no_notify_socket_where_there_is_no_manager() {
    let sandbox = Sandbox::shell("echo $NOTIFY_SOCKET", |c| {
        c["process"]["env"].as_array_mut().unwrap().push(json!("OTHER=1"));
    });
    assert_eq!(sandbox.run().ok(), "\n");
}
