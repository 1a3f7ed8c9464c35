//! HTTP/1.1 byte by byte: what a well-behaved client would not send, and kept connections.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.to_ascii_lowercase() == name).then(|| value.trim())
        })
    }

    /// The instance that answered with 200; else status and body.
    pub fn who(&self) -> String {
        match self.header("x-instance") {
            Some(name) if self.status == 200 => name.to_owned(),
            _ => format!("{} {}", self.status, String::from_utf8_lossy(&self.body)),
        }
    }
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    /// What has come behind the last answer.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let rest = Vec::new();
        Ok(Self { stream, rest })
    }

    /// `GET path` and its answer.
    pub fn get(&mut self, path: &str, host: &str) -> io::Result<RawAnswer> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())?;
        self.answer()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer: by its length, in chunks, or to the end of the connection.
    pub fn answer(&mut self) -> io::Result<RawAnswer> {
        let end = loop {
            match find(&self.rest, b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more()?,
            }
        };
        let head: Vec<u8> = self.rest.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut answer = RawAnswer { status: status.unwrap_or(0), head, body: Vec::new() };
        answer.body = match answer.header("content-length") {
            Some(length) => self.take(length.parse().map_err(io::Error::other)?)?,
            None if answer.header("transfer-encoding").is_some() => self.chunks()?,
            None => self.until_end()?,
        };
        Ok(answer)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match find(&self.rest, b"\r\n") {
                    Some(line) => break self.take(line + 2)?,
                    None => self.more()?,
                }
            };
            let size = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = self.take(size + 2)?;
            chunk.truncate(size);
            body.append(&mut chunk);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.rest.len() < count {
            self.more()?;
        }
        Ok(self.rest.drain(..count).collect())
    }

    fn until_end(&mut self) -> io::Result<Vec<u8>> {
        while self.more().is_ok() {}
        Ok(std::mem::take(&mut self.rest))
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend(&buffer[..count]);
                Ok(())
            }
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
