//! The container manager: images become bundles, bundles become supervised containers. The layers,
//! from the words down: `cli` calls `engine`, one action per file; actions use `image`, `snapshot`,
//! `container` (records on disk) and start a `shim`, which makes the `bundle` and talks to the
//! `runtime`. `paths` and `error` serve all.

pub mod bundle;
pub mod cli;
pub mod container;
pub mod durable;
pub mod engine;
pub mod error;
pub mod image;
pub mod paths;
pub mod progress;
pub mod remove;
pub mod runtime;
pub mod shim;
pub mod snapshot;
pub mod tar;
