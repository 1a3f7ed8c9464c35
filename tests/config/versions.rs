//! Which version a request goes to. How it is read, and the exact text of each refusal.

use consul_resolver::config::VersionKey;
use consul_resolver::model::version_pattern::VersionPattern;
use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

#[test]
fn version_is_that_of_the_metadata_by_default() {
    let key = |value| {
        parse(&with("services[0].versions", value)).unwrap().services[0]
            .versions
            .clone()
            .unwrap()
            .key
    };
    assert_eq!(key(json!({ "header": "v" })), VersionKey::Meta("version".into()));
    assert_eq!(key(json!({ "header": "v", "key": "rev" })), VersionKey::Meta("rev".into()));
    assert_eq!(
        key(json!({ "header": "v", "tag_prefix": "v=" })),
        VersionKey::TagPrefix("v=".into())
    );
}

#[test]
fn version_is_compared_with_a_pattern_without_allocating() {
    for pattern in ["1.x", "1.2.3", "blue"] {
        let pattern = VersionPattern::parse(pattern).unwrap();
        for version in ["1.2.3", "v1.2.3-beta.11+build", "blue"] {
            let allocations = allocation_counter::measure(|| {
                std::hint::black_box(pattern.contains(version));
            });
            assert_eq!(allocations.count_total, 0, "{version} in {pattern:?}");
        }
    }
}

#[test]
fn versions_that_decide_nothing_are_refused() {
    let place = "services[0].versions";
    assert_refused([
        (
            place,
            json!({ "key": "version" }),
            "services[0].versions: missing; expected header or split, by which a request comes to \
             a version",
        ),
        (
            place,
            json!({ "key": "version", "tag_prefix": "v=", "header": "x-version" }),
            "services[0].versions.tag_prefix: key is given too; leave one of them out",
        ),
        (
            place,
            json!({ "header": "x-version", "hash_on": { "path": true } }),
            "services[0].versions.hash_on: it makes a client stay with its share; give split, or \
             leave it out",
        ),
        (
            place,
            json!({ "header": "x-consul-endpoint-7" }),
            "services[0].versions.header: \"x-consul-endpoint-7\" is what the handoff is made by; \
             expected another header",
        ),
        (
            place,
            json!({ "split": {} }),
            "services[0].versions.split: the sum of the weights is 0; expected more",
        ),
        (
            place,
            json!({ "split": { "1.x": 0, "2.x": 0 } }),
            "services[0].versions.split: the sum of the weights is 0; expected more",
        ),
        (
            place,
            json!({ "split": [] }),
            "services[0].versions.split: expected an object, found an array",
        ),
        (
            place,
            json!({ "split": { "1.x": 0.5 } }),
            "services[0].versions.split[\"1.x\"]: expected a whole number, found the number 0.5",
        ),
        (
            place,
            json!({ "split": { "1.x": 1_000_001 } }),
            "services[0].versions.split[\"1.x\"]: 1000001 is out of range; expected 0 to 1000000",
        ),
        (
            place,
            json!({ "split": { "1 || 2": 1 } }),
            "services[0].versions.split[\"1 || 2\"]: \"1 || 2\" is neither a version nor the \
             beginning of one: ranges are not read; expected the first numbers, such as 1.x or \
             1.4.x, or a whole version, such as 1.4.2 or blue",
        ),
        (
            place,
            json!({ "split": { "^1.2": 1 } }),
            "services[0].versions.split[\"^1.2\"]: \"^1.2\" is neither a version nor the beginning \
             of one: ranges are not read; expected the first numbers, such as 1.x or 1.4.x, or a \
             whole version, such as 1.4.2 or blue",
        ),
        (
            place,
            json!({ "split": { "": 1 } }),
            "services[0].versions.split[\"\"]: \"\" is neither a version nor the beginning of \
             one: expected a version, such as 1.4.2, 1.x or blue",
        ),
        (
            place,
            json!({ "split": (0..65).map(|n| (n.to_string(), json!(1))).collect::<Value>() }),
            "services[0].versions.split: too many with 65 items; at most 64 are allowed",
        ),
        (
            place,
            json!({ "header": "x-version", "fallback": "all" }),
            "services[0].versions.fallback: unknown fallback \"all\"; expected one of any, none",
        ),
    ]);
    let long = "1".repeat(256);
    let error = parse(&with(place, json!({ "split": { long: 1 } }))).unwrap_err().to_string();
    assert!(error.ends_with("it has 256 bytes; at most 255 are allowed"), "{error}");
}
