//! Envoy's retries of the requests of a route.

use serde_json::{Value, json};

/// The conditions of a retry if the method is safe: also if the connection broke before a response, as
/// it does for all requests at an instance that dies.
const ON_SAFE: &str = "connect-failure,refused-stream,reset";
/// The conditions of a retry of other methods: the request certainly was not processed.
pub(super) const ON_OTHERS: &str = "connect-failure,refused-stream,reset-before-request";
/// The most selections of Envoy's policy to find a host that has not been tried yet. Each selection is a
/// new draw: of two hosts `least_request` draws the dead one three times of four, since it has the
/// fewest requests. A draw costs nanoseconds.
const HOST_SELECTION_ATTEMPTS: u32 = 64;

/// Writes the `RetryPolicy` of requests whose method is safe: one retry, on another host. If the hosts are
/// of several datacenters, the retry goes to a datacenter that was not tried yet, as long as there is
/// one: else it would stay in the same datacenter, even if each host there was tried.
pub(super) fn policy(has_datacenters: bool) -> Value {
    let mut policy = json!({
        "retry_on": ON_SAFE,
        "num_retries": 1,
        "retry_back_off": { "base_interval": "0.001s", "max_interval": "0.001s" },
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": HOST_SELECTION_ATTEMPTS,
    });
    if let Value::Object(fields) = &mut policy
        && has_datacenters
    {
        let priority = json!({
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        });
        fields.insert("retry_priority".to_owned(), priority);
    }
    policy
}
