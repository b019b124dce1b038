//! `wharf-runtime`.
fn main() {}
