//! The whole system on one machine, for the scenarios and for `npm start`.
//!
//! [`ministack`] starts the emulator of AWS, and [`deploy`] deploys the real stacks to it with the CDK.
//! The [`relay`] takes the place of CloudTrail's delivery to EventBridge, which the emulator does not have.
//! A [`resolver`] answers DNS queries for each VPC. [`fixtures`] creates load balancers, services and records.
//! [`system`] combines all of this, and [`demo`] shows it.

pub mod api;
pub mod arguments;
pub mod demo;
pub mod deploy;
pub mod fixtures;
pub mod ministack;
pub mod outcomes;
pub mod playground;
pub mod relay;
pub mod resolver;
pub mod system;
pub mod terminal;
