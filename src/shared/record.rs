//! A published snapshot as bytes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU16;
use std::rc::Rc;

use crate::model::endpoint::{Address, Endpoint};
use crate::model::services::Services;
use crate::model::snapshot::Snapshot;
use crate::shared::bytes::{CodecError, Reader, push_text};
use crate::shared::head::Term;
use crate::shared::labels::{LabelReader, LabelWriter};

/// Which snapshot of a service: later ones are greater.
///
/// The generation counts on over the terms, until what is published is taken away; the term tells
/// whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// The term of the fetcher that published it.
    pub term: Term,
    /// The number of the snapshot.
    pub generation: u64,
}

impl Version {
    /// One version for each of the two places in which records lie.
    pub const fn places(self) -> [Self; 2] {
        [self, Self { generation: self.generation.wrapping_add(1), ..self }]
    }
}

/// A snapshot with its version.
///
/// An IPv4 endpoint takes 9 bytes and an IPv6 endpoint 21; one with a name takes 9 and the
/// name. A zone and a version take 2 bytes each, and the text where it stands first; a version of
/// which some are registered that are no endpoints takes 8 and the text. Endpoints
/// are stored in their order, and a record that is out of order is refused: what is read is a
/// snapshot already. A service of a catalog takes 4 bytes and its name. There is one form for every record, so what reads well is what was
/// written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which one it is.
    pub version: Version,
    /// The endpoints.
    pub snapshot: Snapshot,
}

/// What follows the version: endpoints, with the number of the registered before them or
/// without, or services.
const ENDPOINTS: u8 = 0;
const REGISTERED: u8 = 1;
const SERVICES: u8 = 2;
const V4: u8 = 4;
const V6: u8 = 6;
const NAME: u8 = 1;
/// Beside the family: a zone, a version follows.
const ZONE: u8 = 0x40;
const VERSION: u8 = 0x80;
const SMALLEST_ENDPOINT: usize = 9;
/// That of a version of which endpoints are lacking: its length, and their number.
const SMALLEST_LACK: usize = 8;
/// That of a service: the length of its name.
const SMALLEST_NAME: usize = 4;

impl Record {
    /// Writes the record.
    pub fn encode(&self) -> Vec<u8> {
        let endpoints = self.snapshot.endpoints();
        let mut out = Vec::with_capacity(21 + endpoints.len() * SMALLEST_ENDPOINT);
        out.extend(self.version.term.0.to_le_bytes());
        out.extend(self.version.generation.to_le_bytes());
        if let Some(services) = self.snapshot.services() {
            out.push(SERVICES);
            push_services(&mut out, services);
            return out;
        }
        out.push(if self.snapshot.registered().is_some() { REGISTERED } else { ENDPOINTS });
        if let Some(registered) = self.snapshot.registered() {
            out.extend(registered.to_le_bytes());
            let lacks = self.snapshot.lacks();
            out.extend(u32::try_from(lacks.len()).unwrap_or(u32::MAX).to_le_bytes());
            for (version, count) in lacks {
                push_text(&mut out, version);
                out.extend(count.to_le_bytes());
            }
        }
        out.extend(u32::try_from(endpoints.len()).unwrap_or(u32::MAX).to_le_bytes());
        let (mut zones, mut versions) = (LabelWriter::default(), LabelWriter::default());
        for endpoint in endpoints {
            let zone = endpoint.zone.as_deref().and_then(|zone| zones.form_of(zone));
            let version = endpoint.version.as_deref().and_then(|text| versions.form_of(text));
            let has_zone = if zone.is_some() { ZONE } else { 0 };
            let has_version = if version.is_some() { VERSION } else { 0 };
            push_address(&mut out, has_zone | has_version, &endpoint.address);
            out.extend(endpoint.weight.get().to_le_bytes());
            for label in [zone, version].into_iter().flatten() {
                label.push(&mut out);
            }
        }
        out
    }

