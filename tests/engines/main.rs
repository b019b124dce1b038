//! Engines drive containers through the runtime: containerd by `ctr` and as Kubernetes would, podman with conmon
//! for root and for an ordinary user, Docker with the runtime as its default and as a swarm of two nodes, and
//! Buildah. Each test has a machine of its own and asserts at its end that nothing is left on it.
//!
//! What the host can't do under the reference runtime either is skipped: said on standard error, with a count.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod buildah;
mod containerd;
mod cri;
mod docker;
mod image;
mod machine;
mod podman;
mod rootless;
mod skip;
mod swarm;
