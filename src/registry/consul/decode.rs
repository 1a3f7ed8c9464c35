//! Decodes the body of a response: the instances of a service.

use serde::de::{DeserializeSeed, Error as _, SeqAccess};

use crate::model::endpoint::Endpoint;
use crate::model::snapshot::Snapshot;
pub use crate::registry::consul::decode_error::DecodeError;
use crate::registry::consul::instance_filter::InstanceFilter;
use crate::registry::consul::lenient::{LenientSeed, LenientVisitor};
use crate::registry::consul::string_table::StringTable;
use crate::registry::consul::wire::WireEntry;
use crate::registry::query_response::{Decoded, MAX_ENDPOINTS};
use crate::registry::rejected_instances::{RejectReason, RejectedInstances};

/// The maximum length of a body, in bytes. Envoy passes at most this much to a filter
/// (`http.async_response_buffer_limit`): some 25,000 instances of the usual 1.3 KB.
pub const MAX_BODY: usize = 32 << 20;

/// Decodes a body of `/v1/health/service/<name>` or `/v1/health/connect/<name>` into endpoints.
///
/// The body is read in one pass, and of each entry only the endpoint stays in memory. A faulty
/// entry costs only that entry, and is counted. A body that is no complete JSON array is an error,
/// because it does not tell which instances are missing.
pub fn decode(body: &[u8], selection: &InstanceFilter) -> Result<Decoded, DecodeError> {
    let mut reading = EntryCollector::new(selection);
    read(body, &mut reading, |reading| &mut reading.refused)?;
    Ok(reading.into_decoded())
}

/// Reads a whole body into a target, which may refuse it.
pub(super) fn read<'de, T: LenientVisitor<'de>>(
    body: &'de [u8],
    target: &mut T,
    refused: impl FnOnce(&mut T) -> &mut Option<DecodeError>,
) -> Result<(), DecodeError> {
    if body.len() > MAX_BODY {
        return Err(DecodeError::TooLarge { limit: MAX_BODY, found: body.len() });
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = LenientSeed(&mut *target).deserialize(&mut json);
    if let Some(error) = refused(target).take() {
        return Err(error);
    }
    read.map_err(|error| DecodeError::malformed(&error))?;
    json.end().map_err(|error| DecodeError::trailing(&error))
}

/// The collected entries of an array.
pub(super) struct EntryCollector<'s> {
    selection: &'s InstanceFilter,
    labels: StringTable,
    endpoints: Vec<Endpoint>,
    dropped: RejectedInstances,
    /// The unhealthy instances, as if they were healthy.
    unhealthy: Vec<Endpoint>,
    /// The error of a body that is valid JSON and refused.
    pub(super) refused: Option<DecodeError>,
}

impl<'s> EntryCollector<'s> {
    pub(super) fn new(selection: &'s InstanceFilter) -> Self {
        Self {
            selection,
            labels: StringTable::default(),
            endpoints: Vec::new(),
            dropped: RejectedInstances::default(),
            unhealthy: Vec::new(),
            refused: None,
        }
    }

    /// Forgets all entries.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.selection);
    }

    fn take(&mut self, entry: &WireEntry<'_, '_>) -> Result<(), DecodeError> {
        match self.selection.endpoint(entry, &mut self.labels) {
            Ok(endpoint) => self.endpoints.push(endpoint),
            Err(reason) => {
                self.dropped.count(reason);
                if matches!(reason, RejectReason::Unhealthy(_)) {
                    let healthy = self.selection.endpoint_when_healthy(entry, &mut self.labels);
                    self.unhealthy.extend(healthy);
                }
            }
        }
        if self.endpoints.len() + self.unhealthy.len() > MAX_ENDPOINTS {
            return Err(DecodeError::TooManyEndpoints { limit: MAX_ENDPOINTS });
        }
        Ok(())
    }

    pub(super) fn into_decoded(self) -> Decoded {
        let (dropped, mut snapshot) = (self.dropped, Snapshot::new(self.endpoints));
        let healthy = snapshot.endpoints();
        let is_missing = |one: &&Endpoint| {
            healthy.binary_search_by(|other| other.address.cmp(&one.address)).is_err()
        };
        let unhealthy = Snapshot::new(self.unhealthy);
        let missing: Vec<_> = unhealthy.endpoints().iter().filter(is_missing).collect();
        let registered = u32::try_from(snapshot.len() + missing.len()).unwrap_or(u32::MAX);
        if self.selection.tells_unhealthy {
            let missing = missing.into_iter().cloned().collect();
            snapshot = snapshot.with_unhealthy(missing);
        }
        Decoded { snapshot, dropped, registered, unhealthy, origin: None }
    }
}

