//! HTTP servers that name themselves in every answer.

mod process;
mod reply;

pub use process::BackendProcess;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::{port, runtime};

/// What a backend's connections share.
#[derive(Debug)]
struct Shared {
    name: String,
    healthy: AtomicBool,
    status: AtomicU16,
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
///
/// Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Backend {
    shared: Arc<Shared>,
    address: SocketAddr,
    running: watch::Sender<bool>,
}

impl Backend {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start(name: impl Into<String>) -> io::Result<Self> {
        Self::start_on(name, SocketAddr::from((Ipv4Addr::LOCALHOST, port::free())))
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
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.into(),
            healthy: AtomicBool::new(true),
            status: AtomicU16::new(200),
            delay_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            health_checks: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        });
        let (running, stopped) = watch::channel(true);
        let _runtime = runtime::handle().enter();
        let listener = TcpListener::from_std(listener)?;
        runtime::handle().spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Self { shared, address, running })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// Delays every answer but those for `/health`, to the millisecond.
    pub fn set_delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(millis, Ordering::Relaxed);
    }

    /// Closes the listener and all connections; unanswered requests are cut off.
    pub fn stop(&self) {
        self.running.send_replace(false);
        // The listener is closed by its task, which the runtime polls at once.
        crate::wait_until(Duration::from_secs(5), || {
            std::net::TcpStream::connect(self.address).is_err()
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.running.send_replace(false);
    }
}

/// Listens with a long queue, non-blocking, reusing an address in `TIME_WAIT`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|running| !running) => return,
        };
        let Ok((stream, _)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (shared, mut stopped) = (Arc::clone(&shared), stopped.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(reply::reply(request, &shared).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .max_buf_size(256 << 10)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                _ = stopped.wait_for(|running| !running) => {}
            }
        });
    }
}
