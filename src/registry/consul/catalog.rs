//! Decodes a body of `/v1/catalog/services`: an object of names, each with the tags of its
//! instances.
//!
//! See <https://developer.hashicorp.com/consul/api-docs/catalog#list-services>.

use std::borrow::Cow;
use std::rc::Rc;

use serde::de::{Error as _, MapAccess, SeqAccess};

use crate::config::{Discover, Service};
use crate::model::service_names::ServiceNames;
use crate::registry::consul::decode::{DecodeError, read};
use crate::registry::consul::lenient::{LenientSeed, LenientVisitor, next_name};

/// The maximum number of services in a catalog, however few of them match.
pub const MAX_LISTED: usize = 65_536;

/// Decodes a body into the matching services: those that have all tags, are not excluded, and have
/// a name that fits a host and is no other cluster of Envoy's. Services with another name are
/// counted as left out.
///
/// The body is read in one pass, and only matching names stay in memory. A value that is no list of
/// tags counts as an empty list. A body that is no complete JSON object is an error.
pub(super) fn decode(body: &[u8], discover: &Discover) -> Result<ServiceNames, DecodeError> {
    let mut reading = Reading { discover, names: Vec::new(), unfit: 0, refused: None };
    read(body, &mut reading, |reading| &mut reading.refused)?;
    Ok(ServiceNames::new(reading.names).leaving_out(reading.unfit))
}

struct Reading<'d> {
    discover: &'d Discover,
    names: Vec<Rc<str>>,
    unfit: u32,
    /// The error of a body that is valid JSON and refused.
    refused: Option<DecodeError>,
}

impl Reading<'_> {
    fn take(&mut self, name: &str) {
        let is_excluded = |excluded: &String| excluded.eq_ignore_ascii_case(name);
        if self.discover.exclude.iter().any(is_excluded) {
            return;
        }
        let is_reserved = self.discover.reserved.iter().any(|reserved| reserved == name);
        let fits = name.len() <= Service::MAX_NAME_BYTES && !is_reserved;
        if fits && self.discover.host.host_of(name).is_some() {
            self.names.push(name.into());
        } else {
            self.unfit = self.unfit.saturating_add(1);
        }
    }
}

impl<'de> LenientVisitor<'de> for Reading<'_> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            let mut tags = Tags { wanted: &self.discover.tags, found: 0 };
            fields.next_value_seed(LenientSeed(&mut tags))?;
            if tags.are_all_there() {
                self.take(&name);
            }
            if self.names.len() > MAX_LISTED {
                let error = DecodeError::TooManyServices { limit: MAX_LISTED };
                let stop = A::Error::custom(&error);
                self.refused = Some(error);
                return Err(stop);
            }
        }
        Ok(())
    }

    fn on_other(&mut self) {
        self.refused = Some(DecodeError::NotACatalog);
    }
}

/// The wanted tags of one service.
struct Tags<'d> {
    wanted: &'d [String],
    /// A bit for each tag that was found. At most 64 tags are wanted.
    found: u64,
}

impl Tags<'_> {
    fn are_all_there(&self) -> bool {
        self.found.count_ones() as usize == self.wanted.len()
    }
}

