//! The mistakes in a query that make Consul refuse it.

use core::fmt;

use crate::util::excerpt::BodyExcerpt;

/// A mistake in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// The filter is invalid or cannot be applied.
    Filter,
    /// Consul does not know the datacenter, or has no path to its servers.
    Datacenter,
    /// The prepared query of this name or id cannot be executed.
    Prepared(String),
}

impl Mistake {
    /// The words of Consul's errors that tell a mistake. Other text may stand around them,
    /// depending on the version and on agents that forward the error.
    const WORDS: [(&str, Self); 3] = [
        ("boolean expression evaluator", Self::Filter),
        ("filter expression", Self::Filter),
        ("No path to datacenter", Self::Datacenter),
    ];
    /// Words of errors that any query may meet, even a prepared one.
    const OF_CONSUL: [&str; 4] = ["leader", "Consul servers", "rpc error", "consistent reads"];

    /// Returns the mistake that an error response tells, if any. `prepared` is the name of the
    /// prepared query.
    pub(super) fn of(code: u16, excerpt: &BodyExcerpt, prepared: Option<&str>) -> Option<Self> {
        let text = excerpt.as_str();
        if !matches!(code, 400 | 500) || text.is_empty() {
            return None;
        }
        let known = Self::WORDS.into_iter().find(|(words, _)| text.contains(words));
        let is_of_consul = || Self::OF_CONSUL.iter().any(|words| text.contains(words));
        let prepared = || prepared.filter(|_| code == 500 && !is_of_consul());
        known.map(|(_, mistake)| mistake).or_else(|| Some(Self::Prepared(prepared()?.to_owned())))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter => f.write_str("mend the service's filter"),
            Self::Datacenter => f.write_str(
                "check the name of the datacenter, and that its servers are joined with the agent's",
            ),
            Self::Prepared(name) => write!(f, "mend the prepared query {name:?}, or what it finds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const FILTER: &str = "Failed to create boolean expression evaluator: 1:18 (17): no match found";

    fn of(code: u16, body: &str, prepared: Option<&str>) -> Option<Mistake> {
        Mistake::of(code, &BodyExcerpt::new(body.as_bytes()), prepared)
    }

    #[test]
    fn a_500_for_what_is_asked_is_the_querys_own_mistake() {
        let passed_on = format!("rpc error making call: {FILTER}");
        assert_eq!(of(500, FILTER, None), Some(Mistake::Filter));
        assert_eq!(of(500, &passed_on, Some("geo")), Some(Mistake::Filter));
        assert!(Mistake::Filter.to_string().contains("the service's filter"));
        assert_eq!(of(500, "No path to datacenter", None), Some(Mistake::Datacenter));
        assert_eq!(of(500, "something else", None), None);
        assert_eq!(of(503, FILTER, None), None);
    }

    #[test]
    fn a_prepared_query_that_fails_is_named_unless_consul_is_ill() {
        let geo = Some("geo");
        let failed = of(500, "Bad limit: parsing \"abc\": invalid syntax", geo);
        assert_eq!(failed, Some(Mistake::Prepared("geo".into())));
        let ill = ["No cluster leader", "rpc error getting client: EOF", ""];
        assert!(ill.iter().all(|body| of(500, body, geo).is_none()));
    }
}
