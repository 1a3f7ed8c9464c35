//! Ranges of versions from the configuration, and versions from the registrations.

use consul_resolver::version::VersionRange;

/// Reads the first line as a range and the second as a version.
pub fn check(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else { return };
    let (range, version) = input.split_once('\n').unwrap_or((input, ""));
    assert!(VersionRange::exact(version).contains(version));
    let read = match VersionRange::parse(range) {
        Ok(read) => read,
        Err(error) => return super::check_error(&error, 200),
    };
    assert!(range.len() <= VersionRange::MAX_BYTES);
    assert_eq!(VersionRange::parse(range).as_ref(), Ok(&read), "{range:?}");
    // A range of one version has it, and `*` has every release that some range has. What is the
    // same as an exact text need not be a version.
    if read.contains(version) && range != version {
        let of = |range: &str| VersionRange::parse(range).expect("a range");
        assert!(version.contains('-') || of("*").contains(version), "* has no {version:?}");
        if version.len() < VersionRange::MAX_BYTES {
            assert!(of(&format!("={version}")).contains(version), "{version:?}");
        }
    }
}
