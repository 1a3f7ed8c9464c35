//! What probes have found out about the endpoints of a source.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::shared::bytes::{CodecError, Reader};
use crate::shared::head::Term;

/// Which endpoints of a source are not healthy, as the fetcher of a term has found by its probes.
///
/// An IPv4 address takes 7 bytes and an IPv6 address 19. They are stored in their order, each once.
/// The terms of what stands there never go back: so whoever has lost the lease overwrites nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The term of the fetcher that has written this.
    pub term: Term,
    /// Those that are not healthy.
    pub unhealthy: Vec<SocketAddr>,
}

const V4: u8 = 4;
const V6: u8 = 6;
const SMALLEST: usize = 7;

impl Findings {
    /// Writes them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.unhealthy.len() * SMALLEST);
        out.extend(self.term.0.to_le_bytes());
        out.extend(u32::try_from(self.unhealthy.len()).unwrap_or(u32::MAX).to_le_bytes());
        for address in &self.unhealthy {
            match address.ip() {
                IpAddr::V4(ip) => {
                    out.push(V4);
                    out.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(V6);
                    out.extend(ip.octets());
                }
            }
            out.extend(address.port().to_le_bytes());
        }
        out
    }

    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let term = Term(reader.u64()?);
        let count = reader.u32()? as usize;
        if count > reader.left() / SMALLEST {
            return Err(CodecError::Invalid { field: "findings.count" });
        }
        let mut unhealthy: Vec<SocketAddr> = Vec::with_capacity(count);
        for _ in 0..count {
            let ip: IpAddr = match reader.u8()? {
                V4 => Ipv4Addr::from(reader.array::<4>()?).into(),
                V6 => Ipv6Addr::from(reader.array::<16>()?).into(),
                _ => return Err(CodecError::Invalid { field: "findings.family" }),
            };
            let address = SocketAddr::new(ip, reader.u16()?);
            if unhealthy.last().is_some_and(|last| *last >= address) {
                return Err(CodecError::Invalid { field: "findings.order" });
            }
            unhealthy.push(address);
        }
        reader.finish()?;
        Ok(Self { term, unhealthy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn findings(addresses: &[&str]) -> Findings {
        let unhealthy = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Findings { term: Term(7), unhealthy }
    }

    #[test]
    fn findings_read_back_as_written() {
        for addresses in [&[][..], &["10.0.0.1:80", "10.0.0.1:81", "[::1]:80"]] {
            let findings = findings(addresses);
            assert_eq!(Findings::decode(&findings.encode()), Ok(findings));
        }
    }

    #[test]
    fn bytes_that_are_no_findings_are_told_apart() {
        let invalid = |field| Err(CodecError::Invalid { field });
        let bytes = findings(&["10.0.0.1:80"]).encode();
        assert_eq!(Findings::decode(&[]), Err(CodecError::Empty));
        assert_eq!(Findings::decode(&bytes[..9]), Err(CodecError::Truncated { at: 8 }));
        assert_eq!(Findings::decode(&bytes[..18]), invalid("findings.count"));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Findings::decode(&longer), Err(CodecError::Trailing { bytes: 1 }));
        let mut odd = bytes;
        odd[12] = 5;
        assert_eq!(Findings::decode(&odd), invalid("findings.family"));
        for twice in [["10.0.0.1:80"; 2], ["10.0.0.2:80", "10.0.0.1:80"]] {
            assert_eq!(Findings::decode(&findings(&twice).encode()), invalid("findings.order"));
        }
    }
}
