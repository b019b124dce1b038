//! Buildah builds an image from a Dockerfile, each RUN in a container of the runtime, and podman runs the result.

use wharf_tests::{Said, runtime_path};

use crate::image;
use crate::machine::Machine;
use crate::podman::say;

/// Two stages: one makes a program of sources with a cache and a secret, the other runs it as a user.
const DOCKERFILE: &str = r#"
FROM scratch AS build
ADD rootfs.tar /
ENV PATH=/bin
ARG WORD=nobody
SHELL ["/bin/sh", "-euc"]
WORKDIR /src
COPY program .
RUN --mount=type=cache,target=/cache echo kept > /cache/file && sed -i "s/WORD/$WORD/" program && chmod 755 program
RUN --mount=type=secret,id=key,target=/run/key test "$(cat /run/key)" = hidden
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && test ! -e /run/key
RUN test "$(id -u)" = 0 && ! mount -t tmpfs tmpfs /mnt 2>/dev/null && mkdir /out && cp program /out/

FROM scratch
ADD rootfs.tar /
ENV PATH=/bin GREETING=hello
COPY --from=build --chown=1000:1000 /out/program /usr/local/bin/program
RUN echo web:x:1001:1001::/home/web:/bin/sh >>/etc/passwd && mkdir -p /home/web && chown 1001:1001 /home/web
WORKDIR /home/web
USER web
RUN touch mine && test "$(stat -c %u:%g mine)" = 1001:1001
LABEL made=here
EXPOSE 80
ENTRYPOINT ["/usr/local/bin/program"]
CMD ["world"]
"#;

const PROGRAM: &str = "#!/bin/sh\necho $GREETING $1 from WORD as $(id -un) in $PWD\nls\n";

/// Buildah and podman over one store.
struct Builder {
    machine: Machine,
}

impl Builder {
    fn start() -> Builder {
        let mut machine = Machine::boot();
        image::make_tree(&machine);
        let config = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                      [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        for (name, text) in [
            ("Dockerfile", DOCKERFILE),
            ("program", PROGRAM),
            ("key", "hidden"),
            ("containers.conf", config),
            (".dockerignore", "*\n!program\n!rootfs.tar\n"),
        ] {
            std::fs::write(machine.path(name), text).unwrap();
        }
        let config = machine.text("containers.conf");
        machine.set("CONTAINERS_CONF", &config);
        Builder { machine }
    }

    fn run(&self, program: &str, words: &[&str]) -> Said {
        let [store, run] = ["store", "run"].map(|name| self.machine.text(name));
        self.machine.run(program, &[&["--root", &store, "--runroot", &run], words].concat())
    }
}

#[test]
fn buildah_builds_a_dockerfile_and_podman_runs_it() {
    let builder = Builder::start();
    let runtime = runtime_path();
    let with = ["--runtime", runtime.to_str().unwrap(), "--isolation", "oci", "--network", "none"];
    let what = [
        "--layers",
        "--format",
        "docker",
        "--build-arg",
        "WORD=wharf",
        "--secret",
        "id=key,src=key",
        "--tag",
        "web:1",
        ".",
    ];
    builder.run("buildah", &[&["build"], &with[..], &what].concat()).ok();
    // Nothing has changed: not one step runs again.
    let again = builder.run("buildah", &[&["build"], &with[..], &what].concat());
    assert!(again.code == 0 && again.out.contains("Using cache"), "{again:?}");

    let podman = |words: &[&str]| builder.run("podman", &[&with[..2], words].concat());
    let log = builder.machine.path("said.log");
    let run = say(podman, &log, &["--network", "none", "web:1"]);
    assert_eq!(run.out, "hello world from wharf as web in /home/web\nmine\n", "{run:?}");
    let other = say(podman, &log, &["--network", "none", "--env", "GREETING=bye", "web:1", "moon"]);
    assert!(other.out.starts_with("bye moon from wharf"), "{other:?}");

    let container = builder.run("buildah", &["from", "web:1"]).ok().trim().to_owned();
    let words = [container.as_str(), "--", "sh", "-c", "echo $PWD; exit 5"];
    let run = builder.run("buildah", &[&["run"], &with[..], &words].concat());
    assert_eq!((run.code, run.out.as_str()), (5, "/home/web\n"), "{run:?}");
    builder.run("buildah", &["rm", &container]).ok();
    let wrong = "FROM web:1\nUSER root\nRUN exit 6\n";
    std::fs::write(builder.machine.path("Dockerfile"), wrong).unwrap();
    let wrong = builder.run("buildah", &[&["build"], &with[..], &["."]].concat());
    assert!(wrong.code == 6 && wrong.err.contains("exit status 6"), "{wrong:?}");
    builder.machine.assert_nothing_left(&["/libpod_parent", "/libpod_parent/conmon", "/store/overlay"]);
}
