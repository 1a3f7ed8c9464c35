//! Gets and runs the processes around the filter: Envoy, Consul, backends.
//!
//! ```text
//! fetch      Envoy and Consul binaries, once, into target/stack
//! process    one child process, ended by its own pid
//! bootstrap  the project's Envoy configuration with other addresses in it
//! envoy      a running Envoy: addresses, statistics, CPU time
//! consul     a running Consul
//! registry   the Consul API that tests call, whichever Consul answers
//! backend    HTTP, gRPC and WebSocket servers that name themselves
//! client     plain HTTP, gRPC, WebSocket
//! relay      a way to a server that can be made bad
//! service    what is registered; `port`, `open_files`: small parts
//! ```
//!
//! The API blocks: tests are plain `#[test]` functions. Servers that live in this process run on
//! one shared runtime. Nothing listens anywhere but on loopback.

pub mod backend;
pub mod bootstrap;
pub mod client;
pub mod consul;
pub mod duration;
pub mod envoy;
pub mod fetch;
pub mod open_files;
pub mod pki;
pub mod port;
pub mod process;
pub mod program;
pub mod registry;
pub mod relay;
pub mod runtime;
pub mod service;
mod wait;

pub use backend::{Backend, BackendProcess, Conduct, GrpcBackend, Trouble, WebSocketBackend};
pub use bootstrap::Bootstrap;
pub use client::{GrpcClient, WebSocketClient};
pub use consul::Consul;
pub use envoy::Envoy;
pub use pki::Pki;
pub use process::Process;
pub use registry::Registry;
pub use relay::{Condition, Place, Relay};
pub use service::{Check, Node, Service, Status};
pub use tonic::Code;
pub use wait::{eventually, wait_until};
