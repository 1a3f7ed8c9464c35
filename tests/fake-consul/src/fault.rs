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
    /// The body is `[]`, whatever is registered.
    Empty,
    /// `X-Consul-Index` is this.
    Index(u64),
    /// There is no `X-Consul-Index`.
    NoIndex,
    /// There is another header, such as newer Consuls send.
    Header(String, String),
    /// Takes a registration without its checks, and answers as if it were whole.
    WithoutChecks,
}

impl Fault {
    /// Whether the answer does not wait for a change.
    fn is_immediate(&self) -> bool {
        matches!(self, Self::Status(..) | Self::Body(_))
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

    /// Takes the faults that befall an answer given now; each counts.
    pub fn take(&mut self, path: &str) -> Vec<Fault> {
        self.take_those(path, |fault| *fault != Fault::WithoutChecks)
    }

    /// Whether a registration taken now is to lose its checks; that counts.
    pub fn take_checks_away(&mut self, path: &str) -> bool {
        !self.take_those(path, |fault| *fault == Fault::WithoutChecks).is_empty()
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
    fn counted_fault_counts_down_in_its_own_scope_only() {
        let mut faults = Faults::default();
        faults.add(Scope::Service("web".into()), Fault::Empty, Times::Next(2));
        assert!(faults.take("/v1/health/service/api").is_empty());
        assert_eq!(faults.take("/v1/health/service/web"), [Fault::Empty]);
        assert_eq!(faults.take("/v1/health/service/web"), [Fault::Empty]);
        assert!(faults.take("/v1/health/service/web").is_empty());
    }

    #[test]
    fn a_registration_without_checks_is_no_fault_of_an_answer() {
        let path = "/v1/agent/service/register";
        let mut faults = Faults::default();
        faults.add(Scope::All, Fault::WithoutChecks, Times::Next(1));
        assert!(faults.take(path).is_empty());
        assert!(faults.take_checks_away(path));
        assert!(!faults.take_checks_away(path));
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
