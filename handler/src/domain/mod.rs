//! All decisions. Nothing in this folder does I/O, is asynchronous, reads the clock, the environment or
//! the network, or logs. A test checks every file in this folder.
//!
//! In reading order:

// The environment and its services.
pub mod config;
pub mod service;
pub mod tags;

// From the payload to the services that a run looks at.
pub mod delivery;
pub mod deployment;
pub mod event;
pub mod request;
pub mod trigger;

// The records of a zone.
pub mod dns;
pub mod marker;
pub mod soa;
pub mod zone;

// From the observed world to the checked plan.
pub mod check;
pub mod desired;
pub mod plan;
pub mod search;
pub mod world;

// Two versions at once.
pub mod generation;

// The answer.
pub mod report;

#[cfg(test)]
pub(crate) mod fixtures;
