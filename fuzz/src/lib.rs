//! What must hold for whatever comes from outside: from Consul, from another VM, from Envoy,
//! from the operator, from a client.
//!
//! Each module has one function, `check`, which panics where something does not hold. A fuzzer
//! calls it with inputs that it makes up (`make fuzz`), and `tests/corpus.rs` with the files of
//! `corpus/`: what the fuzzer starts from, and what it has once found to fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what does not hold is a panic"
)]

pub mod authority;
pub mod catalog;
pub mod configuration;
pub mod dns_name;
pub mod health;
pub mod request;
pub mod shared;
pub mod subscription;
pub mod version;

/// What a target does with an input.
pub type Check = fn(&[u8]);

/// Every target: the name of its folder in the corpus, and what it does.
pub const TARGETS: [(&str, Check); 9] = [
    ("authority", authority::check),
    ("catalog", catalog::check),
    ("configuration", configuration::check),
    ("dns_name", dns_name::check),
    ("health", health::check),
    ("request", request::check),
    ("shared", shared::check),
    ("subscription", subscription::check),
    ("version", version::check),
];

/// The bytes up to a line's end, and those after it.
fn line(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// An error is for a log: one line, not long, whatever the input was.
fn check_error(error: &impl std::fmt::Display, most: usize) {
    let text = error.to_string();
    assert!(text.len() <= most, "{} bytes: {text:?}", text.len());
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