impl<'de> LenientVisitor<'de> for Tags<'_> {
    fn on_array<A: SeqAccess<'de>>(&mut self, mut items: A) -> Result<(), A::Error> {
        loop {
            let mut tag = Cow::Borrowed("");
            if items.next_element_seed(LenientSeed(&mut tag))?.is_none() {
                return Ok(());
            }
            for (wanted, bit) in self.wanted.iter().zip(0..u64::BITS) {
                if wanted.eq_ignore_ascii_case(&tag) {
                    self.found |= 1 << bit;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::consul::decode::MAX_BODY;
    use crate::registry::consul::index::ConsulIndex;
    use crate::registry::consul::query::ConsulQuery;
    use crate::registry::http::ReadMode;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn discover(fields: &str) -> Discover {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"}}, "discover": {{"host": "{{service}}.internal"{fields}}}}}"#
        );
        Config::parse(json.as_bytes()).unwrap().discover.unwrap()
    }

    fn services(body: &str, fields: &str) -> Result<(String, u32), DecodeError> {
        let found = decode(body.as_bytes(), &discover(fields))?;
        let names: Vec<String> = found.names().iter().map(|name| name.to_string()).collect();
        Ok((names.join(" "), found.left_out()))
    }

    const CATALOG: &str = r#"{"consul": [], "web": ["v1", "envoy"], "api": ["envoy", "v1", "x"], "db": ["v1"], "old": null}"#;

    #[test]
    fn the_catalog_is_asked_for_where_services_are_looked_for() {
        let json = br#"{
            "consul": {
                "cluster": "consul", "datacenter": "dc2", "namespace": "team", "partition": "p",
                "consistency": "stale"
            },
            "discover": { "host": "{service}.internal" }
        }"#;
        let config = Config::parse(json).unwrap();
        let built = ConsulQuery::catalog(&config, config.discover.as_ref().unwrap());
        assert!(built.blocks());
        let request = built.request(Some(ConsulIndex::new(7)), ReadMode::AsConfigured);
        let expected = "/v1/catalog/services?dc=dc2&ns=team&partition=p&stale&index=7&wait=55s";
        assert_eq!(request.path, expected);
    }

    #[test]
    fn services_have_all_tags_and_are_not_excluded() {
        let names = |fields: &str| services(CATALOG, fields).unwrap().0;
        assert_eq!(names(""), "api db old web");
        assert_eq!(names(r#", "tags": ["envoy"]"#), "api web");
        assert_eq!(names(r#", "tags": ["envoy", "x"]"#), "api");
        assert_eq!(names(r#", "tags": ["Envoy", "X"]"#), "api", "in any case");
        assert_eq!(names(r#", "exclude": ["WEB", "old"]"#), "api consul db");
        assert_eq!(names(r#", "exclude": []"#), "api consul db old web");
    }

    #[test]
    fn a_name_that_fits_no_host_is_left_out_and_counted() {
        let long = "a".repeat(64);
        let body = format!(r#"{{"a b": [], "a/b": [], "": [], "{long}": [], "\u0061": []}}"#);
        assert_eq!(services(&body, "").unwrap(), ("a".to_owned(), 4));
    }

    #[test]
    fn a_name_that_another_cluster_has_is_left_out_and_counted() {
        let json = br#"{
            "consul": { "cluster": "svc-consul" }, "discover": { "host": "{service}.internal" },
            "xds": { "cluster": "svc-xds", "address": "@xds", "clusters": { "name": "svc-{service}" } }
        }"#;
        let discover = Config::parse(json).unwrap().discover.unwrap();
        let body = br#"{"consul": [], "xds": [], "XDS": [], "svc-xds": [], "web": []}"#;
        let found = decode(body, &discover).unwrap();
        assert_eq!(
            found.names().iter().map(|name| &**name).collect::<Vec<_>>(),
            ["svc-xds", "web", "XDS"]
        );
        assert_eq!(found.left_out(), 1, "consul is excluded, and not missed");
    }

    #[test]
    fn tags_of_another_kind_are_none() {
        let body =
            r#"{"a": "envoy", "b": {"envoy": 1}, "c": 1, "d": [1, null, "envoy"], "e": true}"#;
        assert_eq!(services(body, r#", "tags": ["envoy"]"#).unwrap().0, "d");
        assert_eq!(services(body, "").unwrap().0, "a b c d e");
    }

    #[test]
    fn a_body_that_is_no_catalog_is_an_error() {
        for body in ["null", "[]", "1", r#""web""#, "[{}]"] {
            assert_eq!(services(body, ""), Err(DecodeError::NotACatalog), "{body}");
        }
        assert_eq!(services("", ""), Err(DecodeError::Truncated { line: 1, column: 0 }));
        assert_eq!(
            services(r#"{"web": ["#, ""),
            Err(DecodeError::Truncated { line: 1, column: 9 })
        );
        assert_eq!(services("{} {}", ""), Err(DecodeError::Trailing { line: 1, column: 4 }));
        assert_eq!(services("{}", ""), Ok((String::new(), 0)));
        let large = " ".repeat(MAX_BODY + 1);
        let found = MAX_BODY + 1;
        assert_eq!(services(&large, ""), Err(DecodeError::TooLarge { limit: MAX_BODY, found }));
    }

    #[test]
    fn services_beyond_the_limit_are_an_error() {
        let list = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!(r#""s{n}":[]"#)).collect();
            decode(format!("{{{}}}", entries.join(",")).as_bytes(), &discover(""))
        };
        assert_eq!(list(MAX_LISTED).unwrap().names().len(), MAX_LISTED);
        assert_eq!(list(MAX_LISTED + 1), Err(DecodeError::TooManyServices { limit: MAX_LISTED }));
    }
}
