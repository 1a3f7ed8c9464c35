//! The messages that VMs send each other through their queues.

use crate::model::service::QueryKey;
use crate::shared::bytes::{CodecError, Reader, push_text};

/// A message about the source of a query key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Tells all VMs that a new snapshot is published.
    News(QueryKey),
    /// Tells the leader that a request could not reach an endpoint, so Consul may know better by
    /// now.
    Suspicion(QueryKey),
    /// Tells the oldest VM that a request for this host needs the source.
    Wanted(QueryKey, Box<str>),
}

const NEWS: u8 = 1;
const SUSPICION: u8 = 2;
const WANTED: u8 = 3;

impl Message {
    /// Encodes the message in 17 bytes and those of the host.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, QueryKey(key)) = match self {
            Self::News(key) => (NEWS, key),
            Self::Suspicion(key) => (SUSPICION, key),
            Self::Wanted(key, _) => (WANTED, key),
        };
        let mut out = Vec::with_capacity(17);
        out.push(kind);
        out.extend(key.to_le_bytes());
        if let Self::Wanted(_, host) = self {
            push_text(&mut out, host);
        }
        out
    }

    /// Decodes a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let kind = reader.u8()?;
        let key = QueryKey(u128::from_le_bytes(reader.array()?));
        let message = match kind {
            NEWS => Self::News(key),
            SUSPICION => Self::Suspicion(key),
            WANTED => Self::Wanted(key, reader.text("message.host")?.into()),
            _ => return Err(CodecError::Invalid { field: "message.kind" }),
        };
        reader.finish()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn message_decodes_as_encoded() {
        let wanted = Message::Wanted(QueryKey(1), "web.service.consul".into());
        for message in [Message::News(QueryKey(7)), Message::Suspicion(QueryKey(u128::MAX)), wanted]
        {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn bytes_are_refused_when_they_are_no_message() {
        let bytes = Message::News(QueryKey(7)).encode();
        assert_eq!(Message::decode(&[]), Err(CodecError::Empty));
        assert_eq!(Message::decode(&bytes[..16]), Err(CodecError::Truncated { at: 1 }));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Message::decode(&longer), Err(CodecError::Trailing { bytes: 1 }));
        let mut odd = bytes;
        odd[0] = 4;
        assert_eq!(Message::decode(&odd), Err(CodecError::Invalid { field: "message.kind" }));
    }
}
