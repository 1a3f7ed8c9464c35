//! The index of registrations: everything that this process has registered.

use crate::model::registration::Id;
use crate::shared::bytes::{CodecError, Reader, push_text};

/// The ids that this process has registered, each once.
///
/// An entry is added before the registration and removed after the deregistration. So the index
/// finds registrations that no configuration contains any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistrationIndex(Vec<Id>);

impl RegistrationIndex {
    /// Adds an entry if it is not present yet.
    pub fn add(&mut self, id: Id) {
        if !self.contains(&id) {
            self.0.push(id);
        }
    }

    /// Removes an entry.
    pub fn remove(&mut self, id: &Id) {
        self.0.retain(|entry| entry != id);
    }

    /// Returns true if there is an entry for `id`.
    pub fn contains(&self, id: &Id) -> bool {
        self.0.contains(id)
    }

    /// Returns all entries in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Id> {
        self.0.iter()
    }

    /// Encodes the index.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        for Id { cluster, id, namespace, partition } in &self.0 {
            push_text(&mut out, cluster);
            push_text(&mut out, id);
            for scope in [namespace, partition] {
                out.push(scope.is_some().into());
                push_text(&mut out, scope.as_deref().unwrap_or_default());
            }
        }
        out
    }

    /// Decodes an index.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        if reader.u8()? != 1 {
            return Err(CodecError::Invalid { field: "book.form" });
        }
        let mut index = Self::default();
        while reader.left() > 0 {
            let cluster = reader.text("book.cluster")?.to_owned();
            let id = reader.text("book.id")?.to_owned();
            let mut scope = |field| {
                let is_some = reader.flag(field)?;
                let text = reader.text(field)?;
                Ok(is_some.then(|| text.to_owned()))
            };
            let (namespace, partition) = (scope("book.namespace")?, scope("book.partition")?);
            index.add(Id { cluster, id, namespace, partition });
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn id(id: &str, namespace: Option<&str>) -> Id {
        let namespace = namespace.map(str::to_owned);
        Id { cluster: "consul".to_owned(), id: id.to_owned(), namespace, partition: None }
    }

    #[test]
    fn index_decodes_as_encoded_with_each_entry_once() {
        let mut index = RegistrationIndex::default();
        assert_eq!(RegistrationIndex::decode(&index.encode()), Ok(index.clone()));
        for entry in [id("a", None), id("b", Some("n")), id("a", None), id("a", Some("n"))] {
            index.add(entry);
        }
        assert_eq!(index.iter().count(), 3);
        assert_eq!(RegistrationIndex::decode(&index.encode()), Ok(index.clone()));
        index.remove(&id("a", None));
        assert!(!index.contains(&id("a", None)) && index.contains(&id("a", Some("n"))));
    }

    #[test]
    fn bytes_are_refused_when_they_are_no_index() {
        let mut index = RegistrationIndex::default();
        index.add(id("a", Some("n")));
        let bytes = index.encode();
        assert_eq!(RegistrationIndex::decode(&[]), Err(CodecError::Empty));
        assert_eq!(
            RegistrationIndex::decode(&[2]),
            Err(CodecError::Invalid { field: "book.form" })
        );
        for end in 2..bytes.len() {
            assert!(RegistrationIndex::decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
