//! Reads zone, version and details of an instance from its metadata and tags.
//!
//! As in [`wire`](super::wire), every value may be null, absent or of the wrong kind.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use crate::registry::consul::lenient::{LenientSeed, LenientVisitor, next_name, skip};

/// The wanted texts of an object: of `Meta`, whose keys are case-sensitive as in Consul's own
/// filters, or of `Locality`, which is read in the same way. The keys of version and zone may be
/// equal.
#[derive(Debug, Default)]
pub(super) struct MetadataFields<'de, 's> {
    version_key: Option<&'s str>,
    zone_key: Option<&'s str>,
    /// The wanted keys, sorted.
    detail_keys: &'s [String],
    /// The texts under the wanted keys, in the order of the keys. A text is empty if its key is
    /// absent; the list is empty before the object is read.
    details: Vec<Cow<'de, str>>,
    /// The text under the key of the version, or empty.
    pub(super) version: Cow<'de, str>,
    /// The text under the key of the zone, or empty.
    pub(super) zone: Cow<'de, str>,
}

impl<'s> MetadataFields<'_, 's> {
    /// Creates fields that are empty so far.
    pub(super) fn new(version_key: Option<&'s str>, zone_key: Option<&'s str>) -> Self {
        Self { version_key, zone_key, ..Self::default() }
    }

    /// Adds the sorted keys of details.
    pub(super) fn detailing(self, detail_keys: &'s [String]) -> Self {
        Self { detail_keys, ..self }
    }

    /// Returns true if any key is wanted. If not, the object need not be read.
    pub(super) const fn is_wanted(&self) -> bool {
        self.version_key.is_some() || self.zone_key.is_some() || !self.detail_keys.is_empty()
    }

    /// Returns the wanted keys with their texts, in order. A text is empty if its key is absent.
    pub(super) fn details(&self) -> impl Iterator<Item = (&'s str, &str)> {
        let keys = self.detail_keys.iter().map(String::as_str);
        keys.zip(self.details.iter().map(AsRef::as_ref))
    }
}

impl<'de> LenientVisitor<'de> for MetadataFields<'de, '_> {
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = next_name(&mut fields)? {
            let is_version = self.version_key == Some(&name);
            let is_zone = self.zone_key == Some(&name);
            let detail = self.detail_keys.binary_search_by(|key| key.as_str().cmp(&name)).ok();
            if !is_version && !is_zone && detail.is_none() {
                skip(&mut fields)?;
                continue;
            }
            let mut value = Cow::Borrowed("");
            fields.next_value_seed(LenientSeed(&mut value))?;
            if is_version {
                self.version = value.clone();
            }
            if let Some(place) = detail {
                self.details.resize(self.detail_keys.len(), Cow::Borrowed(""));
                if let Some(detail) = self.details.get_mut(place) {
                    detail.clone_from(&value);
                }
            }
            if is_zone {
                self.zone = value;
            }
        }
        Ok(())
    }
}

/// The rest of the first tag of a list that has the wanted prefix.
#[derive(Debug, Default)]
pub(super) struct MetadataTags<'de, 's> {
    prefix: Option<&'s str>,
    first: Option<Cow<'de, str>>,
}

impl<'s> MetadataTags<'_, 's> {
    /// Creates a reader that has found no tag so far.
    pub(super) const fn new(prefix: Option<&'s str>) -> Self {
        Self { prefix, first: None }
    }

    /// Returns true if a prefix is wanted. If not, the list need not be read.
    pub(super) const fn is_wanted(&self) -> bool {
        self.prefix.is_some()
    }

    /// Returns the text after the prefix. It is empty if no tag has the prefix.
    pub(super) fn rest(&self) -> &str {
        let (tag, prefix) = (self.first.as_deref(), self.prefix);
        tag.zip(prefix).and_then(|(tag, prefix)| tag.strip_prefix(prefix)).unwrap_or_default()
    }
}

