//! A way to a server that can be made bad: cut, silent, slow, or broken within a response.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::runtime;

/// How good the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Everything goes on at once.
    Clear,
    /// Connections that are made are reset at once, and those that there are, too.
    Cut,
    /// Connections can be made, and those that there are stay, but nothing gets through.
    Silent,
    /// What comes back goes on byte by byte, with this pause after each.
    Dripping(Duration),
    /// Each piece that comes back is late by this.
    Slow(Duration),
    /// The connection is reset in a response of HTTP, there.
    Reset(Place),
    /// The connection is closed in an orderly way after half of a response's body.
    Truncated,
}

/// A place in a response of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing of the response has come.
    BeforeHeaders,
    /// The headers have come, and nothing of the body.
    AfterHeaders,
    /// A part of the body has come.
    InBody,
}

impl Condition {
    /// How a connection breaks: in which place, and whether by a reset.
    fn breaks(self) -> Option<(Place, bool)> {
        match self {
            Self::Reset(place) => Some((place, true)),
            Self::Truncated => Some((Place::InBody, false)),
            _ => None,
        }
    }
}

/// The time between the last byte sent and the end, so that what was sent arrives first.
const BEFORE_END: Duration = Duration::from_millis(30);

/// A port on loopback whose connections lead to a server, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
}

impl Relay {
    /// Leads to `to`, clearly.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(to: SocketAddr) -> std::io::Result<Self> {
        let (condition, seen) = watch::channel(Condition::Clear);
        let listener = runtime::handle().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime::handle().spawn(accept(listener, to, seen));
        Ok(Self { address, condition })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the way better or worse, also for the connections that there are.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

/// Ends with the relay: then nobody can change the condition any more.
async fn accept(listener: TcpListener, to: SocketAddr, mut seen: watch::Receiver<Condition>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            () = ended(&mut seen) => return,
        };
        tokio::spawn(relay(stream, to, seen.clone()));
    }
}

async fn ended(seen: &mut watch::Receiver<Condition>) {
    while seen.changed().await.is_ok() {}
}

async fn relay(outer: TcpStream, to: SocketAddr, mut seen: watch::Receiver<Condition>) {
    if *seen.borrow_and_update() == Condition::Cut {
        return reset(&outer);
    }
    let Ok(inner) = TcpStream::connect(to).await else {
        return reset(&outer);
    };
    let (from_client, to_client) = outer.into_split();
    let (from_server, to_server) = inner.into_split();
    let there = copy(from_client, to_server, Way::There, seen.clone());
    let back = copy(from_server, to_client, Way::Back, seen.clone());
    // With one way the other one ends.
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = seen.wait_for(|condition| *condition == Condition::Cut) => {}
    }
}

/// Makes the peer see a reset rather than a proper end.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    There,
    Back,
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut seen: watch::Receiver<Condition>,
) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        let mut rest = &buffer[..length];
        let breaks = seen.borrow().breaks().filter(|_| way == Way::Back);
        if let Some((place, by_reset)) = breaks
            && let Some(part) = part_before(rest, place)
        {
            let _ = to.write_all(&rest[..part]).await;
            tokio::time::sleep(BEFORE_END).await;
            if by_reset {
                reset(to.as_ref());
                // Dropping it would end the connection in an orderly way first.
                to.forget();
            }
            return;
        }
        while !rest.is_empty() {
            let Ok(condition) = seen.wait_for(|c| *c != Condition::Silent).await.map(|c| *c) else {
                return;
            };
            let (piece, pause) = match condition {
                Condition::Dripping(pause) if way == Way::Back => (1, pause),
                Condition::Slow(pause) if way == Way::Back => (rest.len(), pause),
                _ => (rest.len(), Duration::ZERO),
            };
            tokio::time::sleep(pause).await;
            let (now, later) = rest.split_at(piece);
            if to.write_all(now).await.is_err() {
                return;
            }
            rest = later;
        }
    }
}

/// Counts the bytes of a piece of a response that come before a place in it; `None` where the
/// place is in a later piece.
fn part_before(piece: &[u8], place: Place) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    // A piece without an end of headers is of the body.
    let body = piece.windows(END.len()).position(|at| at == END).map_or(0, |at| at + END.len());
    match place {
        Place::BeforeHeaders => Some(0),
        Place::AfterHeaders => Some(body),
        Place::InBody => Some(body + (piece.len() - body) / 2).filter(|part| *part > body),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::Backend;
    use crate::client::Request;

    const SHORT: Duration = Duration::from_millis(300);

    fn get(relay: &Relay) -> Result<u16, String> {
        let answer = Request::new("GET", relay.address(), "/").timeout(SHORT).send();
        answer.map(|answer| answer.status).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_as_good_as_it_is_set_to() {
        let server = Backend::start("server").expect("a server");
        let relay = Relay::start(server.address()).expect("a relay");
        assert_eq!(get(&relay), Ok(200));
        relay.set(Condition::Cut);
        assert!(get(&relay).is_err());
        relay.set(Condition::Silent);
        let asked = Instant::now();
        assert!(get(&relay).is_err() && asked.elapsed() >= SHORT);
        relay.set(Condition::Slow(Duration::from_millis(50)));
        let asked = Instant::now();
        assert_eq!(get(&relay), Ok(200));
        assert!(asked.elapsed() >= Duration::from_millis(50));
        relay.set(Condition::Dripping(Duration::from_millis(20)));
        assert!(get(&relay).is_err(), "an answer has more bytes than go through in time");
        relay.set(Condition::Clear);
        assert_eq!(get(&relay), Ok(200));
    }

    #[test]
    fn relay_breaks_a_response_where_it_is_told() {
        let server = Backend::start("server").expect("a server");
        let relay = Relay::start(server.address()).expect("a relay");
        let request = b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n";
        // What comes before the connection ends, and how it ends.
        let response = || {
            let mut stream = std::net::TcpStream::connect(relay.address()).expect("connected");
            std::io::Write::write_all(&mut stream, request).expect("asked");
            let mut bytes = Vec::new();
            let end = std::io::Read::read_to_end(&mut stream, &mut bytes);
            let text = String::from_utf8(bytes).expect("text");
            let parts = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            (parts, end.map(|_| ()).map_err(|error| error.kind()))
        };
        let (body, end) = response();
        let body = body.expect("headers");
        assert_eq!(end, Ok(()));
        let half = Some(body[..body.len() / 2].to_owned());
        let reset = Err(std::io::ErrorKind::ConnectionReset);
        for (condition, expected) in [
            (Condition::Reset(Place::BeforeHeaders), (None, reset)),
            (Condition::Reset(Place::AfterHeaders), (Some(String::new()), reset)),
            (Condition::Reset(Place::InBody), (half.clone(), reset)),
            (Condition::Truncated, (half, Ok(()))),
        ] {
            relay.set(condition);
            assert_eq!(response(), expected, "{condition:?}");
        }
        relay.set(Condition::Clear);
        assert_eq!(response(), (Some(body), Ok(())));
    }
}
