//! The shape of an entry of `/v1/health/service/<name>`, as far as it is read.
//!
//! Field names are those of Consul's `ServiceEntry`, case-sensitive except where versions of Consul
//! differ. A value that is null, absent or of the wrong kind leaves the field at its default.
//! Strings are borrowed from the body.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use crate::registry::consul::health::Health;
use crate::registry::consul::lenient::{LenientSeed, LenientVisitor, next_name, skip};
use crate::registry::consul::metadata::{MetadataFields, MetadataTags};

/// One instance of a service, as Consul describes it.
#[derive(Debug, Default)]
pub(super) struct WireEntry<'de, 's> {
    pub(super) node: WireNode<'de, 's>,
    pub(super) service: WireService<'de, 's>,
    pub(super) checks: Checks,
}

/// The optional fields of an entry to keep.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WantedFields<'s> {
    /// The name of a tagged address in any case, since configurations and versions of Consul differ
    /// in it.
    pub(super) address: Option<&'s str>,
    /// The key of metadata that contains the version.
    pub(super) version_key: Option<&'s str>,
    /// The prefix of the tag that contains the version.
    pub(super) version_prefix: Option<&'s str>,
    /// The key of metadata that contains the zone, if Consul itself does not know it. `None` if no
    /// zone is read.
    pub(super) zone_key: Option<&'s str>,
    /// The keys of metadata that Envoy is told besides the name of the node. `None` if neither is
    /// read.
    pub(super) details: Option<&'s [String]>,
}

impl<'s> WireEntry<'_, 's> {
    /// Creates an empty entry that will keep the wanted fields.
    pub(super) fn new(wanted: WantedFields<'s>) -> Self {
        let mut entry = Self::default();
        entry.node.tagged.name = wanted.address;
        // Consul's own name for it.
        let zone_field = wanted.zone_key.map(|_| "Zone");
        entry.node.locality = MetadataFields::new(None, zone_field);
        entry.node.meta = MetadataFields::new(None, wanted.zone_key);
        entry.node.is_named = wanted.details.is_some();
        entry.service.tagged.name = wanted.address;
        entry.service.locality = MetadataFields::new(None, zone_field);
        let meta = MetadataFields::new(wanted.version_key, wanted.zone_key);
        entry.service.meta = meta.detailing(wanted.details.unwrap_or_default());
        entry.service.tags = MetadataTags::new(wanted.version_prefix);
        entry
    }
}

