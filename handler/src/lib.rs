//! Keeps Route 53 private hosted zones equal to the services of Amazon ECS and their load balancers.
//!
//! An invocation carries a *trigger*, which selects the services to read. The run *observes* the present state of those services as a [`World`](domain::world::World), derives the
//! *desired* record of each service, and compares it with the zone's *current* records. The result is a
//! *plan*. A *check* removes deletions that look like an accident. The remaining changes are *applied* in
//! batches that only ever CREATE a record that must not exist, or DELETE exactly the record that was read.
//! If Route 53 refuses a change, the zone changed after it was read, so the run reads and plans again. Every
//! service gets one *outcome*.
//!
//! [`domain`] makes all decisions and does no I/O. [`aws`] contains one module for each API. The other modules
//! connect the two.

pub mod aws;
pub mod domain;

pub mod invocation;
pub mod log;
pub mod metrics;
pub mod reconcile;
mod turns;

mod apply;
mod observe;
