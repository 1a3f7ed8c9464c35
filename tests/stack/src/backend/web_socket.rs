//! A WebSocket server that names itself in the handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{SinkExt, StreamExt};
use hyper::header::HeaderValue;
use tokio::net::TcpStream;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::listener::Listener;

/// A WebSocket server in this process: it sends back every message. The answer to the handshake
/// has `x-instance: <name>`.
///
/// Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct WebSocketBackend {
    shared: Arc<Shared>,
    listener: Listener,
}

#[derive(Debug)]
struct Shared {
    name: String,
    handshakes: AtomicU64,
}

impl WebSocketBackend {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start(name: impl Into<String>) -> io::Result<Self> {
        let shared = Arc::new(Shared { name: name.into(), handshakes: AtomicU64::new(0) });
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

    /// The number of handshakes so far.
    pub fn handshakes(&self) -> u64 {
        self.shared.handshakes.load(Ordering::Relaxed)
    }

    /// Closes the listener and all connections.
    pub fn stop(&self) {
        self.listener.stop();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut socket) = accept_hdr_async(stream, Greeting(&shared)).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Puts the backend's name into the answer to the handshake.
struct Greeting<'a>(&'a Shared);

impl tokio_tungstenite::tungstenite::handshake::server::Callback for Greeting<'_> {
    fn on_request(self, _: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        self.0.handshakes.fetch_add(1, Ordering::Relaxed);
        if let Ok(name) = HeaderValue::from_str(&self.0.name) {
            response.headers_mut().insert("x-instance", name);
        }
        Ok(response)
    }
}
