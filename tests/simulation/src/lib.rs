//! Simulates AWS in one process, and plays generated histories that check the handler's invariants.
//!
//! A [seed](history::History::of) gives an account, the acts of people in it, and the [faults](faults). The
//! [runner] delivers the events of these acts to the real handlers, which call the simulated
//! [account] through the real SDK on virtual time. The [invariants] are checked after every change that
//! Route 53 applies and at the end of the history. The [oracle] computes the expected records without the
//! handler's code.

// The futures of concurrent SDK calls nest deeper than the compiler follows by default.
#![recursion_limit = "256"]

// The simulated AWS.
pub mod account;
pub mod connector;
pub mod faults;
pub mod lambda;
pub mod queue;
pub mod route53;
pub mod state;
pub mod virtual_time;

// The histories.
pub mod acts;
pub mod history;
pub mod invariants;
pub mod oracle;
pub mod runner;
pub mod shrink;
