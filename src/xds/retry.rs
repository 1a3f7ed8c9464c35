//! How Envoy retries what a route could not get answered.

use serde_json::{Value, json};

/// When a request whose method is safe is retried: also where the connection broke before an
/// answer, as with all that are at an instance that dies.
const ON_SAFE: &str = "connect-failure,refused-stream,reset";
/// When any other is: where it certainly was not processed.
pub(super) const ON_OTHERS: &str = "connect-failure,refused-stream,reset-before-request";
/// How often Envoy's policy selects again, to find a host that has not been tried yet. It draws anew
/// each time: with two hosts of which one is dead, `least_request` prefers the dead one, since it has
/// the fewest requests, and draws it three times of four. A draw costs nanoseconds.
const HOST_SELECTION_ATTEMPTS: u32 = 64;

/// Makes the `RetryPolicy` of requests whose method is safe: one retry, on another host. Where the
/// hosts are of several datacenters, it is in one that was not tried yet, as long as there is one:
/// else it would look in the same one only, even where each host there was tried.
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
