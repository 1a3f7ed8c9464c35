//! Tables of texts that many endpoints share, such as zones. A text is written once and then by
//! number.

use std::rc::Rc;

use hashbrown::{HashMap, HashSet};

use crate::shared::bytes::{CodecError, Reader, push_number};

/// Numbers the labels of one kind in the order of their first occurrence.
#[derive(Debug, Default)]
pub(super) struct StringTableWriter<'t>(HashMap<&'t str, u32>);

impl<'t> StringTableWriter<'t> {
    /// Writes the number of a label. A new label is written as [`NEW`] and its text.
    pub(super) fn push(&mut self, label: &'t str, out: &mut Vec<u8>) {
        if let Some(&number) = self.0.get(label) {
            return push_number(out, number);
        }
        let last = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(label, last.saturating_add(1));
        push_number(out, NEW);
        push_number(out, u32::try_from(label.len()).unwrap_or(u32::MAX));
        out.extend(label.as_bytes());
    }
}

/// Marks a new label, whose text follows. Numbers begin at 1.
const NEW: u32 = 0;

/// Reads labels of one kind. Endpoints with the same label share its text.
#[derive(Debug, Default)]
pub(super) struct StringTableReader {
    labels: Vec<Rc<str>>,
    known: HashSet<Rc<str>>,
}

impl StringTableReader {
    /// Reads a label. An unknown number and a repeated text are refused, because no writer produces
    /// them.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Rc<str>, CodecError> {
        let number = reader.number()? as usize;
        if let Some(last) = number.checked_sub(1) {
            let label = self.labels.get(last).map(Rc::clone);
            return label.ok_or(CodecError::Invalid { field: "label.number" });
        }
        let length = reader.number()? as usize;
        let label: Rc<str> = reader.text_of(length, "label.text")?.into();
        if !self.known.insert(Rc::clone(&label)) {
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
        let (mut writer, mut out) = (StringTableWriter::default(), Vec::new());
        for label in labels {
            writer.push(label, &mut out);
        }
        out
    }

    fn read(bytes: &[u8], count: usize) -> Result<Vec<Rc<str>>, CodecError> {
        let (mut labels, mut reader) = (StringTableReader::default(), Reader::new(bytes)?);
        let read = (0..count).map(|_| labels.read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(read)
    }

    #[test]
    fn label_is_written_once_and_shared_by_its_readers() {
        let bytes = written(&["a", "b", "a", "a"]);
        assert_eq!(bytes.len(), 2 * (1 + 1 + 1) + 2);
        let labels = read(&bytes, 4).unwrap();
        assert_eq!(labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["a", "b", "a", "a"]);
        assert!(Rc::ptr_eq(&labels[0], &labels[3]));
    }

    #[test]
    fn label_is_refused_when_unknown_or_repeated() {
        let wrong = Err(CodecError::Invalid { field: "label.number" });
        assert_eq!(read(&[1], 1), wrong);
        let mut again = written(&["a", "b"]);
        *again.last_mut().unwrap() = b'a';
        assert_eq!(read(&again, 2), wrong);
    }

    #[test]
    fn cut_off_text_is_refused_and_allocates_nothing() {
        let mut long = written(&["a"]);
        long[1] = 253;
        assert!(read(&long, 1).is_err());
    }

    #[test]
    fn labels_decode_when_two_bytes_cannot_number_them() {
        let labels: Vec<String> = (0..=65_536).chain([65_536, 0]).map(|n| n.to_string()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let bytes = written(&labels);
        assert!(read(&bytes, labels.len()).unwrap().iter().map(|it| &**it).eq(labels));
    }
}
