//! Whose words the agent speaks, where Consul's releases differ.

/// A release of Consul, and those after it up to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// 1.8, against which the contract tests run.
    #[default]
    V1_8,
    /// 1.17: what is not registered is 404 (since 1.12), where 1.8 says 500 or says nothing,
    /// services name their datacenter, and there are more fields.
    V1_17,
}

impl Release {
    /// What it says to a report on a check that is not there (`known`: that is none with a TTL).
    pub fn no_such_report(self, check_id: &str, known: bool) -> (u16, String) {
        match self {
            Self::V1_17 if !known => unknown_check(check_id),
            _ => (500, format!("CheckID {check_id:?} does not have associated TTL")),
        }
    }

    /// What it says to one who removes a check that is not there; nothing before 1.12.
    pub fn no_such_check(self, check_id: &str) -> Option<(u16, String)> {
        (self == Self::V1_17).then(|| unknown_check(check_id))
    }

    /// What it says to one who removes an instance that is not there; nothing before 1.12.
    pub fn no_such_service(self, id: &str) -> Option<(u16, String)> {
        let advice = "Ensure that the service ID is passed, not the service name.";
        (self == Self::V1_17).then(|| (404, format!("Unknown service ID {id:?}. {advice}")))
    }

    /// Whether an agent's services name their datacenter.
    pub fn names_datacenter(self) -> bool {
        self == Self::V1_17
    }

    /// Whether registrations may have the fields that came after 1.8.
    pub fn knows_more_fields(self) -> bool {
        self == Self::V1_17
    }
}

fn unknown_check(id: &str) -> (u16, String) {
    let advice = "Ensure that the check ID is passed, not the check name.";
    (404, format!("Unknown check ID {id:?}. {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_release_tells_a_check_that_is_not_there_from_one_without_a_ttl() {
        let without_ttl = (500, r#"CheckID "a" does not have associated TTL"#.to_owned());
        assert_eq!(Release::V1_8.no_such_report("a", false), without_ttl);
        assert_eq!(Release::V1_17.no_such_report("a", true), without_ttl);
        let (status, text) = Release::V1_17.no_such_report("a", false);
        assert!(status == 404 && text.starts_with(r#"Unknown check ID "a". "#), "{status} {text}");
        assert_eq!(Release::V1_8.no_such_service("a"), None);
    }
}
