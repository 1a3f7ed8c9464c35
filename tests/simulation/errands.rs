//! Calls for registrations on their way.

use consul_resolver::calls::caller::CallId;
use consul_resolver::registry::http::{CallFailure, HttpRequest, Refusal};
use consul_resolver::util::rng::Rng;

use crate::consul::{Consul, Outcome};
use crate::replies::{Ask, Reply, broken, failed};
use crate::vm::ContextId;
use crate::weather::Failure;

const SECOND: u64 = 1_000_000;

impl Consul {
    /// Takes a call for a registration. It is carried out when it comes, whatever becomes of the
    /// answer; one that fails may have been carried out, or not.
    pub fn errand(
        &mut self,
        from: ContextId,
        call: CallId,
        request: &HttpRequest,
        now: u64,
        rng: &mut Rng,
    ) -> Result<Option<Outcome>, CallFailure> {
        let timeout = now + u64::try_from(request.timeout.as_micros()).expect("a short time");
        let ask = Ask {
            from,
            call,
            source: 0,
            is_executed: false,
            is_polled: false,
            index: None,
            timeout,
        };
        if rng.below(100) < self.weather.refused {
            return Err(CallFailure::Refused(Refusal::NoCapacity));
        }
        let is_failing = rng.below(100) < self.weather.failing_share;
        let failure = self.weather.failing.filter(|_| is_failing && !self.weather.failing_blocking);
        let is_carried_out = failure.is_none() || rng.below(2) == 0;
        let (status, body) = match is_carried_out {
            true => self.registry.call(request, now),
            false => (500, String::new()),
        };
        if rng.below(100) < self.weather.vanished {
            return Ok(None);
        }
        let mut at = now.max(self.weather.stalled_until) + 200 + u64::from(rng.below(5_000));
        if self.weather.slow {
            at += u64::from(rng.below(20)) * SECOND / 2;
        }
        let content = |body: &str| Reply {
            status: Some(status),
            body: body.as_bytes().to_vec(),
            ..broken(&ask)
        };
        if rng.below(100) < self.weather.late {
            let late = timeout + u64::from(rng.below(120)) * SECOND;
            return Ok(Some(Outcome::Reply(late, content(&body))));
        }
        let reply = match failure {
            _ if at > timeout => failed(&ask, 504, b""),
            Some(Failure::Breaks) => broken(&ask),
            Some(Failure::Status(status)) => failed(&ask, status, b"No cluster leader"),
            Some(Failure::Truncated) => {
                let end = body.len().saturating_sub(1);
                content(body.get(..end).unwrap_or_default())
            }
            None | Some(Failure::NoIndex | Failure::Filtered) => content(&body),
        };
        Ok(Some(Outcome::Reply(at.min(timeout), reply)))
    }
}
