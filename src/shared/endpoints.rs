//! The binary form of endpoints.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU16;
use std::rc::Rc;

use crate::model::endpoint::{Address, Details, Endpoint};
use crate::shared::bytes::{CodecError, Reader, push_number, push_text};
use crate::shared::string_table::{StringTableReader, StringTableWriter};

/// The family of an address.
const V4: u8 = 4;
const V6: u8 = 6;
const NAME: u8 = 1;
/// Flags beside the family: details, a zone or a version follow.
const DETAILS: u8 = 0x20;
const ZONE: u8 = 0x40;
const VERSION: u8 = 0x80;
/// The minimum number of bytes of a metadata entry: two labels.
const SMALLEST_ENTRY: usize = 2;

/// Writes lists of endpoints. A repeated text is written as a number.
#[derive(Debug, Default)]
pub(super) struct EndpointWriter<'t> {
    zones: StringTableWriter<'t>,
    versions: StringTableWriter<'t>,
    hostnames: StringTableWriter<'t>,
    keys: StringTableWriter<'t>,
    values: StringTableWriter<'t>,
}

impl<'t> EndpointWriter<'t> {
    /// The minimum number of bytes of an endpoint.
    pub(super) const SMALLEST: usize = 9;

    /// Writes a list.
    pub(super) fn push(&mut self, endpoints: &'t [Endpoint], out: &mut Vec<u8>) {
        out.extend(u32::try_from(endpoints.len()).unwrap_or(u32::MAX).to_le_bytes());
        for Endpoint { address, weight, zone, version, details } in endpoints {
            let flag = |bit, is_there| if is_there { bit } else { 0 };
            let labels = flag(ZONE, zone.is_some()) | flag(VERSION, version.is_some());
            push_address(out, labels | flag(DETAILS, details.is_some()), address);
            out.extend(weight.get().to_le_bytes());
            zone.iter().for_each(|zone| self.zones.push(zone, out));
            version.iter().for_each(|version| self.versions.push(version, out));
            details.iter().for_each(|details| self.push_details(details, out));
        }
    }

    /// Writes twice the number of entries, plus one if there is a host name; then the host name and
    /// the entries.
    fn push_details(&mut self, details: &'t Details, out: &mut Vec<u8>) {
        let Details { hostname, metadata } = details;
        let entries = u32::try_from(metadata.len()).unwrap_or(u32::MAX);
        push_number(out, entries.saturating_mul(2) | u32::from(hostname.is_some()));
        hostname.iter().for_each(|hostname| self.hostnames.push(hostname, out));
        for (key, value) in metadata {
            self.keys.push(key, out);
            self.values.push(value, out);
        }
    }
}

/// Reads lists of endpoints, each in order and without an address twice. Endpoints with the same
/// text share it.
#[derive(Debug, Default)]
pub(super) struct EndpointReader {
    zones: StringTableReader,
    versions: StringTableReader,
    hostnames: StringTableReader,
    keys: StringTableReader,
    values: StringTableReader,
}

impl EndpointReader {
    /// Reads a list. A count that the bytes cannot hold is refused before anything is allocated.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Vec<Endpoint>, CodecError> {
        let count = reader.u32()? as usize;
        if count > reader.left() / EndpointWriter::SMALLEST {
            return Err(CodecError::Invalid { field: "record.count" });
        }
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(count);
        for _ in 0..count {
            let endpoint = self.endpoint(reader)?;
            if endpoints.last().is_some_and(|last| last.address >= endpoint.address) {
                return Err(CodecError::Invalid { field: "record.order" });
            }
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }

    fn endpoint(&mut self, reader: &mut Reader<'_>) -> Result<Endpoint, CodecError> {
        let head = reader.u8()?;
        let address = decode_address(head & !(DETAILS | ZONE | VERSION), reader)?;
        let weight = NonZeroU16::new(reader.u16()?);
        let weight = weight.ok_or(CodecError::Invalid { field: "endpoint.weight" })?;
        let zone = if head & ZONE == 0 { None } else { Some(self.zones.read(reader)?) };
        let version = if head & VERSION == 0 { None } else { Some(self.versions.read(reader)?) };
        let details = if head & DETAILS == 0 { None } else { Some(self.details(reader)?.into()) };
        Ok(Endpoint { address, weight, zone, version, details })
    }

    fn details(&mut self, reader: &mut Reader<'_>) -> Result<Details, CodecError> {
        let number = reader.number()?;
        let hostname = if number & 1 == 0 { None } else { Some(self.hostnames.read(reader)?) };
        let entries = (number / 2) as usize;
        if entries > reader.left() / SMALLEST_ENTRY {
            return Err(CodecError::Invalid { field: "details.count" });
        }
        let mut metadata: Vec<(Rc<str>, Rc<str>)> = Vec::with_capacity(entries);
        for _ in 0..entries {
            let entry = (self.keys.read(reader)?, self.values.read(reader)?);
            if metadata.last().is_some_and(|last| last.0 >= entry.0) {
                return Err(CodecError::Invalid { field: "details.order" });
            }
            metadata.push(entry);
        }
        Ok(Details { hostname, metadata: metadata.into() })
    }
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

fn decode_address(family: u8, reader: &mut Reader<'_>) -> Result<Address, CodecError> {
    match family {
        V4 => {
            let ip = Ipv4Addr::from(reader.array::<4>()?).into();
            Ok(Address::Ip(SocketAddr::new(ip, port(reader)?)))
        }
        V6 => {
            let ip = Ipv6Addr::from(reader.array::<16>()?).into();
            Ok(Address::Ip(SocketAddr::new(ip, port(reader)?)))
        }
        NAME => Ok(Address::Name(reader.text("endpoint.name")?.into(), port(reader)?)),
        _ => Err(CodecError::Invalid { field: "endpoint.family" }),
    }
}

fn port(reader: &mut Reader<'_>) -> Result<u16, CodecError> {
    match reader.u16()? {
        0 => Err(CodecError::Invalid { field: "endpoint.port" }),
        port => Ok(port),
    }
}
