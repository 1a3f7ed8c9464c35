//! The folder that downloaded binaries are kept in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::FetchError;

/// The folder: `stack` in cargo's target directory.
pub fn dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or(root);
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    // `join` with an absolute path gives that path.
    root.join(target.map_or_else(|| PathBuf::from("target"), PathBuf::from)).join("stack")
}

/// Makes the folder `name` once, by filling a temporary one and renaming it.
///
/// Processes that ask at the same time wait for the first, through a lock file; one that is
/// killed half-way leaves only its temporary folder, which the next one removes.
pub fn install(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), FetchError>,
) -> Result<PathBuf, FetchError> {
    let dir = dir();
    let made = dir.join(name);
    if made.is_dir() {
        return Ok(made);
    }
    fs::create_dir_all(&dir).map_err(FetchError::io("creating", &dir))?;
    let lock_path = dir.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(FetchError::io("creating", &lock_path))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another process that fetches {name} …");
        lock.lock().map_err(FetchError::io("locking", &lock_path))?;
    }
    if made.is_dir() {
        return Ok(made);
    }
    let partial = dir.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(FetchError::io("removing", &partial))?;
    }
    fs::create_dir(&partial).map_err(FetchError::io("creating", &partial))?;
    let filled = fill(&partial);
    if filled.is_err() {
        fs::remove_dir_all(&partial).map_err(FetchError::io("removing", &partial))?;
    }
    filled?;
    fs::rename(&partial, &made).map_err(FetchError::io("renaming", &partial))?;
    Ok(made)
}

/// Compares a file's SHA-256 with the pinned one.
pub fn verify(file: &Path, expected: &'static str) -> Result<(), FetchError> {
    let mut reader = File::open(file).map_err(FetchError::io("opening", file))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut reader, &mut HashWriter(&mut hasher))
        .map_err(FetchError::io("reading", file))?;
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(());
    }
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(FetchError::WrongHash { file, expected, found })
}

/// The one file in `folder` whose name ends in `suffix`.
pub fn file_with_suffix(folder: &Path, suffix: &str) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(suffix))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
