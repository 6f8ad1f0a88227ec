//! Keeps Route 53 private hosted zones equal to what Amazon ECS and Elastic Load Balancing say.
//!
//! An invocation carries a *trigger*, which is only a hint at which services to look at. Their
//! present state is read into a *world*; from it follows what each service *desires*; comparing
//! that with the records that are there gives a *plan*; the plan is checked for deletes that
//! look like an accident; and what passes is applied as change batches that only ever CREATE
//! what is absent and DELETE exactly what was seen. If Route 53 refuses one, somebody was
//! faster: the world is read and planned again. Every service gets one *outcome*.
//!
//! The modules, in reading order. The pure ones do no I/O, so they cannot fail half-way:

pub mod config;
pub mod service;
pub mod tags;
pub mod trigger;

pub mod dns;
pub mod marker;
pub mod zone;

pub mod desired;
pub mod plan;
pub mod world;

pub mod report;

// The edges: one AWS service each, and what they share.
pub mod aws;
pub mod ecs;
pub mod elb;
pub mod elb_classic;
pub mod route53;

// The glue.
pub mod invocation;
pub mod measure;
pub mod reconcile;
