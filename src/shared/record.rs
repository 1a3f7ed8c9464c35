//! A published snapshot as bytes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU16;

use crate::model::endpoint::Endpoint;
use crate::model::snapshot::Snapshot;
use crate::shared::bytes::{CodecError, Reader};
use crate::shared::head::Term;

/// Which snapshot of a service: later ones are greater.
///
/// The generation counts on over all terms; the term tells whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// The term of the fetcher that published it.
    pub term: Term,
    /// The number of the snapshot.
    pub generation: u64,
}

/// A snapshot with its version.
///
/// An IPv4 endpoint takes 9 bytes, an IPv6 endpoint 21. Endpoints are stored in their
/// order, and a record that is out of order is refused: what is read is a snapshot already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which one it is.
    pub version: Version,
    /// The endpoints.
    pub snapshot: Snapshot,
}

const V4: u8 = 4;
const V6: u8 = 6;
const SMALLEST_ENDPOINT: usize = 9;

impl Record {
    /// Writes the record.
    pub fn encode(&self) -> Vec<u8> {
        let endpoints = self.snapshot.endpoints();
        let mut out = Vec::with_capacity(20 + endpoints.len() * SMALLEST_ENDPOINT);
        out.extend(self.version.term.0.to_le_bytes());
        out.extend(self.version.generation.to_le_bytes());
        out.extend(u32::try_from(endpoints.len()).unwrap_or(u32::MAX).to_le_bytes());
        for endpoint in endpoints {
            match endpoint.address.ip() {
                IpAddr::V4(ip) => {
                    out.push(V4);
                    out.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(V6);
                    out.extend(ip.octets());
                }
            }
            out.extend(endpoint.address.port().to_le_bytes());
            out.extend(endpoint.weight.get().to_le_bytes());
        }
        out
    }

    /// Reads a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let version = Version { term: Term(reader.u64()?), generation: reader.u64()? };
        let count = reader.u32()? as usize;
        if count > reader.left() / SMALLEST_ENDPOINT {
            return Err(CodecError::Invalid { field: "record.count" });
        }
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(count);
        for _ in 0..count {
            let endpoint = decode_endpoint(&mut reader)?;
            if endpoints.last().is_some_and(|last| last.address >= endpoint.address) {
                return Err(CodecError::Invalid { field: "record.order" });
            }
            endpoints.push(endpoint);
        }
        reader.finish()?;
        Ok(Self { version, snapshot: Snapshot::new(endpoints) })
    }
}

fn decode_endpoint(reader: &mut Reader<'_>) -> Result<Endpoint, CodecError> {
    let ip: IpAddr = match reader.u8()? {
        V4 => Ipv4Addr::from(reader.array::<4>()?).into(),
        V6 => Ipv6Addr::from(reader.array::<16>()?).into(),
        _ => {
            return Err(CodecError::Invalid { field: "endpoint.family" });
        }
    };
    let port = reader.u16()?;
    if port == 0 {
        return Err(CodecError::Invalid { field: "endpoint.port" });
    }
    let weight =
        NonZeroU16::new(reader.u16()?).ok_or(CodecError::Invalid { field: "endpoint.weight" })?;
    Ok(Endpoint { address: SocketAddr::new(ip, port), weight })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn record() -> Record {
        let endpoint = |text: &str, weight| Endpoint {
            address: text.parse().unwrap(),
            weight: NonZeroU16::new(weight).unwrap(),
        };
        Record {
            version: Version { term: Term(3), generation: 12 },
            snapshot: Snapshot::new(vec![
                endpoint("[2001:db8::7]:443", 65_535),
                endpoint("10.0.0.7:8080", 1),
                endpoint("10.0.0.8:8080", 5),
            ]),
        }
    }

    #[test]
    fn a_record_reads_back_as_written() {
        assert_eq!(Record::decode(&record().encode()), Ok(record()));
    }

    #[test]
    fn every_shorter_form_is_refused() {
        let bytes = record().encode();
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes were read");
        }
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_allocates_nothing() {
        let mut bytes = record().encode();
        bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Record::decode(&bytes), Err(CodecError::Invalid { field: "record.count" }));
    }

    #[test]
    fn endpoints_out_of_order_are_refused() {
        let mut bytes = record().encode();
        let (first, second) = (bytes[20..29].to_vec(), bytes[29..38].to_vec());
        bytes[20..29].copy_from_slice(&second);
        bytes[29..38].copy_from_slice(&first);
        assert_eq!(Record::decode(&bytes), Err(CodecError::Invalid { field: "record.order" }));
    }
}
