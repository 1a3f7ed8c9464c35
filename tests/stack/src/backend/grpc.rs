//! A gRPC server that names itself in the metadata of every answer.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_stream::{Iter, iter};
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::listener::Listener;

/// How a gRPC backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// `SERVING`, and the status `OK` in trailers.
    Serve,
    /// No message, and this status in the *headers*: the form that gRPC calls trailers-only.
    Refuse(Code),
    /// `Watch` sends a message and then fails with this status in *trailers*. `Check` refuses:
    /// a call of one message cannot fail after it.
    BreakOff(Code),
}

/// A gRPC server in this process, over HTTP/2 without TLS, that speaks `grpc.health.v1.Health`.
///
/// Every answer has `x-instance: <name>` in its first metadata. `Watch` ends after its message,
/// unlike a real health service's, so that a client sees the whole of an answer.
///
/// Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct GrpcBackend {
    shared: Arc<Shared>,
    listener: Listener,
}

#[derive(Debug)]
struct Shared {
    name: String,
    conduct: Mutex<Conduct>,
    calls: AtomicU64,
}

impl GrpcBackend {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start(name: impl Into<String>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.into(),
            conduct: Mutex::new(Conduct::Serve),
            calls: AtomicU64::new(0),
        });
        let of_connections = Arc::clone(&shared);
        let serve = move |stream| serve(stream, Arc::clone(&of_connections));
        let listener = Listener::start(Listener::loopback(), serve)?;
        Ok(Self { shared, listener })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The number of calls so far.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Sets how calls are answered from now on.
    pub fn set_conduct(&self, conduct: Conduct) {
        *self.shared.conduct.lock().unwrap_or_else(PoisonError::into_inner) = conduct;
    }

    /// Closes the listener and all connections.
    pub fn stop(&self) {
        self.listener.stop();
    }
}

/// Serves the calls of one connection. Not by tonic's own server, which has no way to cut one.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let health = HealthServer::new(Calls(shared));
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let mut health = health.clone();
        async move { Ok::<_, Infallible>(health.call(request).await.unwrap_or_else(|e| match e {})) }
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    // A client that goes away is no error of the backend's.
    let _ = connection.await;
}

struct Calls(Arc<Shared>);

impl Calls {
    fn begin(&self) -> Conduct {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        *self.0.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Ok(name) = MetadataValue::try_from(self.0.name.as_str()) {
            response.metadata_mut().insert("x-instance", name);
        }
        response
    }

    fn refusal(&self, code: Code) -> Status {
        let metadata = self.named(()).metadata().clone();
        Status::with_metadata(code, "told to fail", metadata)
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

#[tonic::async_trait]
impl Health for Calls {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.begin() {
            Conduct::Serve => Ok(self.named(serving())),
            Conduct::Refuse(code) | Conduct::BreakOff(code) => Err(self.refusal(code)),
        }
    }

    type WatchStream = Iter<std::vec::IntoIter<Result<HealthCheckResponse, Status>>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let messages = match self.begin() {
            Conduct::Serve => vec![Ok(serving())],
            Conduct::Refuse(code) => return Err(self.refusal(code)),
            Conduct::BreakOff(code) => {
                vec![Ok(serving()), Err(Status::new(code, "told to break off"))]
            }
        };
        Ok(self.named(iter(messages)))
    }
}
