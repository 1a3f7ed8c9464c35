//! What an agent's answers mean.

use crate::registry::consul::error::QueryError;
use crate::registry::consul::registration::actual::{ActualCheck, ActualService, AgentIdentity};
use crate::registry::consul::registration::definition::{Definition, Id};
use crate::registry::consul::registration::error::RegistrationError;
use crate::registry::consul::response::is_filtered;
use crate::registry::http::{CallFailure, HttpResponse};
use crate::util::excerpt::BodyExcerpt;

/// What came of a call.
type Result<T> = core::result::Result<T, RegistrationError>;
/// What came back from the host.
type Called<'a> = core::result::Result<HttpResponse<'a>, CallFailure>;

/// What has become of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// The agent has taken it.
    Taken,
    /// The agent does not have the check.
    Unknown,
}

/// Whether something was there to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Definition {
    /// Reads the answer to a registration.
    ///
    /// # Errors
    ///
    /// Everything but a 200.
    pub fn read_registered(&self, called: Called<'_>) -> Result<()> {
        self.read_ok(called).map(|_| ())
    }

    /// Reads what the agent has under the id; none: nothing.
    ///
    /// # Errors
    ///
    /// Everything but a 200 that can be read, and a 404 of the agent.
    pub fn read_found(&self, called: Called<'_>) -> Result<Option<ActualService>> {
        self.id.read_found(called, self.name(), self.token_env())
    }

    /// Reads which checks the agent has for the id.
    ///
    /// # Errors
    ///
    /// Everything but a 200 that can be read.
    pub fn read_found_checks(&self, called: Called<'_>) -> Result<Vec<ActualCheck>> {
        let response = self.read_ok(called)?;
        // What is hidden is not missing.
        if is_filtered(&response) {
            let (code, excerpt) = (response.status, BodyExcerpt::new(b"some checks are hidden"));
            let (token_env, service) = (self.token_env.clone(), self.name().to_owned());
            return Err(RegistrationError::Denied { code, excerpt, token_env, service });
        }
        ActualCheck::decode_all(response.body).ok_or_else(|| unreadable(&response))
    }

    /// Reads the answer to a report.
    ///
    /// # Errors
    ///
    /// Everything but a 200, and the words by which an agent says that it has no such check: those
    /// differ between versions (404 from 1.11 on, 500 before).
    pub fn read_reported(&self, called: Called<'_>) -> Result<Reported> {
        match called {
            Ok(response) if is_unknown_check(&response) => Ok(Reported::Unknown),
            called => self.read_ok(called).map(|_| Reported::Taken),
        }
    }

    fn read_ok<'a>(&self, called: Called<'a>) -> Result<HttpResponse<'a>> {
        self.id.read_ok(called, self.name(), self.token_env.as_deref())
    }
}

impl Id {
    /// Reads what the agent has under the id, of a service of that name; none: nothing.
    ///
    /// # Errors
    ///
    /// Everything but a 200 that can be read, and a 404 of the agent.
    pub fn read_found(
        &self,
        called: Called<'_>,
        service: &str,
        token_env: Option<&str>,
    ) -> Result<Option<ActualService>> {
        match called {
            Ok(response) if is_unknown(&response, b"unknown service") => Ok(None),
            called => {
                let response = self.read_ok(called, service, token_env)?;
                ActualService::decode(response.body).map(Some).ok_or_else(|| unreadable(&response))
            }
        }
    }

    /// Reads which agent it is that answers; none: the token may not know, or it does not say.
    ///
    /// # Errors
    ///
    /// Everything that the agent itself has not answered, or that it could not.
    pub fn read_identity(&self, called: Called<'_>) -> Result<Option<AgentIdentity>> {
        match self.read_ok(called, &self.id, None) {
            Ok(response) => Ok(AgentIdentity::decode(response.body)),
            Err(RegistrationError::Denied { .. } | RegistrationError::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the answer to a removal. What was not there is gone, too.
    ///
    /// # Errors
    ///
    /// Everything but a 200, a 404 of the agent, and its words that it has no such service.
    pub fn read_deregistered(&self, called: Called<'_>, token_env: Option<&str>) -> Result<Gone> {
        match called {
            Ok(response) if is_unknown(&response, b"unknown service") => Ok(Gone),
            called => self.read_ok(called, &self.id, token_env).map(|_| Gone),
        }
    }

    fn read_ok<'a>(
        &self,
        called: Called<'a>,
        service: &str,
        token_env: Option<&str>,
    ) -> Result<HttpResponse<'a>> {
        let response = called.map_err(|failure| {
            RegistrationError::Call(QueryError::of_failure(failure, &self.cluster))
        })?;
        if response.status == 200 && !response.from_envoy {
            return Ok(response);
        }
        let (code, excerpt) = (response.status, BodyExcerpt::new(response.body));
        if response.from_envoy {
            let cluster = self.cluster.clone();
            let error = QueryError::Unreachable { cluster, code, excerpt };
            return Err(RegistrationError::Call(error));
        }
        Err(match code {
            401 | 403 => RegistrationError::Denied {
                code,
                excerpt,
                token_env: token_env.map(str::to_owned),
                service: service.to_owned(),
            },
            429 | 500.. => RegistrationError::Call(QueryError::Status { code, excerpt }),
            _ => RegistrationError::Rejected { code, excerpt },
        })
    }
}

fn unreadable(response: &HttpResponse<'_>) -> RegistrationError {
    RegistrationError::Unreadable { excerpt: BodyExcerpt::new(response.body) }
}

fn is_unknown_check(response: &HttpResponse<'_>) -> bool {
    is_unknown(response, b"unknown check") || is_unknown(response, b"does not have associated ttl")
}

/// Whether the agent says that it does not have what was named.
fn is_unknown(response: &HttpResponse<'_>, words: &[u8]) -> bool {
    let says = || response.body.windows(words.len()).any(|part| part.eq_ignore_ascii_case(words));
    !response.from_envoy && matches!(response.status, 404 | 500) && says()
}
