//! What crosses VMs: the keys of Envoy's shared data and the bytes under them.
//!
//! Another VM may run another version of this module, and its bytes are read like any
//! other input: decoding arbitrary bytes gives an error, never a panic. The version of the
//! format is part of every key, so two versions do not see each other at all.

pub mod acknowledged;
pub mod book;
mod bytes;
pub mod charge;
mod endpoints;
pub mod gauges;
pub mod head;
pub mod key;
mod labels;
pub mod members;
pub mod message;
pub mod record;

pub use bytes::CodecError;
