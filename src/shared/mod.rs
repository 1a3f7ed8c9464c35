//! The data that VMs share: the keys of Envoy's shared data and the bytes under them.
//!
//! Another VM may run another version of this module, so its bytes are untrusted input: decoding
//! arbitrary bytes returns an error and never panics. The version of the format is part of every
//! key, so two versions never see each other's data.

pub mod acknowledged;
mod bytes;
mod endpoints;
pub mod gauges;
pub mod key;
pub mod members;
pub mod message;
pub mod registration_index;
pub mod registration_lease;
pub mod snapshot_record;
pub mod source_record;
mod string_table;

pub use bytes::CodecError;
