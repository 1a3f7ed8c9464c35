//! What is compared.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;

use crate::config::EnvoyConfig;

/// One way to route a request to one of the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// (a) Envoy's own `ROUND_ROBIN` over a static cluster.
    Native,
    /// (b) The same behind a filter that does nothing.
    Empty,
    /// (c) `envoy/minimal.yaml`, and the service found by its host.
    FilterState,
    /// (d) `envoy/headers.yaml`.
    Headers,
    /// (e) As (a), but the cluster's endpoints come from this filter, which stands on no request's
    /// way.
    Fed,
    /// (p) The same, and this filter picks by `round_robin` among the hosts, for
    /// `stateful_session`.
    Picks,
    /// (r) `envoy/envoy.yaml`.
    Recommended,
    /// (u) This filter, for a host that no service has: what its mere presence takes.
    Unmatched,
    /// (h) As (c), but for every host: the difference is reading and finding the host.
    AnyHost,
    /// (f) The floor of (c): an otherwise empty filter that makes the same two host calls.
    BareHandoff,
    /// (s) No filter of ours; Envoy's `set_filter_state` names one backend to the cluster of (c).
    NativeFilterState,
    /// (m) No filter of ours; Envoy's `header_mutation` sets the headers of (d), to one backend.
    NativeHeaders,
    /// (k) No filter of ours; Envoy's `header_mutation` sets the header of (p), to one backend.
    NativePick,
}

/// What the configurations name.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The filter.
    pub module: &'a Path,
    /// The filter that does nothing.
    pub empty_filter: &'a Path,
    /// The filter that makes two host calls and nothing else.
    pub bare_handoff: &'a Path,
    pub consul: SocketAddr,
    /// The instances of `web`.
    pub backends: &'a [SocketAddr],
}

/// As on the command line.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("none is skipped");
        f.write_str(value.get_name())
    }
}

impl Variant {
    /// All, in the order of a round: those that are compared closest beside each other.
    pub const ALL: [Self; 13] = [
        Self::Native,
        Self::Fed,
        Self::Empty,
        Self::Picks,
        Self::FilterState,
        Self::Headers,
        Self::Recommended,
        Self::Unmatched,
        Self::AnyHost,
        Self::BareHandoff,
        Self::NativeFilterState,
        Self::NativeHeaders,
        Self::NativePick,
    ];

    /// Whether it is there to tell where the time of others goes.
    pub const fn is_part(self) -> bool {
        match self {
            Self::Native
            | Self::Empty
            | Self::Fed
            | Self::Picks
            | Self::FilterState
            | Self::Headers
            | Self::Recommended => false,
            Self::Unmatched
            | Self::AnyHost
            | Self::BareHandoff
            | Self::NativeFilterState
            | Self::NativeHeaders
            | Self::NativePick => true,
        }
    }

