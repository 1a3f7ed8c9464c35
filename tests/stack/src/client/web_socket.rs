//! A WebSocket client.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio_tungstenite::tungstenite;
use tungstenite::client::{IntoClientRequest, client};
use tungstenite::handshake::HandshakeError;
use tungstenite::{Message, WebSocket};

/// The handshake or an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// No connection.
    #[error("connecting to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The handshake was answered with another status than 101.
    #[error("the handshake was answered with {status}")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The handshake or an exchange broke.
    #[error("the web socket broke")]
    Broken(#[source] Box<tungstenite::Error>),
}

/// A WebSocket connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct WebSocketClient {
    socket: WebSocket<TcpStream>,
    instance: Option<String>,
}

impl WebSocketClient {
    /// Connects and shakes hands, as if `authority` had been asked for. An answer that takes
    /// longer than ten seconds is an error, here and later.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub fn connect(
        address: SocketAddr,
        authority: &str,
        path: &str,
    ) -> Result<Self, WebSocketError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let failed = |source| WebSocketError::Connect { address, source };
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let url = format!("ws://{authority}{path}");
        let request = url.into_client_request().map_err(broken)?;
        let (socket, response) = client(request, stream).map_err(|error| match error {
            HandshakeError::Failure(tungstenite::Error::Http(answer)) => {
                WebSocketError::Refused { status: answer.status().as_u16() }
            }
            HandshakeError::Failure(error) => broken(error),
            HandshakeError::Interrupted(_) => {
                broken(io::Error::from(io::ErrorKind::TimedOut).into())
            }
        })?;
        let instance = response.headers().get("x-instance");
        let instance = instance.and_then(|name| name.to_str().ok()).map(str::to_owned);
        Ok(Self { socket, instance })
    }

    /// The instance that answered the handshake, where it named itself.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Sends a text and gives the next one that comes.
    ///
    /// # Errors
    /// The connection is closed, or silent for ten seconds.
    pub fn exchange(&mut self, text: &str) -> Result<String, WebSocketError> {
        self.socket.send(Message::text(text)).map_err(broken)?;
        loop {
            if let Message::Text(text) = self.socket.read().map_err(broken)? {
                return Ok(text.to_string());
            }
        }
    }
}

fn broken(error: tungstenite::Error) -> WebSocketError {
    WebSocketError::Broken(Box::new(error))
}
