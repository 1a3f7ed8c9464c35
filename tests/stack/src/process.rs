//! One child process, ended by its own pid and by nothing else.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use crate::wait::eventually;

/// How long a process may take to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much of a log a failing test prints.
const LOG_TAIL: usize = 60;

/// How a process is ended when its guard is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM, then SIGKILL after three seconds.
    Graceful,
    /// SIGKILL: for processes with nothing to save.
    Kill,
}

/// A child process. Dropping the guard ends it, also while a test panics; if this process itself
/// is killed, the kernel kills the child. The child is in a process group of its own, so that
/// Ctrl-C reaches only us.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: PathBuf,
    ending: Ending,
}

impl Process {
    /// Starts `command` with its output going to the file `log` (appended).
    ///
    /// # Errors
    /// The log cannot be opened or the program not be started.
    pub fn start(name: &str, mut command: Command, log: &Path, ending: Ending) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = start_on_lasting_thread(command)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self {
            name: name.to_owned(),
            pid,
            child: Mutex::new(child),
            log: log.to_owned(),
            ending,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last `lines` lines it has printed.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Sends a signal; does nothing once the process has ended.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // The pid is ours until the child is waited for, which only happens under this lock.
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill(self.pid, signal);
        }
    }

    /// SIGSTOP: it keeps its sockets and answers nothing.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT: goes on after [`stop`](Self::stop).
    pub fn cont(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.wait(PATIENCE);
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Waits for it to end by itself, at most `within`.
    pub fn wait(&self, within: Duration) -> Option<ExitStatus> {
        eventually(within, || self.exit_status())
    }

    /// Ends it as agreed at the start, and waits for the end.
    pub fn end(&self) {
        if self.ending == Ending::Graceful {
            self.terminate();
            self.cont();
            self.wait(PATIENCE);
        }
        self.kill();
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status =
                self.exit_status().map_or("running".to_owned(), |status| status.to_string());
            eprintln!("--- last lines of {} (pid {}, {status}):", self.name, self.pid);
            eprintln!("{}\n---", self.log_tail(LOG_TAIL));
        }
        self.end();
    }
}

type Order = (Command, Sender<io::Result<Child>>);

/// The thread that starts every child. The kernel's "end with the parent" is tied to the
/// *thread* that forked, and a test's thread ends before the fixtures it shares with others.
static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = channel::<Order>();
    std::thread::spawn(move || {
        for (command, answer) in inbox {
            let _ = answer.send(start(command));
        }
    });
    Mutex::new(orders)
});

fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    let (answer, started) = channel();
    let gone = || io::Error::other("the thread that starts processes has ended");
    let orders = STARTER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send((command, answer)).map_err(|_| gone())?;
    started.recv().map_err(|_| gone())?
}

#[expect(
    unsafe_code,
    reason = "only code between fork and exec can ask the kernel to end a child with its parent"
)]
fn start(mut command: Command) -> io::Result<Child> {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: the closure makes two system calls and touches no memory of the parent's.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        });
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path, script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("sleeper", command, &dir.join("log"), Ending::Graceful).expect("sh")
    }

    #[test]
    fn a_dropped_guard_ends_its_child_and_no_other() {
        let dir = tempfile::tempdir().expect("tempdir");
        let other = sleeper(dir.path(), "exec sleep 60");
        let dropped = sleeper(dir.path(), "exec sleep 60");
        let pid = dropped.pid;
        drop(dropped);
        assert!(kill(pid, None).is_err(), "still there");
        assert_eq!(other.exit_status(), None);
    }

    #[test]
    fn a_stopped_child_is_ended_too() {
        let dir = tempfile::tempdir().expect("tempdir");
        let child = sleeper(dir.path(), "exec sleep 60");
        child.stop();
        let pid = child.pid;
        drop(child);
        assert!(kill(pid, None).is_err(), "still there");
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().to_owned();
        let child =
            std::thread::spawn(move || sleeper(&path, "exec sleep 60")).join().expect("join");
        assert_eq!(child.wait(Duration::from_millis(100)), None);
    }

    #[test]
    fn what_a_child_prints_is_in_its_log() {
        let dir = tempfile::tempdir().expect("tempdir");
        let child = sleeper(dir.path(), "echo one; echo two >&2; exit 3");
        assert_eq!(child.wait(Duration::from_secs(5)).and_then(|status| status.code()), Some(3));
        assert_eq!(child.log(), "one\ntwo\n");
        assert_eq!(child.log_tail(1), "two");
    }
}
