//! Ports for servers that must be able to come back on the same one.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Below the range that Linux takes outgoing ports from (32768 and up), for two reasons: while a
/// server is down nobody else gets its port by connecting somewhere, and a client that retries a
/// dead port never connects to itself.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Every port this process has handed out; none is handed out twice.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that is free on both loopback addresses, for TCP and UDP, and that this process has
/// not been given before. Another process may still take it first: callers retry.
///
/// # Panics
/// When a thousand random ports in a row are taken.
pub fn free() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tries = std::iter::repeat_with(|| fastrand::u16(RANGE)).take(1_000);
    let port = tries
        .find(|port| !taken.contains(port) && is_free(*port))
        .expect("no free port below the ephemeral range");
    taken.insert(port);
    port
}

/// Whether nothing listens on the port on loopback.
pub fn is_free(port: u16) -> bool {
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    let bindable = |address| TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
    // A machine without IPv6 cannot bind there at all, which says nothing about the port.
    let has_v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    bindable(v4) && (!has_v6 || bindable(v6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: HashSet<u16> = (0..50).map(|_| free()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_listening_port_is_not_free() {
        let listener = TcpListener::bind(("127.0.0.1", free())).expect("bind");
        assert!(!is_free(listener.local_addr().expect("address").port()));
    }
}
