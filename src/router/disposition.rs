//! The outcome of a request.

use std::rc::Rc;

use crate::model::service::ServiceId;
use crate::router::forward::Forward;
use crate::router::reply::Reply;

/// The outcome of a request. The router decides it, the request handler applies it to the request, and
/// the HTTP context obeys it.
#[derive(Debug)]
#[must_use]
pub enum Disposition {
    /// The request belongs to no service, and goes on untouched.
    Pass,
    /// The request goes to an endpoint, and counts there until the forward is dropped.
    Forward(Forward),
    /// The filter replies.
    Reply(Rc<Reply>),
    /// The request waits until its service can be decided.
    Wait {
        /// The service, which has never been resolved.
        service: ServiceId,
        /// The reply when the wait takes too long.
        reply: Rc<Reply>,
    },
}
