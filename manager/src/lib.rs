//! The container manager: images become bundles, bundles become supervised containers. The layers,
//! from the words down: `cli` calls `engine`, one action per file; actions use `image` and
//! `snapshot`. `paths` and `error` serve all.

pub mod error;
pub mod image;
pub mod paths;
