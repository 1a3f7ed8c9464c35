//! Finds or downloads the binaries that everything else runs.

mod cache;
mod consul;
mod envoy;
mod progress;

pub use cache::dir;
pub use consul::{consul, find_consul};
pub use envoy::{EnvoyRelease, envoy, envoy_release};

use std::path::PathBuf;

/// Why a binary could not be had. The text says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A variable names a file that is not there.
    #[error("{variable} names {path}, which is not a file: set it to an executable, or unset it")]
    NoSuchFile {
        /// `ENVOY_BIN` or `CONSUL_BIN`.
        variable: &'static str,
        /// What it was set to.
        path: PathBuf,
    },
    /// No known package for this machine.
    #[error("no package of {what} is known for {platform}: set {variable}=/path/to/{program}")]
    UnknownPlatform {
        /// What was looked for.
        what: &'static str,
        /// This machine's operating system and processor.
        platform: String,
        /// The variable that names a binary.
        variable: &'static str,
        /// The binary's usual name.
        program: &'static str,
    },
    /// A command that fetches or unpacks failed.
    #[error("`{command}` failed: {reason}\n{advice}")]
    Command {
        /// The command line.
        command: String,
        /// Its last words, or why it could not be started.
        reason: String,
        /// What can be done about it.
        advice: &'static str,
    },
    /// The download is not what was pinned.
    #[error("{file} has sha256 {found}, expected {expected}: not used")]
    WrongHash {
        /// The downloaded file's name.
        file: String,
        /// The pinned hash.
        expected: &'static str,
        /// The file's hash.
        found: String,
    },
    /// The package lacks the binary.
    #[error("{package} holds no {entry}")]
    NoSuchEntry {
        /// The package's file name.
        package: String,
        /// The path looked for inside.
        entry: &'static str,
    },
    /// The archive cannot be read.
    #[error("unpacking {package}")]
    Archive {
        /// The package's file name.
        package: String,
        /// What the archive reader says.
        #[source]
        source: zip::result::ZipError,
    },
    /// The file system said no.
    #[error("{action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl FetchError {
    /// Makes a closure for `map_err` that says what was attempted on which path.
    fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// Reads a variable that names a binary; an empty value counts as unset.
fn named_by(variable: &'static str) -> Result<Option<PathBuf>, FetchError> {
    let Some(path) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    if path.is_file() { Ok(Some(path)) } else { Err(FetchError::NoSuchFile { variable, path }) }
}

/// This machine as `os/processor`, as packages name it.
fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}