impl<'de> LenientVisitor<'de> for WireEntry<'de, '_> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            match name.as_ref() {
                "Node" => fields.next_value_seed(LenientSeed(&mut self.node))?,
                "Service" => fields.next_value_seed(LenientSeed(&mut self.service))?,
                "Checks" => fields.next_value_seed(LenientSeed(&mut self.checks))?,
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

/// The node of an instance.
#[derive(Debug, Default)]
pub(super) struct WireNode<'de, 's> {
    /// True if the name is wanted.
    is_named: bool,
    /// The name. Empty if it is not wanted or absent.
    pub(super) name: Cow<'de, str>,
    /// The address. Empty if absent.
    pub(super) address: Cow<'de, str>,
    /// The wanted tagged address, which is a plain string. Empty if absent.
    pub(super) tagged: Tagged<'s, Cow<'de, str>>,
    /// The locality that Consul knows (1.17 and later).
    pub(super) locality: MetadataFields<'de, 's>,
    pub(super) meta: MetadataFields<'de, 's>,
}

impl<'de> LenientVisitor<'de> for WireNode<'de, '_> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            match name.as_ref() {
                "Node" if self.is_named => fields.next_value_seed(LenientSeed(&mut self.name))?,
                "Address" => fields.next_value_seed(LenientSeed(&mut self.address))?,
                "TaggedAddresses" => fields.next_value_seed(LenientSeed(&mut self.tagged))?,
                "Locality" if self.locality.is_wanted() => {
                    fields.next_value_seed(LenientSeed(&mut self.locality))?;
                }
                "Meta" if self.meta.is_wanted() => {
                    fields.next_value_seed(LenientSeed(&mut self.meta))?
                }
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

/// The registered service of an instance.
#[derive(Debug, Default)]
pub(super) struct WireService<'de, 's> {
    /// True if there was an object. If not, the other fields have their defaults.
    pub(super) present: bool,
    /// The address. Usually empty.
    pub(super) address: Cow<'de, str>,
    pub(super) port: Option<i64>,
    pub(super) weights: WireWeights,
    pub(super) tagged: Tagged<'s, ServiceAddress<'de>>,
    /// The locality that Consul knows (1.17 and later). Empty if that of the node counts.
    pub(super) locality: MetadataFields<'de, 's>,
    pub(super) meta: MetadataFields<'de, 's>,
    pub(super) tags: MetadataTags<'de, 's>,
}

impl<'de> LenientVisitor<'de> for WireService<'de, '_> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        self.present = true;
        while let Some(name) = next_name(&mut fields)? {
            match name.as_ref() {
                "Address" => fields.next_value_seed(LenientSeed(&mut self.address))?,
                "Port" => fields.next_value_seed(LenientSeed(&mut self.port))?,
                "Weights" => fields.next_value_seed(LenientSeed(&mut self.weights))?,
                "TaggedAddresses" => fields.next_value_seed(LenientSeed(&mut self.tagged))?,
                "Locality" if self.locality.is_wanted() => {
                    fields.next_value_seed(LenientSeed(&mut self.locality))?;
                }
                "Meta" if self.meta.is_wanted() => {
                    fields.next_value_seed(LenientSeed(&mut self.meta))?
                }
                "Tags" if self.tags.is_wanted() => {
                    fields.next_value_seed(LenientSeed(&mut self.tags))?
                }
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

/// The weights of an instance, one for each health that may take traffic.
#[derive(Debug, Default)]
pub(super) struct WireWeights {
    pub(super) passing: Option<i64>,
    pub(super) warning: Option<i64>,
}

impl<'de> LenientVisitor<'de> for WireWeights {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            match name.as_ref() {
                "Passing" => fields.next_value_seed(LenientSeed(&mut self.passing))?,
                "Warning" => fields.next_value_seed(LenientSeed(&mut self.warning))?,
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

/// The wanted one of an object of tagged addresses.
#[derive(Debug, Default)]
pub(super) struct Tagged<'s, V> {
    /// The name of the wanted address. `None` keeps none.
    name: Option<&'s str>,
    pub(super) value: V,
}

impl<'de, V: LenientVisitor<'de>> LenientVisitor<'de> for Tagged<'_, V> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            match self.name {
                Some(wanted) if wanted.eq_ignore_ascii_case(&name) => {
                    fields.next_value_seed(LenientSeed(&mut self.value))?;
                }
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

/// A tagged address of a service. Some versions write `Address` and `Port` in lower case.
#[derive(Debug, Default)]
pub(super) struct ServiceAddress<'de> {
    /// The address. Empty if absent.
    pub(super) address: Cow<'de, str>,
    pub(super) port: Option<i64>,
}

impl<'de> LenientVisitor<'de> for ServiceAddress<'de> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            if name.eq_ignore_ascii_case("address") {
                fields.next_value_seed(LenientSeed(&mut self.address))?;
            } else if name.eq_ignore_ascii_case("port") {
                fields.next_value_seed(LenientSeed(&mut self.port))?;
            } else {
                skip(&mut fields)?;
            }
        }
        Ok(())
    }
}

/// The worst check of the node and the service.
///
/// Null or absent means that there is no check, and so passing. A list or a check of the wrong kind
/// is [`Health::Unknown`], since an unreadable check is no reason for traffic.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) worst: Health,
}

impl<'de> LenientVisitor<'de> for Checks {
    fn on_null(&mut self) {}

    fn on_array<A: SeqAccess<'de>>(&mut self, mut items: A) -> Result<(), A::Error> {
        loop {
            let mut check = WireCheck::default();
            if items.next_element_seed(LenientSeed(&mut check))?.is_none() {
                return Ok(());
            }
            self.worst = self.worst.max(Health::of_check(&check.id, &check.status));
        }
    }

    fn on_other(&mut self) {
        self.worst = self.worst.max(Health::Unknown);
    }
}

#[derive(Debug, Default)]
struct WireCheck<'de> {
    id: Cow<'de, str>,
    status: Cow<'de, str>,
}

