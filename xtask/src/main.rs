//! Development tasks: `cargo xtask sim|bench|check`.
fn main() {}
