//! The signals that end a command.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Knows whether SIGINT (Ctrl-C), SIGTERM or SIGHUP has come.
#[derive(Debug, Clone)]
pub struct End(Arc<AtomicBool>);

impl End {
    /// Begins to listen; from now on these signals no longer end the program by themselves.
    pub fn listen() -> io::Result<Self> {
        let end = Self(Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let came = Arc::clone(&end.0);
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let signals =
                    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
                        .map(signal);
                let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
                    return;
                };
                let _ = ready.send(());
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                came.store(true, Ordering::SeqCst);
            });
        });
        is_ready.recv().map_err(|_| io::Error::other("signals cannot be listened to"))?;
        Ok(end)
    }

    /// Whether one of the signals has come.
    pub fn has_come(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits for one of the signals.
    pub fn wait(&self) {
        while !self.has_come() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
