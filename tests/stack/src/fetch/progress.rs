//! Shows on stderr that something long is going on.

use std::io::IsTerminal;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::FetchError;

/// One long task: a spinner on a terminal, two plain lines elsewhere.
pub struct Progress {
    what: String,
    spinner: Option<ProgressBar>,
    started: Instant,
}

impl Progress {
    /// Shows `fetching {what} …`.
    pub fn start(what: &str) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            let bar = ProgressBar::new_spinner().with_message(format!("fetching {what} …"));
            bar.enable_steady_tick(Duration::from_millis(100));
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        if spinner.is_none() {
            eprintln!("fetching {what} …");
        }
        Self { what: what.to_owned(), spinner, started: Instant::now() }
    }

    /// Says what is being done now.
    pub fn step(&self, step: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(format!("fetching {}: {step} …", self.what)),
            None => eprintln!("  {step} …"),
        }
    }

    /// Shows that it is done, and how long it took.
    pub fn done(self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        eprintln!("fetched {} in {:.1} s", self.what, self.started.elapsed().as_secs_f64());
    }
}

/// Runs a command to its end; gives its standard output, or an error with its last words.
pub fn run(command: &mut Command, advice: &'static str) -> Result<String, FetchError> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let failed = |reason: String| FetchError::Command { command: line.clone(), reason, advice };
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = words.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n");
    Err(failed(format!("{}\n{last}", output.status)))
}
