//! Consul, from the machine or from the distribution's own package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::progress::{Progress, run};
use super::{FetchError, cache, named_by, platform};

const ADVICE: &str = "install Consul or set CONSUL_BIN=/path/to/consul";

/// The distribution's release that carries Consul 1.8.7.
struct Release {
    suite: &'static str,
    component: &'static str,
    keyring: &'static str,
    /// The package's hash where we know it; the signed index vouches for it in any case.
    sha256: Option<&'static str>,
}

impl Release {
    /// Reads `ID` of the os-release file: `debian` and `ubuntu` are known.
    fn of_this_machine() -> Option<Self> {
        let os_release = fs::read_to_string("/etc/os-release").ok()?;
        let id = os_release.lines().find_map(|line| line.strip_prefix("ID="))?.trim_matches('"');
        Self::of(id, std::env::consts::ARCH)
    }

    fn of(distribution: &str, processor: &str) -> Option<Self> {
        let sha256 = match processor {
            "x86_64" => "e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9",
            "aarch64" => "7318cfa77a7ba6f71dd096e44353279de246ffc6561216ace42353685dcf8255",
            _ => return None,
        };
        match distribution {
            "debian" => Some(Self {
                suite: "bullseye",
                component: "main",
                keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
                sha256: Some(sha256),
            }),
            "ubuntu" => Some(Self {
                suite: "jammy",
                component: "universe",
                keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
                sha256: None,
            }),
            _ => None,
        }
    }
}

/// Finds a Consul that is on this machine already: `CONSUL_BIN`, else `consul` on `PATH`, else
/// one downloaded before.
///
/// # Errors
/// `CONSUL_BIN` names no file.
pub fn find_consul() -> Result<Option<PathBuf>, FetchError> {
    if let Some(path) = named_by("CONSUL_BIN")? {
        return Ok(Some(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("consul")).find(|file| file.is_file());
    let fetched = || Some(cache::dir().join(FOLDER).join("consul")).filter(|file| file.is_file());
    Ok(found.or_else(fetched))
}

/// The folder a downloaded Consul is kept in.
const FOLDER: &str = "consul-1.8.7";

/// Gives the Consul to run: the machine's own ([`find_consul`]), else the distribution's
/// package, downloaded once with apt's signature check and unpacked, not installed.
///
/// # Errors
/// [`FetchError`], whose text says what to do.
pub fn consul() -> Result<PathBuf, FetchError> {
    if let Some(path) = find_consul()? {
        return Ok(path);
    }
    let release = Release::of_this_machine().ok_or_else(|| FetchError::UnknownPlatform {
        what: "Consul",
        platform: platform(),
        variable: "CONSUL_BIN",
        program: "consul",
    })?;
    let folder = cache::install(FOLDER, |folder| fill(folder, &release))?;
    Ok(folder.join("consul"))
}

fn fill(folder: &Path, release: &Release) -> Result<(), FetchError> {
    let progress = Progress::start("Consul 1.8.7 (25 MB)");
    let work = folder.join("apt");
    let config = write_apt_config(&work, release)?;
    progress.step("reading the package index");
    run(Command::new("apt-get").env("APT_CONFIG", &config).args(["update", "-q"]), ADVICE)?;
    progress.step("downloading");
    run(
        Command::new("apt-get")
            .env("APT_CONFIG", &config)
            .args(["download", "-q", "consul"])
            .current_dir(&work),
        ADVICE,
    )?;
    let package = cache::file_with_suffix(&work, ".deb").ok_or_else(|| {
        FetchError::NoSuchEntry { package: work.display().to_string(), entry: "*.deb" }
    })?;
    if let Some(sha256) = release.sha256 {
        progress.step("verifying");
        cache::verify(&package, sha256)?;
    }
    progress.step("unpacking");
    let tree = work.join("tree");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree), ADVICE)?;
    let binary = tree.join("usr/bin/consul");
    if !binary.is_file() {
        let package = package.display().to_string();
        return Err(FetchError::NoSuchEntry { package, entry: "usr/bin/consul" });
    }
    fs::rename(&binary, folder.join("consul")).map_err(FetchError::io("moving", &binary))?;
    fs::remove_dir_all(&work).map_err(FetchError::io("removing", &work))?;
    progress.done();
    Ok(())
}

/// Writes an apt configuration with a state of its own, whose only source is the release on the
/// mirror that the system's apt is set to. Gives the configuration's path.
fn write_apt_config(work: &Path, release: &Release) -> Result<PathBuf, FetchError> {
    for part in ["state/lists/partial", "cache/archives/partial"] {
        let path = work.join(part);
        fs::create_dir_all(&path).map_err(FetchError::io("creating", &path))?;
    }
    let write = |name: &str, text: String| {
        let path = work.join(name);
        fs::write(&path, text).map_err(FetchError::io("writing", &path))?;
        Ok(path)
    };
    let Release { suite, component, keyring, .. } = release;
    let mirror = mirror()?;
    let sources = write(
        "sources.list",
        format!("deb [signed-by={keyring} check-valid-until=no] {mirror} {suite} {component}\n"),
    )?;
    let status = write("status", String::new())?;
    let lines = [
        ("Dir::State", work.join("state")),
        ("Dir::State::status", status),
        ("Dir::Cache", work.join("cache")),
        ("Dir::Etc::sourcelist", sources),
        ("Dir::Etc::sourceparts", PathBuf::from("-")),
        // Nothing is installed, so nothing needs apt's own user; it could not read this folder.
        ("APT::Sandbox::User", PathBuf::from("root")),
        ("Acquire::Languages", PathBuf::from("none")),
        ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", PathBuf::from("false")),
    ];
    let text = lines.map(|(key, value)| format!("{key} \"{}\";\n", value.display())).concat();
    write("apt.conf", text)
}

/// The mirror of the distribution's main archive, as the system's apt names it.
fn mirror() -> Result<String, FetchError> {
    let arguments = ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"];
    let listed = run(Command::new("apt-get").args(arguments), ADVICE)?;
    main_archive(&listed).map(str::to_owned).ok_or_else(|| FetchError::Command {
        command: "apt-get indextargets".to_owned(),
        reason: "names no archive of the distribution".to_owned(),
        advice: ADVICE,
    })
}

/// Picks the main archive out of lines of `<uri> <release>`: the release that others are named
/// after (`bookworm`, where `bookworm-updates` and `bookworm-security` are listed too).
fn main_archive(listed: &str) -> Option<&str> {
    let targets = || listed.lines().filter_map(|line| line.split_once(' '));
    let whole = |release: &str| !release.contains(['-', '/']);
    let with_updates = |release: &str| {
        let updates = format!("{release}-updates");
        targets().any(|(_, other)| other == updates)
    };
    targets()
        .find(|(_, release)| whole(release) && with_updates(release))
        .or_else(|| targets().find(|(_, release)| whole(release)))
        .map(|(uri, _)| uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_the_one_with_updates() {
        let listed = "https://tool.test/apt nodistro\nhttps://mirror.test/d/ bookworm\n\
                      https://mirror.test/d/ bookworm-updates\nhttps://mirror.test/s/ bookworm-security\n";
        assert_eq!(main_archive(listed), Some("https://mirror.test/d/"));
        assert_eq!(main_archive("https://mirror.test/d/ sid"), Some("https://mirror.test/d/"));
        assert_eq!(main_archive(""), None);
    }

    #[test]
    fn an_unknown_distribution_or_processor_has_no_release() {
        assert!(Release::of("debian", "x86_64").is_some());
        assert!(Release::of("fedora", "x86_64").is_none());
        assert!(Release::of("debian", "riscv64").is_none());
    }
}
