//! The runtime that in-process servers run on.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Two threads for all servers of this process; it lives as long as the process.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("stack-server")
        .enable_all()
        .build()
        .expect("the runtime needs threads and an epoll handle")
});

/// The shared runtime's handle.
pub fn handle() -> &'static Handle {
    RUNTIME.handle()
}