impl<'de> LenientVisitor<'de> for WireCheck<'de> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            match name.as_ref() {
                "CheckID" => fields.next_value_seed(LenientSeed(&mut self.id))?,
                "Status" => fields.next_value_seed(LenientSeed(&mut self.status))?,
                _ => skip(&mut fields)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeSeed;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read<'de, 's>(json: &'de str, tag: Option<&'s str>) -> WireEntry<'de, 's> {
        let mut entry = WireEntry::new(WantedFields { address: tag, ..WantedFields::default() });
        LenientSeed(&mut entry).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
        entry
    }

    #[test]
    fn an_entry_is_read_without_copying_its_strings() {
        let entry = read(
            r#"{"Node": {"ID": "1", "Address": "10.0.0.1", "Meta": {"Address": "no"}},
                "Service": {"Tags": ["a"], "Address": "", "Port": 80, "Weights": {"Passing": 3}},
                "Checks": [{"CheckID": "serfHealth", "Status": "passing"}]}"#,
            None,
        );
        assert!(matches!(entry.node.address, Cow::Borrowed("10.0.0.1")));
        assert!(entry.service.present);
        assert_eq!((entry.service.address.as_ref(), entry.service.port), ("", Some(80)));
        assert_eq!((entry.service.weights.passing, entry.service.weights.warning), (Some(3), None));
        assert_eq!(entry.checks.worst, Health::Passing);
    }

    #[test]
    fn nulls_and_values_of_the_wrong_kind_are_as_if_absent() {
        for value in ["null", "true", "-1.5", r#""text""#, "[[]]", r#"{"a": {"b": 1}}"#] {
            let json = format!(
                r#"{{"Node": {value}, "Checks": null, "Other": {value}, "Service": {{
                    "Meta": {value}, "Tags": {value}, "Weights": {value}, "Port": {value},
                    "TaggedAddresses": {value}}}}}"#
            );
            let entry = read(&json, Some("lan"));
            assert!(entry.service.present, "{json}");
            assert_eq!(entry.service.port, None, "{json}");
            assert_eq!(entry.service.weights.passing, None, "{json}");
            assert_eq!(entry.node.address, "", "{json}");
            assert_eq!(entry.checks.worst, Health::Passing, "{json}");
        }
        for service in ["null", "[]", "\"web\"", "1"] {
            assert!(!read(&format!(r#"{{"Service": {service}}}"#), None).service.present);
        }
        assert!(!read("null", None).service.present);
    }

    #[test]
    fn the_worst_check_is_kept_and_an_unreadable_one_is_unknown() {
        let worst = |checks: &str| read(&format!(r#"{{"Checks": {checks}}}"#), None).checks.worst;
        assert_eq!(worst("[]"), Health::Passing);
        assert_eq!(worst(r#"[{"Status": "critical"}, {"Status": "warning"}]"#), Health::Critical);
        assert_eq!(worst(r#"[{"Status": "passing"}, null]"#), Health::Unknown);
        assert_eq!(worst(r#"[{"Status": null}]"#), Health::Unknown);
        assert_eq!(worst(r#"[{"Status": "passing"}, {"Status": ["passing"]}]"#), Health::Unknown);
        assert_eq!(worst(r#""passing""#), Health::Unknown);
        assert_eq!(worst(r#"{"Status": "passing"}"#), Health::Unknown);
    }

    #[test]
    fn the_wanted_tagged_address_is_found_in_any_case() {
        let json = r#"{
            "Node": {"TaggedAddresses": {"lan": "10.0.0.1", "WAN": "192.0.2.1"}},
            "Service": {"TaggedAddresses": {
                "lan": {"Address": "10.0.0.2", "Port": 80},
                "Wan": {"address": "192.0.2.2", "PORT": 8080}}}}"#;
        let entry = read(json, Some("wan"));
        assert_eq!(entry.node.tagged.value, "192.0.2.1");
        assert_eq!(entry.service.tagged.value.address, "192.0.2.2");
        assert_eq!(entry.service.tagged.value.port, Some(8080));
        let none = read(json, None);
        assert_eq!((none.node.tagged.value.as_ref(), none.service.tagged.value.port), ("", None));
    }
}
