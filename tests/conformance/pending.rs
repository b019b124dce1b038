//! The cases that wharf-runtime does not pass yet. One that passes and is listed is an error, so the list can only
//! shrink.

/// Names of cases.
pub const PENDING: &[&str] = &[];
