//! A gRPC client of `grpc.health.v1.Health`.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint, Error as TransportError};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::runtime;

/// No connection could be had.
#[derive(Debug, thiserror::Error)]
#[error("connecting to {address}")]
pub struct GrpcError {
    address: SocketAddr,
    #[source]
    source: TransportError,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcAnswer {
    /// The number of messages before the status.
    pub messages: usize,
    /// The status; also those that the client or a proxy made of something else.
    pub code: Code,
    /// What the status says.
    pub text: String,
    /// Whether the status came in the headers, with no message and no trailers. Of `Watch` that is
    /// sure; the client of `Check` cannot tell it from trailers without a message.
    pub is_trailers_only: bool,
    /// The instance that answered, where it named itself.
    pub instance: Option<String>,
}

/// A gRPC connection over HTTP/2 without TLS, kept and made again as needed.
#[derive(Debug, Clone)]
pub struct GrpcClient(HealthClient<Channel>);

impl GrpcClient {
    /// Connects, as if `authority` had been asked for. An answer that takes longer than ten
    /// seconds is a status of failure.
    ///
    /// # Errors
    /// No connection.
    ///
    /// # Panics
    /// Where `authority` is no host.
    pub fn connect(address: SocketAddr, authority: &str) -> Result<Self, GrpcError> {
        let failed = |source| GrpcError { address, source };
        let origin = format!("http://{authority}").parse().expect("a host");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
        let endpoint = endpoint.origin(origin).timeout(Duration::from_secs(10));
        let channel = runtime::handle().block_on(endpoint.connect()).map_err(failed)?;
        Ok(Self(HealthClient::new(channel)))
    }

    /// Calls `Check`: one message at most.
    pub fn check(&self) -> GrpcAnswer {
        let mut client = self.0.clone();
        let request = Request::new(HealthCheckRequest::default());
        match runtime::handle().block_on(client.check(request)) {
            Ok(response) => GrpcAnswer {
                messages: 1,
                code: Code::Ok,
                text: String::new(),
                is_trailers_only: false,
                instance: instance(response.metadata()),
            },
            Err(status) => GrpcAnswer::refused(&status),
        }
    }

    /// Calls `Watch`, and reads to the end.
    pub fn watch(&self) -> GrpcAnswer {
        let mut client = self.0.clone();
        runtime::handle().block_on(async {
            let request = Request::new(HealthCheckRequest::default());
            let response = match client.watch(request).await {
                Ok(response) => response,
                Err(status) => return GrpcAnswer::refused(&status),
            };
            let instance = instance(response.metadata());
            let (mut stream, mut messages) = (response.into_inner(), 0);
            let end = loop {
                match stream.message().await {
                    Ok(Some(_)) => messages += 1,
                    Ok(None) => break Status::ok(""),
                    Err(status) => break status,
                }
            };
            let (code, text) = (end.code(), end.message().to_owned());
            GrpcAnswer { messages, code, text, is_trailers_only: false, instance }
        })
    }
}

impl GrpcAnswer {
    /// A status before any message: from the headers, or made of an answer that is no gRPC.
    fn refused(status: &Status) -> Self {
        Self {
            messages: 0,
            code: status.code(),
            text: status.message().to_owned(),
            is_trailers_only: true,
            instance: instance(status.metadata()),
        }
    }
}

fn instance(metadata: &MetadataMap) -> Option<String> {
    metadata.get("x-instance")?.to_str().ok().map(str::to_owned)
}
