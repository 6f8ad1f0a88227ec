//! The measurements of `npm run bench`: requests and virtual times on the simulated account, and the
//! release binary as a process.

#![recursion_limit = "256"]

pub mod binary;
pub mod quota;
pub mod workload;
