//! What crosses VMs: the keys of Envoy's shared data and the bytes under them.
//!
//! Another VM may run another version of this module, and its bytes are read like any
//! other input: decoding arbitrary bytes gives an error, never a panic. The version of the
//! format is part of every key, so two versions do not see each other at all.

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
