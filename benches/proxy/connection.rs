//! One HTTP/1.1 connection that is kept.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Failure;

/// A keep-alive connection; belongs to the tokio runtime that it was opened in.
#[derive(Debug)]
pub struct Connection(SendRequest<Empty<Bytes>>);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Connection {
    /// The host of every request; the measured configurations of the filter serve it.
    pub const HOST: &str = "web.test";

    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a GET and reads the answer to its end. Any status but 200 is an error.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.get_from(Self::HOST, path).await
    }

    /// The same from another host.
    pub async fn get_from(&mut self, host: &str, path: &str) -> Result<Answer, Failure> {
        let answer = self.ask_from(host, path).await?;
        if answer.status != StatusCode::OK {
            let text = String::from_utf8_lossy(&answer.body);
            return Err(format!("{path}: {} {text}", answer.status).into());
        }
        Ok(answer)
    }

    /// Sends a GET and reads the answer to its end, whatever its status.
    pub async fn ask(&mut self, path: &str) -> Result<Answer, Failure> {
        self.ask_from(Self::HOST, path).await
    }

    async fn ask_from(&mut self, host: &str, path: &str) -> Result<Answer, Failure> {
        self.0.ready().await?;
        let request = Request::get(path).header(header::HOST, host).body(Empty::new())?;
        let (parts, body) = self.0.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

impl Answer {
    /// A header's value, where it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
