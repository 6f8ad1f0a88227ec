//! A strict AWS in the process, and histories that prove the invariants on it.

fn main() {}