    /// Reads a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let version = Version { term: Term(reader.u64()?), generation: reader.u64()? };
        let registered = match reader.u8()? {
            SERVICES => {
                let services = decode_services(&mut reader)?;
                reader.finish()?;
                return Ok(Self { version, snapshot: Snapshot::of_services(services) });
            }
            REGISTERED => Some((reader.u32()?, decode_lacks(&mut reader)?)),
            ENDPOINTS => None,
            _ => return Err(CodecError::Invalid { field: "record.kind" }),
        };
        let count = reader.u32()? as usize;
        if count > reader.left() / SMALLEST_ENDPOINT {
            return Err(CodecError::Invalid { field: "record.count" });
        }
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(count);
        let (mut zones, mut versions) = (LabelReader::default(), LabelReader::default());
        for _ in 0..count {
            let endpoint = decode_endpoint(&mut reader, &mut zones, &mut versions)?;
            if endpoints.last().is_some_and(|last| last.address >= endpoint.address) {
                return Err(CodecError::Invalid { field: "record.order" });
            }
            endpoints.push(endpoint);
        }
        reader.finish()?;
        let snapshot = Snapshot::new(endpoints);
        let snapshot = match registered {
            Some((registered, lacks)) => {
                let snapshot = snapshot.registering(registered).lacking(lacks.iter().cloned());
                if snapshot.lacks() != lacks {
                    return Err(CodecError::Invalid { field: "record.lacks" });
                }
                snapshot
            }
            None => snapshot,
        };
        Ok(Self { version, snapshot })
    }
}

fn push_services(out: &mut Vec<u8>, services: &Services) {
    out.extend(services.left_out().to_le_bytes());
    out.extend(u32::try_from(services.names().len()).unwrap_or(u32::MAX).to_le_bytes());
    for name in services.names() {
        push_text(out, name);
    }
}

fn decode_services(reader: &mut Reader<'_>) -> Result<Services, CodecError> {
    let (left_out, count) = (reader.u32()?, reader.u32()? as usize);
    if count > reader.left() / SMALLEST_NAME {
        return Err(CodecError::Invalid { field: "services.count" });
    }
    let mut names: Vec<Rc<str>> = Vec::with_capacity(count);
    for _ in 0..count {
        names.push(reader.text("services.name")?.into());
    }
    let services = Services::new(names.clone());
    if services.names() != names {
        return Err(CodecError::Invalid { field: "services.order" });
    }
    Ok(services.leaving_out(left_out))
}

fn decode_lacks(reader: &mut Reader<'_>) -> Result<Vec<(Rc<str>, u32)>, CodecError> {
    let count = reader.u32()? as usize;
    if count > reader.left() / SMALLEST_LACK {
        return Err(CodecError::Invalid { field: "lacks.count" });
    }
    (0..count).map(|_| Ok((reader.text("lacks.version")?.into(), reader.u32()?))).collect()
}

fn push_address(out: &mut Vec<u8>, labels: u8, address: &Address) {
    match address {
        Address::Ip(address) => match address.ip() {
            IpAddr::V4(ip) => {
                out.push(V4 | labels);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(V6 | labels);
                out.extend(ip.octets());
            }
        },
        Address::Name(name, _) => {
            out.push(NAME | labels);
            push_text(out, name);
        }
    }
    out.extend(address.port().to_le_bytes());
}

fn decode_endpoint(
    reader: &mut Reader<'_>,
    zones: &mut LabelReader,
    versions: &mut LabelReader,
) -> Result<Endpoint, CodecError> {
    let head = reader.u8()?;
    let address = match head & !(ZONE | VERSION) {
        V4 => {
            let ip = Ipv4Addr::from(reader.array::<4>()?).into();
            Address::Ip(SocketAddr::new(ip, port(reader)?))
        }
        V6 => {
            let ip = Ipv6Addr::from(reader.array::<16>()?).into();
            Address::Ip(SocketAddr::new(ip, port(reader)?))
        }
        NAME => Address::Name(reader.text("endpoint.name")?.into(), port(reader)?),
        _ => return Err(CodecError::Invalid { field: "endpoint.family" }),
    };
    let weight =
        NonZeroU16::new(reader.u16()?).ok_or(CodecError::Invalid { field: "endpoint.weight" })?;
    let zone = if head & ZONE == 0 { None } else { Some(zones.read(reader)?) };
    let version = if head & VERSION == 0 { None } else { Some(versions.read(reader)?) };
    Ok(Endpoint { address, weight, zone, version, details: None })
}

