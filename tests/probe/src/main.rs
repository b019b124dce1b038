//! The in-container probe.
fn main() {}
