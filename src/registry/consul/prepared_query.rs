//! The answer of a prepared query.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use crate::registry::consul::decode::{EntryCollector, read};
use crate::registry::consul::decode_error::DecodeError;
use crate::registry::consul::instance_filter::InstanceFilter;
use crate::registry::consul::lenient::{LenientSeed, LenientVisitor, next_name, skip};
use crate::registry::query_response::{Decoded, QueryOrigin};

/// The longest name of a service, and of a datacenter, that is read, in bytes.
const MAX_NAME: usize = 255;

/// Decodes a body of `/v1/query/<name>/execute` into endpoints: the same entries within an object.
/// Consul has left out critical instances.
pub fn decode_executed(body: &[u8], selection: &InstanceFilter) -> Result<Decoded, DecodeError> {
    let mut executed = PreparedQueryResponse::new(EntryCollector::new(selection));
    read(body, &mut executed, |executed| &mut executed.reading.refused)?;
    let origin = executed.origin();
    let decoded = executed.into_reading()?.into_decoded();
    Ok(Decoded { origin: Some(origin), ..decoded })
}

/// The object that a prepared query is answered with. `Nodes` has the entries.
pub(super) struct PreparedQueryResponse<'de, 's> {
    pub(super) reading: EntryCollector<'s>,
    has_nodes: bool,
    service: Cow<'de, str>,
    datacenter: Cow<'de, str>,
}

impl<'s> PreparedQueryResponse<'_, 's> {
    pub(super) const fn new(reading: EntryCollector<'s>) -> Self {
        let (service, datacenter) = (Cow::Borrowed(""), Cow::Borrowed(""));
        Self { reading, has_nodes: false, service, datacenter }
    }

    /// Where the query looks.
    pub(super) fn origin(&self) -> QueryOrigin {
        let name =
            |text: &str| if text.len() <= MAX_NAME { text.to_owned() } else { String::new() };
        QueryOrigin { service: name(&self.service), datacenter: name(&self.datacenter) }
    }

    /// What was read; an object without `Nodes`, as Consul writes none, is no answer.
    pub(super) fn into_reading(self) -> Result<EntryCollector<'s>, DecodeError> {
        if self.has_nodes { Ok(self.reading) } else { Err(DecodeError::NotExecuted) }
    }
}

impl<'de> LenientVisitor<'de> for PreparedQueryResponse<'de, '_> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            match name.as_ref() {
                "Nodes" => {
                    // Of several the last one counts.
                    self.reading.restart();
                    self.has_nodes = true;
                    fields.next_value_seed(LenientSeed(&mut Nodes(&mut self.reading)))?;
                }
                "Service" => fields.next_value_seed(LenientSeed(&mut self.service))?,
                "Datacenter" => fields.next_value_seed(LenientSeed(&mut self.datacenter))?,
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

struct Nodes<'r, 's>(&'r mut EntryCollector<'s>);

impl<'de> LenientVisitor<'de> for Nodes<'_, '_> {
    /// An empty list, as Go writes some.
    fn on_null(&mut self) {}

    fn on_array<A: SeqAccess<'de>>(&mut self, entries: A) -> Result<(), A::Error> {
        self.0.on_array(entries)
    }

    fn on_other(&mut self) {
        self.0.refused = Some(DecodeError::NotExecuted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::consul::fixtures;
    use crate::registry::consul::query::{ConsulQuery, QueryTarget};
    use crate::registry::query_response::MAX_ENDPOINTS;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// What Consul 1.8 answers: an instance that passes, and one in warning.
    const GEO: &str = include_str!("fixtures/geo_1_8.json");

    fn read(body: &str) -> Result<Decoded, DecodeError> {
        let query = ConsulQuery::new(&fixtures::config(), &fixtures::service("web"), None);
        let QueryTarget::Instances(selection) = query.subject() else { panic!("{query:?}") };
        decode_executed(body.as_bytes(), selection)
    }

    #[test]
    fn an_answer_of_consul_becomes_its_passing_endpoints() {
        let decoded = read(GEO).unwrap();
        let endpoints: Vec<_> =
            decoded.snapshot.endpoints().iter().map(|e| e.address.to_string()).collect();
        assert_eq!(endpoints, ["10.0.0.1:80"]);
        assert_eq!((decoded.dropped.unhealthy.warning, decoded.registered), (1, 2));
    }

    #[test]
    fn an_empty_list_may_be_null_and_none_is_no_answer() {
        for nothing in [r#"{"Nodes": []}"#, r#"{"Nodes": null, "Failovers": 2}"#] {
            let decoded = Decoded { origin: Some(QueryOrigin::default()), ..Decoded::default() };
            assert_eq!(read(nothing), Ok(decoded), "{nothing}");
        }
        for body in ["{}", "[]", "null", "1", r#"{"nodes": []}"#, r#"{"Nodes": {}}"#] {
            assert_eq!(read(body), Err(DecodeError::NotExecuted), "{body}");
        }
        assert_eq!(read(r#"{"Nodes": ["#), Err(DecodeError::Truncated { line: 1, column: 11 }));
        let trailing = read(r#"{"Nodes": []} {}"#);
        assert_eq!(trailing, Err(DecodeError::Trailing { line: 1, column: 15 }));
    }

    #[test]
    fn of_a_field_that_stands_there_twice_the_last_one_counts() {
        let entry = r#"{"Service": {"Address": "10.0.0.1", "Port": 80}}"#;
        let one = read(&format!(r#"{{"Nodes": [{entry}, null], "Nodes": [{entry}]}}"#)).unwrap();
        assert_eq!((one.snapshot.len(), one.dropped.total()), (1, 0));
        let none = read(&format!(r#"{{"Nodes": [{entry}], "Nodes": null}}"#)).unwrap();
        assert_eq!(none, Decoded { origin: Some(QueryOrigin::default()), ..Decoded::default() });
    }

    #[test]
    fn origin_is_what_the_answer_says_and_empty_when_it_does_not() {
        let origin = |body: &str| read(body).unwrap().origin.unwrap();
        let named = origin(GEO);
        assert_eq!((&*named.service, &*named.datacenter), ("web", "dc1"));
        let odd = r#"{"Service": 7, "Datacenter": null, "Nodes": []}"#;
        assert_eq!(origin(odd), QueryOrigin::default());
        let long = "a".repeat(MAX_NAME + 1);
        let long = origin(&format!(r#"{{"Service": "{long}", "Datacenter": "b", "Nodes": []}}"#));
        assert_eq!((&*long.service, &*long.datacenter), ("", "b"));
    }

    #[test]
    fn more_endpoints_than_the_limit_are_an_error() {
        let entry = r#"{"Service":{"Address":"10.0.0.1","Port":80}}"#;
        let body = format!("{{\"Nodes\":[{entry}{}]}}", format!(",{entry}").repeat(MAX_ENDPOINTS));
        let limit = MAX_ENDPOINTS;
        assert_eq!(read(&body), Err(DecodeError::TooManyEndpoints { limit }));
    }
}
