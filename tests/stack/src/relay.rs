//! A way to a server that can be made bad: cut, silent, or slow.

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
}

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
}
