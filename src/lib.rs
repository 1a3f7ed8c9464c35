//! `consul-resolver`: an Envoy filter that discovers services in Consul by itself.
//!
//! One VM of the process, the *leader*, asks Consul for the healthy instances of a service. It
//! puts a *snapshot* of them into Envoy's shared data. Every worker's VM installs the snapshot
//! into its *pools* and picks a *host* for each request.
//!
//! The floors, lowest first. Imports go down, or sideways within a folder; a test
//! (`tests/floors.rs`) enforces it.
//!
//! | floor | modules | |
//! |---|---|---|
//! | F0 | [`util`] | small parts: time and randomness are arguments |
//! | F1 | [`model`] | service, endpoint, snapshot: nouns, no behaviour |
//! | F2 | [`config`], [`registry`], [`shared`], [`handoff`] | input from outside, parsed once; the ways to Envoy's router |
//! | F3 | [`calls`], [`election`], [`balancer`], [`health_check`] | state machines of one thing: events in, commands out |
//! | F4 | [`telemetry`], [`host`] | events for operators; the events and commands between a VM and its host |
//! | F5 | [`discovery`], [`registration`], [`xds`] | all sources, registrations and subscriptions of one VM: events in, commands out |
//! | F6 | [`router`], [`vm`] | request → service → pick → ticket; one VM of discovery and registration |
//! | F7 | [`request`], [`driver`] | the traits of a host, and the code that uses them |
//! | F8 | `proxy` | Envoy: the only floor that exists in the module alone |

pub mod balancer;
pub mod calls;
pub mod config;
pub mod discovery;
pub mod driver;
pub mod election;
pub mod handoff;
pub mod health_check;
pub mod host;
pub mod model;
#[cfg(all(target_os = "wasi", feature = "filter"))]
mod proxy;
pub mod registration;
pub mod registry;
pub mod request;
pub mod router;
pub mod shared;
pub mod telemetry;
pub mod util;
pub mod vm;
pub mod xds;
