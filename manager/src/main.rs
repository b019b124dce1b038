//! `wharf`.
fn main() {}
