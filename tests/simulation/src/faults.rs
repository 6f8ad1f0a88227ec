//! The faults that the simulation injects, and the choice of the fault that one request meets.
//!
//! Stale reads and small pages are in [`state`](crate::state), lost and repeated events in
//! [`history`](crate::history), ended invocations in [`lambda`](crate::lambda).

use crate::account::{Reply, xml_error};
use crate::connector::Request;
use crate::state::Simulation;

/// How often each fault happens, in thousandths of all requests. After `until_ms` nothing fails.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub until_ms: u64,
    /// The longest way of a request, and of its response.
    pub latency_ms: u64,
    /// Replaces `latency_ms`: the time of every request together with its response.
    pub steady_ms: Option<u64>,
    pub throttled: u32,
    /// The only operation that is throttled. `None` for all of them.
    pub throttled_operation: Option<String>,
    pub server_errors: u32,
    /// Connections that break before the request is carried out.
    pub dropped_before: u32,
    /// Connections that break after the request was carried out.
    pub dropped_after: u32,
    /// Requests that get no response.
    pub hanging: u32,
    /// Responses that end early.
    pub truncated: u32,
    /// Invocations that Lambda ends, in thousandths of all invocations.
    pub killed: u32,
    /// Limits the size of all pages.
    pub max_page: Option<usize>,
    /// The greatest age of the state that ECS describes.
    pub stale_ms: u64,
    /// The age of the record sets that Route 53 lists.
    pub list_lag_ms: u64,
    /// The longest time until a creation or a deletion is visible in ECS.
    pub visible_ms: u64,
    /// Services and clusters that ECS does not find once, although they exist.
    pub not_found: u32,
    /// Answers that lack a service or a field.
    pub incomplete: u32,
    /// A permission that the handler lacks.
    pub denied: Option<Denied>,
}

impl Faults {
    fn can_throttle(&self, request: &Request) -> bool {
        self.throttled_operation.as_ref().is_none_or(|only| *only == request.operation)
    }
}

/// Why Route 53 never accepts a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The answer names no change.
    Unexplained,
    /// The answer names the record sets, as if another service of AWS managed them.
    Protected,
    /// The answer is that the request is invalid.
    InvalidInput,
}

/// A permission that somebody withdraws at some time. Until then the handler registers services.
#[derive(Clone, Debug)]
pub struct Denied {
    pub operation: String,
    /// `None` for all subjects.
    pub subject: Option<Subject>,
    pub from_ms: u64,
    /// Whether it is still withdrawn after all other faults have ended.
    pub is_permanent: bool,
}

#[derive(Clone, Debug)]
pub enum Subject {
    Cluster(String),
    Zone(String),
    /// A name in any zone, with the last dot.
    Name(String),
}

impl Subject {
    pub(crate) fn is_in(&self, request: &Request) -> bool {
        match self {
            Subject::Cluster(name) => request.body.contains(&format!("\"cluster\":\"{name}\"")),
            Subject::Zone(id) => request.path.contains(&format!("hostedzone/{id}/")),
            Subject::Name(name) => {
                request.body.contains(&format!("<Name>{}</Name>", name.trim_end_matches('.')))
            }
        }
    }
}

/// The course of one request.
pub(crate) enum Fate {
    Fine,
    /// The service replies without carrying out the request.
    Rejected(Reply),
    DroppedBefore,
    DroppedAfter,
    Hanging,
    Truncated,
}

impl Fate {
    /// Draws the fate of a request.
    pub(crate) fn of(request: &Request, simulation: &mut Simulation) -> Fate {
        let faults = simulation.faults.clone();
        let (counted, fate) = if simulation.is_denied(request) {
            let denied = if request.is_ecs() || request.is_sqs() {
                (400, r#"{"__type":"AccessDeniedException","message":"not authorized"}"#.into())
            } else {
                xml_error(403, "AccessDenied", "not authorized")
            };
            let subject = faults.denied.as_ref().and_then(|denied| denied.subject.as_ref());
            let counted = match subject {
                None => "requests denied",
                Some(Subject::Cluster(_)) => "requests denied for one cluster",
                Some(Subject::Zone(_)) => "requests denied for one zone",
                Some(Subject::Name(_)) => "requests denied for one name",
            };
            (counted, Fate::Rejected(denied))
        } else if faults.can_throttle(request) && simulation.happens(faults.throttled) {
            ("requests throttled", Fate::Rejected(request.throttled()))
        } else if simulation.happens(faults.server_errors) {
            let body =
                "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>";
            ("server errors", Fate::Rejected((503, body.into())))
        } else if simulation.happens(faults.dropped_before) {
            ("connections dropped before the request", Fate::DroppedBefore)
        } else if simulation.happens(faults.dropped_after) {
            ("connections dropped after the request", Fate::DroppedAfter)
        } else if simulation.happens(faults.hanging) {
            ("requests without a response", Fate::Hanging)
        } else if simulation.happens(faults.truncated) {
            ("responses truncated", Fate::Truncated)
        } else {
            return Fate::Fine;
        };
        simulation.count(counted);
        fate
    }
}
