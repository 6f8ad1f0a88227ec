//! A strict AWS in the process, and histories that prove the invariants on it.
//!
//! A seed makes a world, what people do in it, how the events of that travel, and what goes wrong on
//! the way. The real handlers answer, through the real SDK, on virtual time. After every change that
//! Route 53 applies, and when a history is over, the invariants are checked.

// The futures of concurrent SDK calls nest deeper than the compiler follows by default.
#![recursion_limit = "256"]

pub mod cloud;
pub mod route53;
pub mod weather;

pub mod container;
pub mod history;
pub mod oracle;
pub mod play;
pub mod proof;
pub mod shrink;

pub mod load;
pub mod process;
