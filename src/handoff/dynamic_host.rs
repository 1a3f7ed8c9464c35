//! The handoff to Envoy's dynamic forward proxy, which resolves names itself.

use core::net::SocketAddr;

use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::handoff::filter_state::argument;
use crate::model::endpoint::Address;

/// The keys under which the dynamic forward proxy finds a host and its port in the filter state.
const HOST_KEY: &str = "envoy.upstream.dynamic_host";
const PORT_KEY: &str = "envoy.upstream.dynamic_port";

/// The keys under which a TLS connection finds the name that it asks for (SNI), and the names of
/// which the certificate must have one. Both go before `auto_sni` and `auto_san_validation`, which use the
/// host that the client has sent.
const SERVER_NAME_KEY: &str = "envoy.network.upstream_server_name";
const SUBJECT_ALT_NAMES_KEY: &str = "envoy.network.upstream_subject_alt_names";

/// Encodes an address as arguments of `set_envoy_filter_state`: two for an IP address and its port, four
/// for a name.
pub(super) fn encode(address: &Address) -> EncodedHandoff {
    let argument = |key, value: &str| argument(key, value).into();
    let port = argument(PORT_KEY, &address.port().to_string());
    let (host, rest) = match address {
        Address::Ip(SocketAddr::V4(address)) => (address.ip().to_string(), vec![port]),
        Address::Ip(SocketAddr::V6(address)) => (format!("[{}]", address.ip()), vec![port]),
        Address::Name(name, _) => {
            let certified = [SERVER_NAME_KEY, SUBJECT_ALT_NAMES_KEY];
            let [asked_for, certified] = certified.map(|key| argument(key, name));
            (name.to_string(), vec![port, asked_for, certified])
        }
    };
    EncodedHandoff { first: argument(HOST_KEY, &host), rest: rest.into() }
}
