//! What Envoy lets the module do, where its configuration restricts that.

use stack::Bootstrap;

use crate::testbed::yaml;

/// What the module calls, and what it is called for.
const ALL: [&str; 38] = [
    "proxy_on_memory_allocate",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_http_call_response",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_response_trailers",
    "proxy_on_delete",
    "proxy_log",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_buffer_bytes",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_register_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_http_call",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_property",
    "proxy_call_foreign_function",
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_set_effective_context",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_current_time_nanoseconds",
    "random_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
];

/// Restricts the module to all of them but one.
pub fn all_but(forbidden: &'static str) -> impl FnOnce(&mut Bootstrap) {
    move |bootstrap| {
        assert!(ALL.contains(&forbidden), "{forbidden} is not used anyway");
        let allowed = ALL.into_iter().filter(|capability| *capability != forbidden);
        let allowed: serde_json::Map<_, _> =
            allowed.map(|capability| (capability.to_owned(), serde_json::json!({}))).collect();
        let vm =
            &mut crate::plugin::of_listener(bootstrap.ingress().expect("a listener"))["vm_config"];
        vm["capability_restriction_config"] =
            yaml(serde_json::json!({"allowed_capabilities": allowed}));
    }
}
