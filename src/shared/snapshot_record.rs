//! The binary form of a published snapshot.

use std::rc::Rc;

use crate::model::service_names::ServiceNames;
use crate::model::snapshot::Snapshot;
use crate::shared::bytes::{CodecError, Reader, push_text};
use crate::shared::endpoints::{EndpointReader, EndpointWriter};

/// A snapshot with its version.
///
/// An IPv4 endpoint takes 9 bytes and an IPv6 endpoint 21; an endpoint with a name takes 9 and the
/// name. A zone, a version and each text of an endpoint's details take one byte while there are few
/// of its kind, and up to 5 if there are many. The first occurrence takes 2 or more bytes and the
/// text. A service of a catalog takes 4 bytes and its name.
///
/// Healthy endpoints and then unhealthy endpoints are stored in order, and a record that is out of
/// order is refused, so a decoded list needs no sorting. Every record has exactly one form: a
/// record that decodes encodes to the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The version of the snapshot.
    pub version: SnapshotVersion,
    /// The endpoints.
    pub snapshot: Rc<Snapshot>,
}

/// The kind of data that follows the version: endpoints without or with unhealthy endpoints, or
/// services.
const ENDPOINTS: u8 = 0;
const WITH_UNHEALTHY: u8 = 1;
const SERVICES: u8 = 2;
/// The minimum number of bytes of a service: the length of its name.
const SMALLEST_NAME: usize = 4;

impl SnapshotRecord {
    /// Encodes the record.
    pub fn encode(&self) -> Vec<u8> {
        let endpoints = self.snapshot.endpoints();
        let mut out = Vec::with_capacity(21 + endpoints.len() * EndpointWriter::SMALLEST);
        out.extend(self.version.term.0.to_le_bytes());
        out.extend(self.version.generation.to_le_bytes());
        if let Some(services) = self.snapshot.services() {
            out.push(SERVICES);
            push_services(&mut out, services);
            return out;
        }
        let unhealthy = self.snapshot.unhealthy();
        out.push(if unhealthy.is_some() { WITH_UNHEALTHY } else { ENDPOINTS });
        let mut writer = EndpointWriter::default();
        writer.push(endpoints, &mut out);
        if let Some(unhealthy) = unhealthy {
            writer.push(unhealthy, &mut out);
        }
        out
    }

    /// Decodes a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let version = SnapshotVersion { term: Term(reader.u64()?), generation: reader.u64()? };
        let mut lists = EndpointReader::default();
        let snapshot = match reader.u8()? {
            SERVICES => Snapshot::of_services(decode_services(&mut reader)?),
            ENDPOINTS => Snapshot::new(lists.read(&mut reader)?),
            WITH_UNHEALTHY => {
                let endpoints = lists.read(&mut reader)?;
                let unhealthy = lists.read(&mut reader)?;
                let all = endpoints.len().saturating_add(unhealthy.len());
                let snapshot = Snapshot::new(endpoints).with_unhealthy(unhealthy);
                if snapshot.registered().is_none_or(|registered| registered as usize != all) {
                    return Err(CodecError::Invalid { field: "record.unhealthy" });
                }
                snapshot
            }
            _ => return Err(CodecError::Invalid { field: "record.kind" }),
        };
        reader.finish()?;
        Ok(Self { version, snapshot: Rc::new(snapshot) })
    }
}

fn push_services(out: &mut Vec<u8>, services: &ServiceNames) {
    out.extend(services.left_out().to_le_bytes());
    out.extend(u32::try_from(services.names().len()).unwrap_or(u32::MAX).to_le_bytes());
    for name in services.names() {
        push_text(out, name);
    }
}

fn decode_services(reader: &mut Reader<'_>) -> Result<ServiceNames, CodecError> {
    let (left_out, count) = (reader.u32()?, reader.u32()? as usize);
    if count > reader.left() / SMALLEST_NAME {
        return Err(CodecError::Invalid { field: "services.count" });
    }
    let mut names: Vec<Rc<str>> = Vec::with_capacity(count);
    for _ in 0..count {
        names.push(reader.text("services.name")?.into());
    }
    let services = ServiceNames::new(names.clone());
    if services.names() != names {
        return Err(CodecError::Invalid { field: "services.order" });
    }
    Ok(services.leaving_out(left_out))
}

/// The number of leaders that a source has had. Each leader has a term of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// Returns the term after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The version of a source's snapshot. Later versions are greater.
///
/// The generation keeps counting over the terms until the published snapshot is removed. The term
/// tells which leader wrote the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SnapshotVersion {
    /// The term of the leader that published the snapshot.
    pub term: Term,
    /// The number of the snapshot.
    pub generation: u64,
}

