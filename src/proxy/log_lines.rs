//! Log lines, and the text of a panic, into Envoy's log.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::proxy::host;

/// The level of a panic: nothing is above it.
const CRITICAL: u32 = 5;

/// Envoy's log.
struct EnvoyLog;

/// Starts to log, from `info` on. The configuration sets the real level.
pub(super) fn start() {
    if log::set_logger(&EnvoyLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
        std::panic::set_hook(Box::new(|panic| host::log(CRITICAL, &panic.to_string())));
    }
}

impl Log for EnvoyLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // The macros have looked at the level already.
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        match record.args().as_str() {
            Some(line) => host::log(level, line),
            None => host::log(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
