//! The limit on open files, which sockets count for.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process, and those that it starts from now on, have as many open files as the system
/// lets it have.
///
/// # Errors
/// That is fewer than `needed`.
pub fn allow(needed: u64) -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if most < needed {
        let text = format!("{needed} open files are needed and {most} allowed: see `ulimit -Hn`");
        return Err(io::Error::other(text));
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_allow_is_said() {
        assert!(allow(1).is_ok());
        let error = allow(u64::MAX).expect_err("nobody has so many, unless there is no limit");
        assert!(error.to_string().contains("ulimit -Hn"), "{error}");
    }
}
