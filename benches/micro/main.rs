//! Prints what [`measurement`] measures.
//!
//! `cargo bench --bench micro` prints a table; with `-- --json`, one line of JSON for each
//! row of it on standard output. Every number is a median, in nanoseconds.

mod measurement;

use std::env;

use consul_resolver::config::ConfigError;
use measurement::Measurement;

fn main() -> Result<(), ConfigError> {
    let is_json = env::args().any(|argument| argument == "--json");
    if !is_json {
        println!(
            "{:<8} {:<14} {:<7} {:>9} {:>12}",
            "what", "how", "weights", "endpoints", "median ns"
        );
    }
    measurement::all(|measured| print(&measured, is_json))
}

fn print(measured: &Measurement, is_json: bool) {
    let (what, how, weights) = measured.name();
    let Measurement { endpoints, median_ns, .. } = measured;
    if is_json {
        let line = serde_json::json!({
            "bench": what, "variant": how, "weights": weights, "endpoints": endpoints,
            "median_ns": median_ns, "rounds": Measurement::ROUNDS,
        });
        println!("{line}");
    } else {
        println!("{what:<8} {how:<14} {weights:<7} {endpoints:>9} {median_ns:>12.1}");
    }
}
