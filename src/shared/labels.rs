//! Texts that many endpoints have in common, such as zones: written once, then by number.

use std::rc::Rc;

use hashbrown::{HashMap, HashSet};

use crate::shared::bytes::{CodecError, Reader, push_text};

/// Numbers the labels of one kind, in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct LabelWriter<'t>(HashMap<&'t str, u16>);

impl<'t> LabelWriter<'t> {
    /// The form of a label. There are 65,536 numbers, as many as an answer of Consul may have
    /// endpoints; a label beyond them has none.
    pub(super) fn form_of(&mut self, label: &'t str) -> Option<Label<'t>> {
        if let Some(&number) = self.0.get(label) {
            return Some(Label { number, text: None });
        }
        let number = u16::try_from(self.0.len()).ok()?;
        self.0.insert(label, number);
        Some(Label { number, text: Some(label) })
    }
}

/// A label as it is written: its number, and its text where it comes for the first time.
#[derive(Debug)]
pub(super) struct Label<'t> {
    number: u16,
    text: Option<&'t str>,
}

impl Label<'_> {
    /// Writes the label.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.extend(self.number.to_le_bytes());
        if let Some(text) = self.text {
            push_text(out, text);
        }
    }
}

/// Reads labels of one kind. Endpoints with the same label share its text.
#[derive(Debug, Default)]
pub(super) struct LabelReader {
    labels: Vec<Rc<str>>,
    known: HashSet<Rc<str>>,
}

impl LabelReader {
    /// Reads a label. A number that was skipped, and a text that has a number already, are
    /// refused: no writer writes them.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Rc<str>, CodecError> {
        let number = usize::from(reader.u16()?);
        if let Some(label) = self.labels.get(number) {
            return Ok(Rc::clone(label));
        }
        let label: Rc<str> = reader.text("label.text")?.into();
        if number != self.labels.len() || !self.known.insert(Rc::clone(&label)) {
            return Err(CodecError::Invalid { field: "label.number" });
        }
        self.labels.push(Rc::clone(&label));
        Ok(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn written(labels: &[&str]) -> Vec<u8> {
        let (mut writer, mut out) = (LabelWriter::default(), Vec::new());
        for label in labels {
            writer.form_of(label).unwrap().push(&mut out);
        }
        out
    }

    fn read(bytes: &[u8], count: usize) -> Result<Vec<Rc<str>>, CodecError> {
        let (mut labels, mut reader) = (LabelReader::default(), Reader::new(bytes)?);
        let read = (0..count).map(|_| labels.read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(read)
    }

    #[test]
    fn a_label_is_written_once_and_shared_by_those_who_read_it() {
        let bytes = written(&["a", "b", "a", "a"]);
        assert_eq!(bytes.len(), 2 * (2 + 4 + 1) + 2 * 2);
        let labels = read(&bytes, 4).unwrap();
        assert_eq!(labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["a", "b", "a", "a"]);
        assert!(Rc::ptr_eq(&labels[0], &labels[3]));
    }

    #[test]
    fn a_number_that_was_skipped_and_a_text_that_comes_again_are_refused() {
        let wrong = Err(CodecError::Invalid { field: "label.number" });
        let mut skipped = written(&["a"]);
        skipped[0] = 1;
        assert_eq!(read(&skipped, 1), wrong);
        let mut again = written(&["a", "b"]);
        *again.last_mut().unwrap() = b'a';
        assert_eq!(read(&again, 2), wrong);
    }

    #[test]
    fn there_are_as_many_numbers_as_endpoints_and_no_more() {
        let labels: Vec<String> = (0..=65_536).map(|n| n.to_string()).collect();
        let mut writer = LabelWriter::default();
        assert!(labels[..65_536].iter().all(|label| writer.form_of(label).is_some()));
        assert!(writer.form_of(&labels[65_536]).is_none());
        assert!(writer.form_of(&labels[0]).is_some_and(|label| label.text.is_none()));
    }
}
