//! What a judgement changes.

/// What has become of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It is out of use.
    Ejected(Cause),
    /// It takes its share again.
    Returned,
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Too many 5xx in a row.
    Consecutive5xx,
    /// Too many 502, 503 and 504 in a row.
    ConsecutiveGatewayFailure,
    /// Out of reach too often in a row.
    ConsecutiveLocalOriginFailure,
    /// A success rate far below that of the others.
    SuccessRate,
    /// Out of reach far more often than the others.
    SuccessRateLocalOrigin,
    /// Too many of its answers were failures.
    FailurePercentage,
    /// Too often out of reach.
    FailurePercentageLocalOrigin,
    /// The request that probed it after an ejection failed.
    Probe,
}

impl Cause {
    /// Of the rates of what endpoints answer: far below the others', and too low.
    pub(super) const ANSWERS: [Self; 2] = [Self::SuccessRate, Self::FailurePercentage];
    /// The same of how often they could be reached.
    pub(super) const CONNECTIONS: [Self; 2] =
        [Self::SuccessRateLocalOrigin, Self::FailurePercentageLocalOrigin];

    /// The cause, as Envoy names it (`OutlierEjectionType`); a failed probe is our own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::SuccessRateLocalOrigin => "success_rate_local_origin",
            Self::FailurePercentage => "failure_percentage",
            Self::FailurePercentageLocalOrigin => "failure_percentage_local_origin",
            Self::Probe => "probe",
        }
    }
}
