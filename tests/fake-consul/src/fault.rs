//! How the agent misbehaves on command.

use std::time::Duration;

/// One way to misbehave. Several can be in force at a time; those that only change an answer add
/// up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers later.
    Delay(Duration),
    /// Answers at once with this status and body, without blocking; what is not a `GET` is not
    /// done.
    Status(u16, String),
    /// Answers at once with 200 and this body, without blocking.
    Body(Vec<u8>),
    /// Cuts the connection (RST) at once instead of answering.
    ResetBeforeHeaders,
    /// Cuts the connection (RST) after the headers.
    ResetAfterHeaders,
    /// Cuts the connection (RST) after half the body.
    ResetMidBody,
    /// Closes the connection (FIN) after half the body.
    Truncate,
    /// Sends the body byte by byte with this time between.
    Drip(Duration),
    /// The body is `[]`, whatever is registered.
    Empty,
    /// `X-Consul-Index` is this.
    Index(u64),
    /// There is no `X-Consul-Index`.
    NoIndex,
    /// There is another header, such as newer Consuls send.
    Header(String, String),
    /// Takes a registration only in part, and answers as if it were whole.
    Registration(Lapse),
}

/// What a registration over HTTP leaves undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lapse {
    /// The instance is there, and has none of these checks; without any named, no check at all.
    Checks(Vec<String>),
    /// An instance that is there already keeps its address and port.
    Address,
    /// Nothing is registered.
    Everything,
}

impl Lapse {
    /// Whether it leaves a check out.
    pub fn drops(&self, check_id: &str) -> bool {
        match self {
            Self::Checks(named) => named.is_empty() || named.iter().any(|id| id == check_id),
            Self::Address | Self::Everything => false,
        }
    }
}

impl Fault {
    /// Whether the answer does not wait for a change.
    fn is_immediate(&self) -> bool {
        matches!(self, Self::Status(..) | Self::Body(_) | Self::ResetBeforeHeaders)
    }
}

/// Which requests a fault befalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Health queries for this service.
    Service(String),
    /// Requests whose path begins with this.
    Path(String),
}

impl Scope {
    fn covers(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Service(name) => {
                path.strip_prefix("/v1/health/service/").is_some_and(|rest| rest == name)
            }
            Self::Path(prefix) => path.starts_with(prefix.as_str()),
        }
    }
}

/// How often a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Until [`Agent::behave`](super::Agent::behave).
    Always,
    /// The next so many answers.
    Next(u32),
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<(Scope, Fault, Times)>,
}

impl Faults {
    pub fn add(&mut self, scope: Scope, fault: Fault, times: Times) {
        self.rules.push((scope, fault, times));
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Whether the answer to a request for `path` is to be given at once.
    pub fn answers_at_once(&self, path: &str) -> bool {
        self.rules.iter().any(|(scope, fault, _)| scope.covers(path) && fault.is_immediate())
    }

    /// Whether a call to change something at `path` is to be refused instead of done.
    pub fn refuse(&self, path: &str) -> bool {
        let refuses = |fault: &Fault| matches!(fault, Fault::Status(..));
        self.rules.iter().any(|(scope, fault, _)| scope.covers(path) && refuses(fault))
    }

    /// The faults that befall an answer given now; each counts.
    pub fn take(&mut self, path: &str) -> Vec<Fault> {
        self.take_those(path, |fault| !matches!(fault, Fault::Registration(_)))
    }

    /// What a registration taken now leaves undone; each counts.
    pub fn take_lapses(&mut self, path: &str) -> Vec<Lapse> {
        let taken = self.take_those(path, |fault| matches!(fault, Fault::Registration(_)));
        let lapses = taken.into_iter().filter_map(|fault| match fault {
            Fault::Registration(lapse) => Some(lapse),
            _ => None,
        });
        lapses.collect()
    }

    fn take_those(&mut self, path: &str, wanted: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let mut taken = Vec::new();
        self.rules.retain_mut(|(scope, fault, times)| {
            if !scope.covers(path) || !wanted(fault) {
                return true;
            }
            match times {
                Times::Always => {}
                Times::Next(0) => return false,
                Times::Next(left) => *left -= 1,
            }
            taken.push(fault.clone());
            *times != Times::Next(0)
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_for_the_next_answers_counts_down_on_its_own_scope_only() {
        let mut faults = Faults::default();
        faults.add(Scope::Service("web".into()), Fault::Empty, Times::Next(2));
        assert!(faults.take("/v1/health/service/api").is_empty());
        assert_eq!(faults.take("/v1/health/service/web"), [Fault::Empty]);
        assert_eq!(faults.take("/v1/health/service/web"), [Fault::Empty]);
        assert!(faults.take("/v1/health/service/web").is_empty());
    }

    #[test]
    fn what_a_registration_leaves_undone_is_no_fault_of_an_answer() {
        let path = "/v1/agent/service/register";
        let mut faults = Faults::default();
        faults.add(Scope::All, Fault::Registration(Lapse::Address), Times::Next(1));
        assert!(faults.take(path).is_empty());
        assert_eq!(faults.take_lapses(path), [Lapse::Address]);
        assert!(faults.take_lapses(path).is_empty());
        assert!(Lapse::Checks(Vec::new()).drops("a"));
        let named = Lapse::Checks(vec!["a".to_owned()]);
        assert!(named.drops("a") && !named.drops("b"));
    }

    #[test]
    fn faults_add_up_until_cleared() {
        let mut faults = Faults::default();
        faults.add(Scope::All, Fault::Empty, Times::Always);
        faults.add(Scope::Path("/v1/health".into()), Fault::Index(3), Times::Always);
        assert_eq!(faults.take("/v1/health/service/web"), [Fault::Empty, Fault::Index(3)]);
        assert_eq!(faults.take("/v1/agent/self"), [Fault::Empty]);
        faults.clear();
        assert!(faults.take("/v1/agent/self").is_empty());
    }
}