    /// The letter that the tables use.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Native => "a",
            Self::Empty => "b",
            Self::FilterState => "c",
            Self::Headers => "d",
            Self::Fed => "e",
            Self::Picks => "p",
            Self::Recommended => "r",
            Self::Unmatched => "u",
            Self::AnyHost => "h",
            Self::BareHandoff => "f",
            Self::NativeFilterState => "s",
            Self::NativeHeaders => "m",
            Self::NativePick => "k",
        }
    }

    /// What it is, in the tables.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Native => "no filter: static cluster, `ROUND_ROBIN`",
            Self::Empty => "empty filter, stock SDK; static cluster",
            Self::FilterState => "this filter, `filter_state`, by host",
            Self::Headers => "this filter, `headers`, as in `envoy/headers.yaml`",
            Self::Fed => "EDS cluster fed by this filter, which is on no request's way",
            Self::Picks => "the same, picks by `stateful_session`, `round_robin`, by host",
            Self::Recommended => "as in `envoy/envoy.yaml`",
            Self::Unmatched => "this filter, no service matches; static cluster",
            Self::AnyHost => "this filter, `filter_state`, any host",
            Self::BareHandoff => "the two host calls of (c) in an else empty filter",
            Self::NativeFilterState => "no wasm: `set_filter_state`, `ORIGINAL_DST`",
            Self::NativeHeaders => "no wasm: `header_mutation`, then as (d)",
            Self::NativePick => {
                "no wasm: `header_mutation`, then `stateful_session`; static cluster"
            }
        }
    }

    /// Its configuration.
    pub fn config(self, places: &Places<'_>) -> EnvoyConfig {
        let mut config = EnvoyConfig::minimal();
        match self {
            Self::Native => {
                config.unplug();
                config.balance_natively(places.backends);
            }
            Self::Empty => {
                let plugin = config.plugin().as_mapping_mut().expect("it is a mapping");
                plugin.remove("configuration");
                config.load(places.empty_filter);
                config.balance_natively(places.backends);
            }
            Self::FilterState | Self::AnyHost | Self::Unmatched => {
                config.load(places.module);
                let service = &mut config.filter()["services"][0];
                if self == Self::FilterState {
                    service["hosts"] = vec!["web.test"].into();
                } else if self == Self::Unmatched {
                    service["hosts"] = vec!["other.test"].into();
                    config.balance_natively(places.backends);
                }
            }
            Self::BareHandoff => {
                let plugin = config.plugin().as_mapping_mut().expect("it is a mapping");
                let address = format!(
                    "{{'@type': type.googleapis.com/google.protobuf.StringValue, value: '{}'}}",
                    places.backends[0]
                );
                let address = serde_yaml_ng::from_str(&address).expect("it is YAML");
                plugin.insert("configuration".into(), address);
                config.load(places.bare_handoff);
            }
            Self::NativeFilterState => config.replace_plugin(&format!(
                "name: envoy.filters.http.set_filter_state
typed_config:
  '@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
  on_request_headers:
    - object_key: envoy.network.transport_socket.original_dst_address
      format_string: {{ text_format_source: {{ inline_string: '{}' }} }}",
                places.backends[0]
            )),
            Self::NativeHeaders => {
                config = EnvoyConfig::headers();
                config.replace_plugin(&format!(
                    "name: envoy.filters.http.header_mutation
typed_config:
  '@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
  mutations:
    request_mutations:
      - append: {{ header: {{ key: x-consul-endpoint-0, value: '{0}' }} }}
      - append: {{ header: {{ key: x-consul-endpoint-1, value: '{0}' }} }}",
                    places.backends[0]
                ));
            }
            Self::NativePick => {
                config.replace_plugin(&format!(
                    "name: envoy.filters.http.header_mutation
typed_config:
  '@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
  mutations:
    request_mutations:
      - append: {{ header: {{ key: x-consul-endpoint, value: '{}' }} }}",
                    base64(places.backends[0].to_string().as_bytes())
                ));
                config.take_picks();
                config.balance_natively(places.backends);
            }
            Self::Headers => {
                config = EnvoyConfig::headers();
                config.load(places.module);
            }
            Self::Fed | Self::Picks => {
                config = EnvoyConfig::fed();
                config.load(places.module);
                if self == Self::Fed {
                    config.unplug();
                } else {
                    config.service()["hosts"] = vec!["web.test"].into();
                    config.service()["load_balancing"]["policy"] = "round_robin".into();
                    config.filter()["handoff"]["via"] = "stateful_session".into();
                    config.take_picks();
                }
            }
            Self::Recommended => {
                config = EnvoyConfig::recommended();
                config.load(places.module);
                config.service()["hosts"] = vec!["web.test"].into();
            }
        }
        config.ask(places.consul);
        config
    }
}

/// Base64, as the header of a pick has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let chunks = bytes.chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0, |bits: usize, place| {
            bits << 8 | usize::from(chunk.get(place).copied().unwrap_or(0))
        });
        (0..4).map(move |place| {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            if place > chunk.len() { '=' } else { char::from(digit) }
        })
    });
    chunks.collect()
}
