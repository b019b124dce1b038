//! Containers as folders on disk: what was asked (`record.json`, written once), what runs
//! (`state.json`, by the shim) and how it ended (`exit.json`, by the shim). Status is derived from
//! these and from the world at each look; it is stored nowhere, so it can't be stale.

pub mod name;
pub mod record;
pub mod store;
pub mod time;