impl<'de> LenientVisitor<'de> for MetadataTags<'de, '_> {
    fn on_array<A: SeqAccess<'de>>(&mut self, mut items: A) -> Result<(), A::Error> {
        self.first = None;
        loop {
            let mut tag = Cow::Borrowed("");
            if items.next_element_seed(LenientSeed(&mut tag))?.is_none() {
                return Ok(());
            }
            let is_wanted = self.prefix.is_some_and(|prefix| tag.starts_with(prefix));
            if self.first.is_none() && is_wanted {
                self.first = Some(tag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::consul::wire::{WantedFields, WireEntry};
    use serde::de::DeserializeSeed;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn keep<'de, 's>(json: &'de str, wanted: WantedFields<'s>) -> WireEntry<'de, 's> {
        let mut entry = WireEntry::new(wanted);
        LenientSeed(&mut entry).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
        entry
    }

    /// An instance with all metadata that can be wanted.
    const LABELLED: &str = r#"{
        "Node": {"Locality": {"Region": "eu", "Zone": "n"}, "Meta": {"zone": "nm", "v": "no"}},
        "Service": {"Locality": {"Region": "eu", "Zone": "s"}, "Meta": {"zone": "sm", "v": "1.2"},
                    "Tags": ["a", null, "version-", "v=3", ["v=4"], "v=5"]}}"#;

    #[test]
    fn only_the_wanted_metadata_and_tags_are_kept() {
        let entry = keep(LABELLED, WantedFields::default());
        assert_eq!((entry.service.meta.version.as_ref(), entry.service.tags.rest()), ("", ""));
        assert_eq!((entry.service.meta.zone.as_ref(), entry.node.meta.zone.as_ref()), ("", ""));
        assert_eq!(entry.service.locality.zone, "");

        let wanted = WantedFields {
            version_key: Some("v"),
            version_prefix: Some("v="),
            zone_key: Some("zone"),
            ..WantedFields::default()
        };
        let entry = keep(LABELLED, wanted);
        assert!(matches!(entry.service.meta.version, Cow::Borrowed("1.2")));
        assert_eq!(entry.service.tags.rest(), "3");
        assert_eq!((entry.service.meta.zone.as_ref(), entry.node.meta.zone.as_ref()), ("sm", "nm"));
        assert_eq!(entry.node.meta.version, "", "a node has no version");
        assert_eq!(entry.service.locality.zone, "s");
        assert_eq!(entry.node.locality.zone, "n");
    }

    #[test]
    fn a_key_counts_in_its_exact_case_and_may_be_wanted_twice() {
        let both = |key| WantedFields {
            version_key: Some(key),
            zone_key: Some(key),
            ..WantedFields::default()
        };
        let entry = keep(LABELLED, both("v"));
        assert_eq!(
            (entry.service.meta.version, entry.service.meta.zone),
            ("1.2".into(), "1.2".into())
        );
        let entry = keep(LABELLED, both("V"));
        assert_eq!((entry.service.meta.version, entry.service.meta.zone), ("".into(), "".into()));
    }

    #[test]
    fn labels_of_the_wrong_kind_are_as_if_absent() {
        let wanted = WantedFields {
            version_key: Some("v"),
            version_prefix: Some("v="),
            zone_key: Some("v"),
            ..WantedFields::default()
        };
        for value in ["null", "1", "true", r#""text""#, "[1]", r#"{"v": 1, "Zone": []}"#] {
            let json = format!(
                r#"{{"Node": {{"Locality": {value}, "Meta": {value}}}, "Service": {{
                    "Locality": {value}, "Meta": {value}, "Tags": {value}}}}}"#
            );
            let WireEntry { node, service, .. } = keep(&json, wanted);
            assert_eq!((node.locality.zone, node.meta.zone), ("".into(), "".into()), "{json}");
            assert_eq!((service.tags.rest(), service.meta.version), ("", "".into()), "{json}");
            assert_eq!(service.locality.zone, "", "{json}");
        }
    }
}