impl<'de> LenientVisitor<'de> for EntryCollector<'_> {
    fn on_array<A: SeqAccess<'de>>(&mut self, mut entries: A) -> Result<(), A::Error> {
        loop {
            let mut entry = WireEntry::new(self.selection.wanted());
            if entries.next_element_seed(LenientSeed(&mut entry))?.is_none() {
                return Ok(());
            }
            if let Err(error) = self.take(&entry) {
                let stop = A::Error::custom(&error);
                self.refused = Some(error);
                return Err(stop);
            }
        }
    }

    fn on_other(&mut self) {
        self.refused = Some(DecodeError::NotAnArray);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AddressChoice, AddressPolicy, HealthThreshold};
    use crate::model::endpoint::Details;
    use crate::registry::rejected_instances::Unhealthy;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Four instances, as Consul 1.8 writes them: one is passing, one is warning and has an address
    /// of its own, one is in maintenance, and one has little more than a name and stands on an IPv6
    /// node.
    const WEB: &str = include_str!("fixtures/web_1_8.json");

    fn selection(health: HealthThreshold, tag: Option<&str>) -> InstanceFilter {
        let address = match tag {
            Some(tag) => AddressChoice::Tagged(tag.to_owned()),
            None => AddressChoice::Service,
        };
        InstanceFilter {
            health,
            address,
            resolve_names: false,
            policy: AddressPolicy::default(),
            version: None,
            zone_key: None,
            tells_unhealthy: false,
            details: None,
        }
    }

    fn passing(body: &str) -> Result<Decoded, DecodeError> {
        decode(body.as_bytes(), &selection(HealthThreshold::Passing, None))
    }

    fn endpoints(decoded: &Decoded) -> Vec<String> {
        let endpoints = decoded.snapshot.endpoints().iter();
        endpoints.map(|e| format!("{}*{}", e.address, e.weight)).collect()
    }

    #[test]
    fn an_answer_of_consul_becomes_its_passing_endpoints() {
        let decoded = passing(WEB).unwrap();
        assert_eq!(endpoints(&decoded), ["10.1.10.12:8080*10", "[2001:db8:10::15]:8080*1"]);
        let unhealthy = Unhealthy { warning: 1, maintenance: 1, ..Unhealthy::default() };
        assert_eq!(
            decoded.dropped,
            RejectedInstances { unhealthy, ..RejectedInstances::default() }
        );
    }

    #[test]
    fn warning_instances_come_with_their_warning_weight() {
        let selection = selection(HealthThreshold::Warning, None);
        let decoded = decode(WEB.as_bytes(), &selection).unwrap();
        let expected = ["10.1.10.12:8080*10", "172.17.0.5:8080*2", "[2001:db8:10::15]:8080*1"];
        assert_eq!(endpoints(&decoded), expected);
    }

    #[test]
    fn tagged_address_of_the_service_comes_before_that_of_the_node() {
        let selection = selection(HealthThreshold::Warning, Some("WAN"));
        let decoded = decode(WEB.as_bytes(), &selection).unwrap();
        let expected =
            ["198.51.100.12:8080*10", "198.51.100.13:30080*2", "[2001:db8:10::15]:8080*1"];
        assert_eq!(endpoints(&decoded), expected);
    }

    #[test]
    fn an_unknown_service_is_an_empty_array_and_no_error() {
        assert_eq!(passing("[]"), Ok(Decoded::default()));
        assert_eq!(passing(" [ ] \n"), Ok(Decoded::default()));
    }

    #[test]
    fn a_faulty_entry_costs_that_entry_only() {
        let good = r#"{"Node": {"Address": "10.0.0.1"}, "Service": {"Port": 80}}"#;
        let faulty = [
            "null",
            "1",
            "[]",
            "{}",
            r#""entry""#,
            r#"{"Service": null}"#,
            r#"{"Service": {}}"#,
            r#"{"Service": {"Address": "web.internal", "Port": 80}}"#,
            r#"{"Service": {"Address": "10.0.0.9", "Port": 70000}}"#,
            r#"{"Service": {"Address": {"a": [{}]}, "Port": 80, "Meta": [[[{"a": 1e9}]]]}}"#,
        ];
        for entry in faulty {
            let decoded = passing(&format!("[{good}, {entry}, {good}]")).unwrap();
            assert_eq!(endpoints(&decoded), ["10.0.0.1:80*1"], "{entry}");
            assert_eq!(decoded.dropped.total(), 1, "{entry}");
        }
    }

    #[test]
    fn instances_of_one_address_are_one_endpoint_of_greatest_weight() {
        let entry = |weight: u8| {
            let service = format!(r#"{{"Port": 80, "Weights": {{"Passing": {weight}}}}}"#);
            format!(r#"{{"Node": {{"Address": "10.0.0.1"}}, "Service": {service}}}"#)
        };
        let decoded = passing(&format!("[{}, {}, {}]", entry(2), entry(9), entry(4))).unwrap();
        assert_eq!(endpoints(&decoded), ["10.0.0.1:80*9"]);
        assert_eq!(decoded.dropped, RejectedInstances::default());
    }

    #[test]
    fn registered_addresses_are_counted_once_each() {
        let entry = |ip: &str, weight: u8, status: &str| {
            format!(
                r#"{{"Service": {{"Address": "{ip}", "Port": 80, "Weights": {{"Passing": {weight}}}}},
                    "Checks": [{{"Status": "{status}"}}]}}"#
            )
        };
        let body = [
            entry("10.0.0.1", 1, "passing"),
            entry("10.0.0.1", 1, "critical"),
            entry("10.0.0.2", 1, "critical"),
            entry("10.0.0.2", 1, "warning"),
            entry("10.0.0.3", 0, "critical"),
            entry("169.254.0.1", 1, "critical"),
            entry("web.internal", 1, "passing"),
        ];
        let body = format!("[{}]", body.join(","));
        let plain = selection(HealthThreshold::Passing, None);
        let counting = InstanceFilter { tells_unhealthy: true, ..plain.clone() };
        let registered = |selection| {
            let Decoded { snapshot, registered, .. } = decode(body.as_bytes(), selection).unwrap();
            (snapshot.len(), snapshot.registered(), registered)
        };
        assert_eq!(registered(&plain), (1, None, 2));
        assert_eq!(registered(&counting), (1, Some(2), 2));
    }

    #[test]
    fn any_health_takes_traffic_but_maintenance() {
        let weighted = |id: &str, status: &str| {
            let body = format!(
                r#"[{{"Node": {{"Address": "10.0.0.1"}},
                    "Service": {{"Port": 80, "Weights": {{"Passing": 7, "Warning": 2}}}},
                    "Checks": [{{"CheckID": "{id}", "Status": "{status}"}}]}}]"#
            );
            decode(body.as_bytes(), &selection(HealthThreshold::Any, None)).unwrap()
        };
        for (status, weight) in [("passing", 7), ("warning", 2), ("critical", 7), ("?", 7)] {
            let expected = format!("10.0.0.1:80*{weight}");
            assert_eq!(endpoints(&weighted("web", status)), [expected], "{status}");
        }
        let maintenance = weighted("_node_maintenance", "critical");
        assert_eq!((maintenance.snapshot.len(), maintenance.registered), (0, 1));
    }

    #[test]
    fn details_are_the_node_and_the_wanted_metadata() {
        let (most, long) = ("x".repeat(256), "x".repeat(257));
        let body = format!(
            r#"[{{"Node": {{"Node": "n1", "Address": "10.0.0.1", "Meta": {{"rack": "no"}}}},
                "Service": {{"Port": 80, "Meta": {{"tier": "a", "rack": "7", "none": "",
                    "long": "{long}", "most": "{most}", "odd": 1, "env": "b"}}}}}}]"#
        );
        let details = |keys: Option<&[&str]>| {
            let keys = keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
            let plain = selection(HealthThreshold::Passing, None);
            let selection = InstanceFilter { details: keys, ..plain };
            let decoded = decode(body.as_bytes(), &selection).unwrap();
            decoded.snapshot.endpoints()[0].details.as_deref().cloned()
        };
        let entry = |key: &str, value: &str| (key.into(), value.into());
        let node = Details { hostname: Some("n1".into()), ..Details::default() };
        assert_eq!(details(None), None);
        assert_eq!(details(Some(&[])), Some(node.clone()));
        let wanted = ["Tier", "long", "most", "none", "odd", "rack", "tier"];
        let metadata = [entry("most", &most), entry("rack", "7"), entry("tier", "a")].into();
        assert_eq!(details(Some(&wanted)), Some(Details { metadata, ..node }));
    }

    #[test]
    fn a_body_that_is_no_array_is_an_error_that_says_where() {
        assert_eq!(passing(""), Err(DecodeError::Truncated { line: 1, column: 0 }));
        assert_eq!(passing("[{},"), Err(DecodeError::Truncated { line: 1, column: 4 }));
        assert_eq!(passing("<html>"), Err(DecodeError::NotJson { line: 1, column: 1 }));
        assert_eq!(passing("[{}\n x]"), Err(DecodeError::NotJson { line: 2, column: 2 }));
        assert_eq!(passing("[] []"), Err(DecodeError::Trailing { line: 1, column: 4 }));
        for body in ["null", "{}", "1", "true", r#""web""#, r#"{"Errors": ["no"]}"#] {
            assert_eq!(passing(body), Err(DecodeError::NotAnArray), "{body}");
        }
        assert!(decode(b"[\"\xff\"]", &selection(HealthThreshold::Passing, None)).is_err());
    }

    #[test]
    fn an_error_repeats_nothing_of_the_body() {
        let text = passing(r#"[{"Service": {"Meta": {"password": hunter2}}}]"#).unwrap_err();
        let expected = "could not decode consul's answer: not JSON at line 1 column 36; \
                        is it Consul that answers?";
        assert_eq!(text.to_string(), expected);
    }

    #[test]
    fn a_body_beyond_the_limit_is_not_read() {
        let body = vec![b' '; MAX_BODY + 1];
        let error = decode(&body, &selection(HealthThreshold::Passing, None));
        assert_eq!(error, Err(DecodeError::TooLarge { limit: MAX_BODY, found: MAX_BODY + 1 }));
    }

    #[test]
    fn endpoints_beyond_the_limit_are_an_error() {
        let entry = r#"{"Service":{"Address":"10.0.0.1","Port":80}}"#;
        let mut body = format!("[{entry}{}", format!(",{entry}").repeat(MAX_ENDPOINTS - 1));
        assert_eq!(passing(&format!("{body},null]")).unwrap().dropped.no_service, 1);
        body.push_str(&format!(",{entry}]"));
        let limit = MAX_ENDPOINTS;
        assert_eq!(passing(&body), Err(DecodeError::TooManyEndpoints { limit }));
    }
}
