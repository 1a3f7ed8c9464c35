//! The root context: one configuration in one VM, driven by its timer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::config::{Config, Locality, Surroundings};
use crate::proxy::core::Core;
use crate::proxy::filter::{Filter, Unconfigured};
use crate::proxy::host::{self, CalloutId};
use crate::shared::head::Rank;
use crate::shared::members::QueueId;

thread_local! {
    /// Whether this VM has ever served a request, by whatever configuration: the main
    /// thread's never does, and is the one to fetch.
    static SERVING: Cell<bool> = const { Cell::new(false) };
    /// When this VM was made: by its first root context.
    static BORN: u64 = host::wall_clock();
}

/// How suitable this VM is to fetch.
fn rank() -> Rank {
    Rank { serving: SERVING.get(), born: BORN.with(|born| *born) }
}

/// Reads what Envoy says of itself.
fn surroundings() -> Surroundings {
    let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Surroundings {
        zone: filled(text(host::node_zone())),
        node_id: filled(text(host::node_id())),
        address: filled(text(host::node_metadata("address"))),
        port: host::node_metadata("port").and_then(port),
    }
}

/// Reads a port: the number of a protobuf `Struct` is a double, and comes as its 8 bytes; a text
/// comes as it is.
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

/// Tells that zones make no difference, where they were to make one.
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
    core: Option<Rc<RefCell<Core>>>,
}

impl Root {
    /// Starts without a configuration.
    pub(super) const fn new(id: u32) -> Self {
        Self { id, core: None }
    }
}

impl Drop for Root {
    /// Runs when Envoy deletes the context: after a listener's drain, or at the end. Metrics,
    /// shared data and the timer may be touched; a callout or a message to a queue could not
    /// be sent any more.
    fn drop(&mut self) {
        if let Some(mut core) = self.core.as_ref().and_then(|core| core.try_borrow_mut().ok()) {
            core.on_end();
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        if let Some(core) = &self.core {
            core.borrow_mut().on_callout(self.id, CalloutId(token), headers, body_size);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = if size == 0 { None } else { self.get_plugin_configuration() };
        let config = Config::parse(&json.unwrap_or_default())
            .and_then(|config| config.completed(&surroundings()));
        match config {
            Ok(config) => {
                log::set_max_level(config.log_level);
                warn_of_unknown_zone(config.locality.as_ref());
                let mut core = Core::new(&config);
                core.start();
                // From now on it is known when this VM was made.
                rank();
                self.core = Some(Rc::new(RefCell::new(core)));
                true
            }
            Err(error) => {
                log::error!("the configuration is refused: {error}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(core) = &self.core {
            core.borrow_mut().on_tick(self.id, rank());
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        if let Some(core) = &self.core {
            core.borrow_mut().on_queue(self.id, QueueId(queue));
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.core {
            Some(core) => Box::new(Filter::new(id, Rc::clone(core))),
            // Envoy does not route through a configuration that was refused.
            None => Box::new(Unconfigured),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
