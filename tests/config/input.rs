//! Refusals for the input as a whole, and what holds for the text of every refusal.

use core::error::Error as _;

use consul_resolver::config::{Config, ConfigError};
use serde_json::{Map, Value, json};

use crate::{parse, with};

#[test]
fn what_is_no_json_is_refused_with_line_and_column() {
    let empty = "the configuration is empty; the least that works is \
                 {\"consul\": {\"cluster\": \"consul\"}, \"services\": [{\"name\": \"web\"}]}";
    let yaml = "as a google.protobuf.StringValue it is JSON text, as a google.protobuf.Struct it \
                is written as YAML";
    for (text, message) in [
        ("", empty.to_owned()),
        (" \n\t", empty.to_owned()),
        (
            "consul:\n  cluster: consul\n",
            format!("the configuration is not JSON: expected value at line 1 column 1; {yaml}"),
        ),
        (
            "\u{feff}{}",
            format!("the configuration is not JSON: expected value at line 1 column 1; {yaml}"),
        ),
        (
            "{\n  \"consul\": {},\n}",
            "the configuration is not valid JSON: trailing comma at line 3 column 1".to_owned(),
        ),
        (
            "{\"consul\": ",
            "the configuration is not valid JSON: EOF while parsing a value at line 1 column 11"
                .to_owned(),
        ),
        (
            "{} {}",
            "the configuration is not valid JSON: trailing characters at line 1 column 4"
                .to_owned(),
        ),
        ("[]", "the configuration: expected an object, found an array".to_owned()),
        ("null", "the configuration: expected an object, found null".to_owned()),
        (
            "{}",
            "consul: missing; expected an object such as {\"cluster\": \"consul\"}\nservices: \
             missing; expected an array such as [{\"name\": \"web\"}]"
                .to_owned(),
        ),
        (
            "{\"consul\": {\"cluster\": \"consul\"}}",
            "services: missing; expected an array such as [{\"name\": \"web\"}]".to_owned(),
        ),
    ] {
        assert_eq!(Config::parse(text.as_bytes()).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_error_of_the_json_reader_is_kept_as_the_source() {
    for text in ["{", "consul"] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(error.source().is_some_and(|cause| cause.is::<serde_json::Error>()), "{error}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let error = Config::parse(b"{\"consul\": \"\xff\"}").unwrap_err().to_string();
    let message = "the configuration is not valid JSON: invalid unicode code point at line 1";
    assert!(error.starts_with(message), "{error}");
}

#[test]
fn configuration_is_refused_above_limits_of_size_and_depth() {
    let mut text = with("unmatched", json!("pass")).to_string();
    text.push_str(&" ".repeat(Config::MAX_BYTES - text.len()));
    assert!(Config::parse(text.as_bytes()).is_ok());
    text.push(' ');
    let error = Config::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "the configuration has 1048577 bytes; at most 1048576 are read");

    let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
    let error = Config::parse(nested(127).as_bytes()).unwrap_err();
    assert!(matches!(error, ConfigError::Refused { .. }), "{error}");
    let error = Config::parse(nested(128).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("recursion limit exceeded at line 1 column 128"), "{error}");
}

#[test]
fn of_a_field_given_twice_the_last_counts() {
    let text = br#"{"consul": {"cluster": "a", "cluster": "b"}, "services": [{"name": "web"}]}"#;
    assert_eq!(Config::parse(text).unwrap().consul.cluster, "b");
}

#[test]
fn a_secret_never_appears_in_an_error() {
    for secret in ["b1a8c7d6-0e4f-4a5b-9c3d-2e1f0a9b8c7d", "hunter2!", "2hunter"] {
        for field in ["token_env", "token"] {
            let error = parse(&with(&format!("consul.{field}"), json!(secret))).unwrap_err();
            assert!(!error.to_string().contains(secret), "{error}");
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        }
    }
}

#[test]
fn an_error_is_one_short_line_whatever_the_input_holds() {
    let nasty = format!("\n\u{1b}[31m{}", "x".repeat(10_000));
    let mut fields = Map::new();
    fields.insert(nasty.clone(), json!(1));
    for config in [
        Value::Object(fields),
        with("unmatched", json!(nasty)),
        with("warmup_timeout", json!(nasty)),
        with("route_metadata", json!(nasty)),
        with("services[0].hosts", json!([nasty])),
    ] {
        let error = parse(&config).unwrap_err().to_string();
        assert!(error.len() < 400 && !error.contains(char::is_control), "{error:?}");
    }
}
