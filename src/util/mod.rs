//! Small parts that know nothing of Envoy or Consul: time and randomness are arguments.

pub mod backoff;
pub mod ewma;
pub mod excerpt;
pub mod hash;
pub mod rng;
pub mod time;
pub mod token_bucket;
pub mod window;
