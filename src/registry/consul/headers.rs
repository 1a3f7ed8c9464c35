//! The headers of Consul's responses to queries.

/// The headers that are read of a response to a query.
///
/// `X-Consul-KnownLeader` is left out on purpose: newer agents report no leader where there is
/// one (hashicorp/consul#9776).
pub(super) const QUERY_HEADERS: &[&str] =
    &[INDEX_HEADER, FILTERED_HEADER, LAST_CONTACT_HEADER, AGE_HEADER];

/// The header with the answer's [`ConsulIndex`].
pub const INDEX_HEADER: &str = "x-consul-index";

/// The header that says `true` where the token may not see all of the answer (Consul 1.11
/// and later; earlier versions say nothing).
pub const FILTERED_HEADER: &str = "x-consul-results-filtered-by-acls";

/// The header with the milliseconds since the server that answered heard from the leader.
pub const LAST_CONTACT_HEADER: &str = "x-consul-lastcontact";

/// The header with the seconds for which an agent's cache has not heard of the servers.
pub const AGE_HEADER: &str = "age";