fn port(reader: &mut Reader<'_>) -> Result<u16, CodecError> {
    match reader.u16()? {
        0 => Err(CodecError::Invalid { field: "endpoint.port" }),
        port => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn record() -> Record {
        let endpoint = |text: &str, weight| {
            Endpoint::new(text.parse::<SocketAddr>().unwrap())
                .weighing(NonZeroU16::new(weight).unwrap())
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

    /// Two zones and one version among three endpoints, of which one has a name.
    fn labelled() -> Record {
        let endpoint = |address: Address, zone: Option<&str>, version: Option<&str>| Endpoint {
            zone: zone.map(Into::into),
            version: version.map(Into::into),
            ..Endpoint::new(address)
        };
        let ip = |n| Address::Ip(SocketAddr::from(([10, 0, 0, n], 80)));
        let name = Address::Name("web.internal".into(), 80);
        let endpoints = vec![
            endpoint(ip(1), Some("a"), Some("1.0")),
            endpoint(ip(2), None, Some("1.0")),
            endpoint(ip(3), Some("b"), None),
            endpoint(name, Some("a"), Some("1.0")),
        ];
        let snapshot = Snapshot::new(endpoints).registering(9);
        let lacks = [("1.0".into(), 2), ("2.0".into(), 3)];
        Record { snapshot: snapshot.lacking(lacks), ..record() }
    }

    fn catalog() -> Record {
        let names = ["api", "web"].map(Rc::from).to_vec();
        let services = Services::new(names).leaving_out(3);
        Record { snapshot: Snapshot::of_services(services), ..record() }
    }

    #[test]
    fn services_out_of_order_or_of_an_impossible_number_are_refused() {
        let bytes = catalog().encode();
        let mut swapped = bytes.clone();
        let (first, second) = (bytes[25..32].to_vec(), bytes[32..39].to_vec());
        swapped[25..32].copy_from_slice(&second);
        swapped[32..39].copy_from_slice(&first);
        let order = Err(CodecError::Invalid { field: "services.order" });
        assert_eq!(Record::decode(&swapped), order);
        let mut many = bytes;
        many[21..25].copy_from_slice(&u32::MAX.to_le_bytes());
        let count = Err(CodecError::Invalid { field: "services.count" });
        assert_eq!(Record::decode(&many), count);
    }

    #[test]
    fn a_record_reads_back_as_written() {
        for record in [record(), labelled(), catalog()] {
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn an_endpoint_takes_9_bytes_and_a_label_2_where_it_is_known() {
        let length = |record: Record| record.encode().len();
        let none = Record { snapshot: Snapshot::default(), ..record() };
        assert_eq!(length(record()) - length(none), 9 + 9 + 21);
        let lacks = 2 * (8 + "1.0".len());
        let four = length(labelled()) - (21 + 4 + 4 + lacks);
        let (zones, versions, texts) = (3 * 2, 3 * 2, (4 + 1) + (4 + 1) + (4 + 3));
        assert_eq!(four, 3 * 9 + (9 + "web.internal".len()) + zones + versions + texts);
    }

    #[test]
    fn every_shorter_form_is_refused() {
        for bytes in [record().encode(), labelled().encode(), catalog().encode()] {
            for length in 0..bytes.len() {
                assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes were read");
            }
        }
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_allocates_nothing() {
        let mut bytes = record().encode();
        bytes[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Record::decode(&bytes), Err(CodecError::Invalid { field: "record.count" }));
    }

    #[test]
    fn versions_that_lack_endpoints_are_refused_out_of_order_or_of_a_false_number() {
        let bytes = labelled().encode();
        let first = 21 + 4..21 + 4 + 11;
        let mut twice = bytes.clone();
        twice.copy_within(first, 21 + 4 + 11);
        let order = Err(CodecError::Invalid { field: "record.lacks" });
        assert_eq!(Record::decode(&twice), order);
        let mut many = bytes;
        many[21..25].copy_from_slice(&u32::MAX.to_le_bytes());
        let count = Err(CodecError::Invalid { field: "lacks.count" });
        assert_eq!(Record::decode(&many), count);
    }

    #[test]
    fn endpoints_out_of_order_are_refused() {
        let mut bytes = record().encode();
        let (first, second) = (bytes[21..30].to_vec(), bytes[30..39].to_vec());
        bytes[21..30].copy_from_slice(&second);
        bytes[30..39].copy_from_slice(&first);
        assert_eq!(Record::decode(&bytes), Err(CodecError::Invalid { field: "record.order" }));
    }
}
