//! The root context: one configuration in one VM, driven by its timer.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::rc::Rc;

use crate::config::{Config, Locality, NodeInfo};
use crate::proxy::host::{self, CalloutId};
use crate::proxy::plugin::{Plugin, SharedPlugin};
use crate::shared::members::QueueId;
use crate::shared::source_record::Rank;

thread_local! {
    /// True if this VM has ever served a request, by any configuration. The main thread's VM never
    /// does, and is the first choice as leader.
    static SERVING: Cell<bool> = const { Cell::new(false) };
    /// The time at which the first root context of this VM was made.
    static BORN: u64 = host::wall_clock();
}

/// The `root_id` of the filter of connections, which has no configuration. It does nothing but
/// close a connection that passes it once this VM has failed.
const CONNECTIONS: &[u8] = b"connections";

/// Returns the rank of this VM as a leader.
fn rank() -> Rank {
    Rank { serving: SERVING.get(), born: BORN.with(|born| *born) }
}

/// Reads the properties of Envoy's node.
fn node_info() -> NodeInfo {
    let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    NodeInfo {
        zone: filled(text(host::node_zone())),
        node_id: filled(text(host::node_id())),
        address: filled(text(host::node_metadata("address"))),
        port: host::node_metadata("port").and_then(port),
    }
}

/// Reads a port. A number of a protobuf `Struct` comes as the 8 bytes of a double, and a text as it
/// is.
fn port(bytes: Vec<u8>) -> Option<u16> {
    if let Ok(text) = core::str::from_utf8(&bytes)
        && let Ok(port) = text.parse()
    {
        return Some(port);
    }
    let number = f64::from_le_bytes(bytes.try_into().ok()?);
    let is_port = number.fract() == 0.0 && (1.0..=f64::from(u16::MAX)).contains(&number);
    is_port.then_some(number as u16)
}

/// Warns if a locality is configured and the zone of this proxy is not known.
fn warn_of_unknown_zone(locality: Option<&Locality>) {
    if locality.is_some_and(|locality| locality.zone.is_none()) {
        log::warn!(
            "locality: this proxy's zone is not known, so zones make no difference; set \
             locality.zone, or the locality.zone of Envoy's node"
        );
    }
}

/// Notes that this VM serves requests.
pub(super) fn note_serving() {
    SERVING.set(true);
}

/// The root context.
pub(super) struct Root {
    id: u32,
    /// The plugin of the configuration, unless that was refused.
    plugin: OnceCell<SharedPlugin>,
}

impl Root {
    /// Starts without a configuration.
    pub(super) const fn new(id: u32) -> Self {
        Self { id, plugin: OnceCell::new() }
    }

    /// Returns the plugin that the requests share.
    pub(super) fn plugin(&self) -> Option<SharedPlugin> {
        self.plugin.get().map(Rc::clone)
    }

    /// Handles the configuration, once. Returns false to refuse it.
    pub(super) fn on_configure(&self, size: usize) -> bool {
        if size == 0 && host::root_id().as_deref() == Some(CONNECTIONS) {
            return true;
        }
        let config = Config::parse(&host::configuration(size))
            .and_then(|config| config.with_node_defaults(&node_info()));
        match config {
            Ok(config) => {
                log::set_max_level(config.log_level);
                warn_of_unknown_zone(config.locality.as_ref());
                let mut plugin = Plugin::new(&config);
                plugin.start();
                // From now on it is known when this VM was made.
                rank();
                self.plugin.set(Rc::new(RefCell::new(plugin))).is_ok()
            }
            Err(error) => {
                log::error!("the configuration is refused: {error}");
                false
            }
        }
    }

    /// Handles the timer.
    pub(super) fn on_tick(&self) {
        if let Some(mut plugin) = self.borrowed() {
            plugin.on_tick(self.id, rank());
        }
    }

    /// Handles a queue that has messages.
    pub(super) fn on_queue_ready(&self, queue: u32) {
        if let Some(mut plugin) = self.borrowed() {
            plugin.on_queue(self.id, QueueId(queue));
        }
    }

    /// Handles the end of a callout.
    pub(super) fn on_callout(&self, callout: u32, headers: usize, body_size: usize) {
        if let Some(mut plugin) = self.borrowed() {
            plugin.on_callout(self.id, CalloutId(callout), headers, body_size);
        }
    }

    /// Handles the end. Envoy deletes the context after a listener's drain, or when it stops.
    /// Metrics, shared data and the timer may be used. A callout or a message to a queue could not
    /// be sent any more.
    pub(super) fn on_delete(&self) {
        if let Some(mut plugin) = self.borrowed() {
            plugin.on_end();
        }
    }

    fn borrowed(&self) -> Option<RefMut<'_, Plugin>> {
        self.plugin.get()?.try_borrow_mut().ok()
    }
}
