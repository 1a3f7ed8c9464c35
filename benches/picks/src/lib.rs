//! Measures inside a VM of Envoy what the bench `micro` measures natively, and logs it.
//!
//! It links the filter's own code but for its Envoy side, by the release profile of the real
//! module, and runs as a singleton service on the main thread of an Envoy that serves nothing. It
//! is empty on other targets than WebAssembly.
#![cfg(target_os = "wasi")]

#[path = "../../micro/measurement.rs"]
mod measurement;

use std::time::Duration;

use log::{error, info};
use proxy_wasm::traits::{Context, RootContext};
use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    /// Measures later: this is called in a canary VM, too, which does not tick.
    fn on_configure(&mut self, _: usize) -> bool {
        self.set_tick_period(Duration::from_millis(1));
        true
    }

    /// Measures once. A line for each, for `benches/proxy/in_module.rs`.
    fn on_tick(&mut self) {
        self.set_tick_period(Duration::ZERO);
        let measured = measurement::all(|one| {
            let (what, how, weights) = one.name();
            let (endpoints, nanoseconds) = (one.endpoints, one.median_ns);
            info!("measured\t{what}\t{how}\t{weights}\t{endpoints}\t{nanoseconds:.1}");
        });
        match measured {
            Ok(()) => info!("measured all"),
            Err(problem) => error!("measured nothing: {problem}"),
        }
    }
}
