//! What a request says of the endpoint that it went to.

/// How a request ended, as far as it tells something of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An answer that is not the endpoint's fault.
    Success,
    /// A 5xx other than those of a gateway.
    ServerError,
    /// 502, 503 or 504, answered by the endpoint.
    GatewayFailure,
    /// No answer: it could not be reached, reset the connection, or was too slow.
    LocalOrigin,
}

impl Outcome {
    /// Reads an HTTP status that the endpoint answered.
    ///
    /// What is no 5xx is a success, however odd (`Http::CodeUtility::is5xx` and
    /// `isGatewayError` in Envoy's `source/common/http/codes.h`).
    pub const fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayFailure,
            500..=599 => Self::ServerError,
            _ => Self::Success,
        }
    }

    /// Reads a `grpc-status` that the endpoint answered, by the HTTP status that Envoy takes
    /// it for (`Grpc::Utility::grpcToHttpStatus` in its `source/common/grpc/status.cc`).
    ///
    /// `UNAVAILABLE` is 503 and `DEADLINE_EXCEEDED` 504; `UNKNOWN`, `UNIMPLEMENTED`,
    /// `INTERNAL`, `DATA_LOSS` and every code that gRPC does not know are another 5xx; the
    /// rest is about the request.
    pub const fn of_grpc(status: u32) -> Self {
        match status {
            // UNAVAILABLE, DEADLINE_EXCEEDED
            14 | 4 => Self::GatewayFailure,
            // UNKNOWN, UNIMPLEMENTED, INTERNAL, DATA_LOSS
            2 | 12 | 13 | 15 => Self::ServerError,
            0..=16 => Self::Success,
            _ => Self::ServerError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn only_5xx_are_the_endpoints_fault_and_three_of_them_are_a_gateways() {
        for status in 0..=u16::MAX {
            let expected = match status {
                502..=504 => Outcome::GatewayFailure,
                500..=599 => Outcome::ServerError,
                _ => Outcome::Success,
            };
            assert_eq!(Outcome::of_status(status), expected, "{status}");
        }
    }

    #[test]
    fn a_grpc_status_is_what_its_http_status_is_in_envoy() {
        // grpcToHttpStatus, by code.
        const HTTP: [u16; 17] =
            [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (code, http) in (0_u32..).zip(HTTP) {
            assert_eq!(Outcome::of_grpc(code), Outcome::of_status(http), "{code}");
        }
        assert_eq!(Outcome::of_grpc(17), Outcome::ServerError);
        assert_eq!(Outcome::of_grpc(u32::MAX), Outcome::ServerError);
    }
}
