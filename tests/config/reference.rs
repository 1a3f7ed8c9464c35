//! `envoy/config.schema.json` and `docs/configuration.md` are made of the declarations of the fields.

use std::fs;
use std::path::Path;

use consul_resolver::config::reference;

/// Compares a file with what it is made of; `make reference` writes it.
fn assert_made(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, made).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == made, "{file} is stale; run `make reference`");
}

#[test]
fn schema_is_made_of_the_declarations() {
    assert_made("envoy/config.schema.json", &reference::schema());
}

#[test]
fn reference_is_made_of_the_declarations() {
    assert_made("docs/configuration.md", &reference::markdown());
}
