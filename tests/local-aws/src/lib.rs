//! The whole system on one machine, for whoever wants to see it and for the scenarios.
//!
//! [`LocalAws`](local_aws::LocalAws) starts MiniStack; [`deploy`] puts the real stacks on it
//! with the real CDK; the [`relay`] stands in for CloudTrail's delivery to EventBridge, the one
//! thing that MiniStack lacks; [`dns`] answers as the resolver of each VPC would; and a
//! [`fleet`] of load balancers and services is made through the APIs that a user would call.
//! A [`stage`] is all of that together, and [`story`] is what `npm start` shows on it.

pub mod demo;
pub mod deploy;
pub mod fixtures;
pub mod ministack;
pub mod relay;
pub mod resolver;
pub mod system;
