//! What the benchmark measures: requests and virtual time on the simulated account, and the release
//! binary as a process.

#![recursion_limit = "256"]

pub mod binary;
pub mod workload;
