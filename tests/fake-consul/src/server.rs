//! The agent's listener and connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Core, routes};
use stack::runtime;

/// Starts to listen; ends when `running` turns false.
pub fn start(
    address: SocketAddr,
    core: &Arc<Core>,
    running: watch::Receiver<bool>,
) -> io::Result<SocketAddr> {
    let listener = stack::backend::listen(address)?;
    let address = listener.local_addr()?;
    let _runtime = runtime::handle().enter();
    let listener = TcpListener::from_std(listener)?;
    runtime::handle().spawn(accept(listener, Arc::clone(core), running));
    Ok(address)
}

async fn accept(listener: TcpListener, core: Arc<Core>, mut running: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = running.wait_for(|running| !running) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        // Consul closes connections beyond `http_max_conns_per_client`, without a word.
        if core.connections.fetch_add(1, Ordering::SeqCst)
            >= core.most_connections.load(Ordering::SeqCst)
        {
            core.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (core, mut running) = (Arc::clone(&core), running.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = serve(stream, &core) => {}
                _ = running.wait_for(|running| !running) => {}
            }
            core.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(stream: TcpStream, core: &Arc<Core>) -> io::Result<()> {
    let service = service_fn(|request| {
        let core = Arc::clone(core);
        async move { routes::handle(request, &core).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    connection.await.map_err(io::Error::other)
}
