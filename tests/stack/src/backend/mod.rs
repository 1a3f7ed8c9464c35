//! Servers that name themselves in every answer: HTTP, gRPC, WebSocket.

mod grpc;
mod listener;
mod process;
mod reply;
mod trouble;
mod web_socket;

pub use grpc::{Conduct, GrpcBackend};
pub use listener::listen;
pub use process::BackendProcess;
pub use trouble::Trouble;
pub use web_socket::WebSocketBackend;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::port;
use listener::Listener;

/// What a backend's connections share.
#[derive(Debug)]
struct Shared {
    name: String,
    healthy: AtomicBool,
    trouble: Mutex<Trouble>,
    delay_ms: AtomicU64,
    requests: AtomicU64,
    health_checks: AtomicU64,
    connections: AtomicU64,
    in_flight: AtomicU64,
}

/// An HTTP/1.1 server in this process.
///
/// Every answer has `x-instance: <name>` and, but for the paths below, the body
/// `{"instance":"<name>","path":"…"}`.
///
/// | path | answer |
/// |---|---|
/// | `/health` | 200, or 500 after [`set_healthy(false)`](Backend::set_healthy); not counted as a request |
/// | `/headers` | the body has the request's `headers` too |
/// | `/echo` | the body is the request's |
/// | `/slow?ms=250` | after that time |
/// | `/status?code=503` | with that status |
/// | `/redirect?to=http://api.test/` | 302, to that place |
///
/// Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Backend {
    shared: Arc<Shared>,
    listener: Listener,
}

impl Backend {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start(name: impl Into<String>) -> io::Result<Self> {
        Self::start_on(name, Listener::loopback())
    }

    /// Starts one on a free port of `[::1]`.
    ///
    /// # Errors
    /// The machine has no IPv6 loopback.
    pub fn start_v6(name: impl Into<String>) -> io::Result<Self> {
        Self::start_on(name, SocketAddr::from((Ipv6Addr::LOCALHOST, port::free())))
    }

    /// Starts one on a given address; port 0 is any free one.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub fn start_on(name: impl Into<String>, address: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.into(),
            healthy: AtomicBool::new(true),
            trouble: Mutex::new(Trouble::none()),
            delay_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            health_checks: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        });
        let of_connections = Arc::clone(&shared);
        let serve = move |stream| serve(stream, Arc::clone(&of_connections));
        let listener = Listener::start(address, serve)?;
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

    /// The number of requests so far, without those for `/health`.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// The number of requests for `/health` so far.
    pub fn health_checks(&self) -> u64 {
        self.shared.health_checks.load(Ordering::Relaxed)
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The number of requests not answered yet.
    pub fn in_flight(&self) -> u64 {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Sets the request counts to zero.
    pub fn reset_counts(&self) {
        self.shared.requests.store(0, Ordering::Relaxed);
        self.shared.health_checks.store(0, Ordering::Relaxed);
    }

    /// Makes `/health` answer 200 or 500.
    pub fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Makes every request but those for `/health` be answered with this status.
    pub fn set_status(&self, status: u16) {
        self.set_trouble(Trouble::always(status));
    }

    /// Makes some requests, or all, be answered with a status of trouble; `/health` has none.
    pub fn set_trouble(&self, trouble: Trouble) {
        *self.shared.trouble() = trouble;
    }

    /// Delays every answer but those for `/health`, to the millisecond.
    pub fn set_delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(millis, Ordering::Relaxed);
    }

    /// Closes the listener and all connections; unanswered requests are cut off.
    pub fn stop(&self) {
        self.listener.stop();
    }
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(reply::reply(request, &shared).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(256 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away is no error of the backend's.
    let _ = connection.await;
}
