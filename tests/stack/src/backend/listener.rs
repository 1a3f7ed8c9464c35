//! A listening socket whose connections end with it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{port, runtime, wait_until};

/// What a backend listens on. Dropping it closes it and cuts all its connections.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    running: watch::Sender<bool>,
}

impl Listener {
    /// A free port of 127.0.0.1.
    pub(super) fn loopback() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()))
    }

    /// Listens, and serves each connection on the shared runtime; port 0 is any free one.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub(super) fn start<F>(
        address: SocketAddr,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let (running, stopped) = watch::channel(true);
        let _runtime = runtime::handle().enter();
        let listener = TcpListener::from_std(listener)?;
        runtime::handle().spawn(accept(stopped, listener, serve));
        Ok(Self { address, running })
    }

    /// Its address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes it, and cuts all its connections; connecting is refused and each of them is closed
    /// when this returns.
    pub(super) fn stop(&self) {
        self.running.send_replace(false);
        // The socket and each connection belong to tasks, which let go of their receiver last.
        let closed = wait_until(Duration::from_secs(5), || self.running.receiver_count() == 0);
        assert!(closed, "connections to {} stay open", self.address);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.running.send_replace(false);
    }
}

/// Listens with a long queue, non-blocking, reusing an address in `TIME_WAIT`.
///
/// # Errors
/// The address is taken or not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes connections until told to stop. The receiver comes first since it is to be dropped last.
async fn accept<F>(
    mut stopped: watch::Receiver<bool>,
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|running| !running) => return,
        };
        let Ok((stream, _)) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let (connection, mut stopped) = (serve(stream), stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection => {}
                _ = stopped.wait_for(|running| !running) => {}
            }
        });
    }
}
