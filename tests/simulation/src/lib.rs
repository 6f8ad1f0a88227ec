//! A strict AWS in the process, and histories that prove the invariants on it.
//!
//! A seed makes a world, what people do in it, how the events of that travel, and what goes wrong on
//! the way. The real handlers answer, through the real SDK, on virtual time. After every change that
//! Route 53 applies, and when a history is over, the invariants are checked.

// The futures of concurrent SDK calls nest deeper than the compiler follows by default.
#![recursion_limit = "256"]

pub mod account;
pub mod faults;
pub mod route53;

pub mod history;
pub mod invariants;
pub mod lambda;
pub mod oracle;
pub mod runner;
pub mod shrink;
pub mod virtual_time;
