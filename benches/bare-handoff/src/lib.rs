//! The least that any filter must do to hand a request over by its host: read `:authority`,
//! and set the filter state.
//!
//! `make bench` runs it to tell the price of the two host calls from that of what the real
//! filter does with them. The plugin's configuration is the address that every request goes
//! to. It is empty on other targets than WebAssembly.
#![cfg(target_os = "wasi")]

use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { argument: Rc::default() }));
}}

struct Root {
    argument: Rc<[u8]>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let address = self.get_plugin_configuration().unwrap_or_default();
        self.argument = argument(&address).into();
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request { argument: Rc::clone(&self.argument) }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// `SetEnvoyFilterStateArguments { path = 1; value = 2; span = 3 }`, for texts below 128 bytes.
fn argument(address: &[u8]) -> Vec<u8> {
    const KEY: &[u8] = b"envoy.network.transport_socket.original_dst_address";
    let mut out = vec![1 << 3 | 2, KEY.len() as u8];
    out.extend(KEY);
    out.extend([2 << 3 | 2, address.len() as u8]);
    out.extend(address);
    out.extend([3 << 3, 1]);
    out
}

struct Request {
    argument: Rc<[u8]>,
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.get_http_request_header_bytes(":authority").is_some() {
            // Were it refused, requests would find no way, and the benchmark fail by their status.
            let _ =
                hostcalls::call_foreign_function("set_envoy_filter_state", Some(&self.argument));
        }
        Action::Continue
    }
}