impl SnapshotVersion {
    /// Returns one version for each of the two slots of records.
    pub const fn slots(self) -> [Self; 2] {
        [self, Self { generation: self.generation.wrapping_add(1), ..self }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::{Address, Details, Endpoint};
    use core::net::SocketAddr;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn record() -> SnapshotRecord {
        let endpoint = |text: &str, weight| {
            Endpoint::new(text.parse::<SocketAddr>().unwrap())
                .weighing(NonZeroU16::new(weight).unwrap())
        };
        SnapshotRecord {
            version: SnapshotVersion { term: Term(3), generation: 12 },
            snapshot: Rc::new(Snapshot::new(vec![
                endpoint("[2001:db8::7]:443", 65_535),
                endpoint("10.0.0.7:8080", 1),
                endpoint("10.0.0.8:8080", 5),
            ])),
        }
    }

    /// Two zones and one version among three endpoints, of which one has a name.
    fn labelled() -> SnapshotRecord {
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
        SnapshotRecord { snapshot: Rc::new(Snapshot::new(endpoints)), ..record() }
    }

    /// The same record with two unhealthy endpoints that share the details of the first endpoint.
    fn detailed() -> SnapshotRecord {
        let mut endpoints = labelled().snapshot.endpoints().to_vec();
        let entry = |key: &str, value: &str| (Rc::from(key), Rc::from(value));
        let metadata = [entry("rack", "7"), entry("tier", "a")];
        let details = Details { hostname: Some("n1".into()), metadata: metadata.into() };
        let details = Some(Rc::new(details));
        endpoints[0].details.clone_from(&details);
        endpoints[1].details = Some(Rc::default());
        let ill = |n| Endpoint {
            details: details.clone(),
            ..Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)))
        };
        let snapshot = Snapshot::new(endpoints).with_unhealthy(vec![ill(8), ill(9)]);
        SnapshotRecord { snapshot: Rc::new(snapshot), ..record() }
    }

    fn catalog() -> SnapshotRecord {
        let names = ["api", "web"].map(Rc::from).to_vec();
        let services = ServiceNames::new(names).leaving_out(3);
        SnapshotRecord { snapshot: Rc::new(Snapshot::of_services(services)), ..record() }
    }

    #[test]
    fn services_are_refused_when_order_or_count_is_wrong() {
        let bytes = catalog().encode();
        let mut swapped = bytes.clone();
        let (first, second) = (bytes[25..32].to_vec(), bytes[32..39].to_vec());
        swapped[25..32].copy_from_slice(&second);
        swapped[32..39].copy_from_slice(&first);
        let order = Err(CodecError::Invalid { field: "services.order" });
        assert_eq!(SnapshotRecord::decode(&swapped), order);
        let mut many = bytes;
        many[21..25].copy_from_slice(&u32::MAX.to_le_bytes());
        let count = Err(CodecError::Invalid { field: "services.count" });
        assert_eq!(SnapshotRecord::decode(&many), count);
    }

    #[test]
    fn record_decodes_as_encoded() {
        for record in [record(), labelled(), detailed(), catalog()] {
            assert_eq!(SnapshotRecord::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn endpoint_takes_9_bytes_and_a_known_label_1() {
        let length = |record: SnapshotRecord| record.encode().len();
        let none = SnapshotRecord { snapshot: Rc::default(), ..record() };
        assert_eq!(length(record()) - length(none), 9 + 9 + 21);
        let four = length(labelled()) - 21;
        let (zones, versions, texts) = (3, 3, (1 + 1) + (1 + 1) + (1 + 3));
        assert_eq!(four, 3 * 9 + (9 + "web.internal".len()) + zones + versions + texts);
        let (known, texts) = (1 + 5, (1 + 2) + (1 + 4) + (1 + 1) + (1 + 4) + (1 + 1));
        let more = length(detailed()) - length(labelled());
        assert_eq!(more, known + texts + 1 + 4 + 2 * (9 + known));
    }

    #[test]
    fn record_is_refused_when_it_is_cut_off() {
        for record in [record(), labelled(), detailed(), catalog()] {
            let bytes = record.encode();
            for length in 0..bytes.len() {
                assert!(
                    SnapshotRecord::decode(&bytes[..length]).is_err(),
                    "{length} bytes were read"
                );
            }
        }
    }

    #[test]
    fn count_allocates_nothing_when_it_exceeds_the_bytes() {
        let mut bytes = record().encode();
        bytes[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            SnapshotRecord::decode(&bytes),
            Err(CodecError::Invalid { field: "record.count" })
        );
    }

    #[test]
    fn unhealthy_endpoint_is_refused_when_it_is_healthy_too() {
        let mut bytes = detailed().encode();
        let second = bytes.len() - 2 * (9 + 6);
        bytes[second + 4] = 1;
        assert_eq!(
            SnapshotRecord::decode(&bytes),
            Err(CodecError::Invalid { field: "record.unhealthy" })
        );
        bytes[second + 4] = 10;
        assert_eq!(
            SnapshotRecord::decode(&bytes),
            Err(CodecError::Invalid { field: "record.order" })
        );
    }

    #[test]
    fn details_are_refused_when_order_or_count_is_wrong() {
        let mut bytes = detailed().encode();
        let last = bytes.len() - 6;
        assert_eq!(bytes[last..], [5, 1, 1, 1, 2, 2]);
        bytes[last..].copy_from_slice(&[5, 1, 2, 2, 1, 1]);
        assert_eq!(
            SnapshotRecord::decode(&bytes),
            Err(CodecError::Invalid { field: "details.order" })
        );
        bytes[last..].copy_from_slice(&[7, 1, 1, 1, 2, 2]);
        assert_eq!(
            SnapshotRecord::decode(&bytes),
            Err(CodecError::Invalid { field: "details.count" })
        );
    }

    #[test]
    fn endpoints_are_refused_when_out_of_order() {
        let mut bytes = record().encode();
        let (first, second) = (bytes[21..30].to_vec(), bytes[30..39].to_vec());
        bytes[21..30].copy_from_slice(&second);
        bytes[30..39].copy_from_slice(&first);
        assert_eq!(
            SnapshotRecord::decode(&bytes),
            Err(CodecError::Invalid { field: "record.order" })
        );
    }
}
