//! Patterns of versions from the configuration, and versions from the registrations.

use consul_resolver::model::version_pattern::VersionPattern;

/// Reads the first line as a pattern and the second as a version.
pub fn check(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else { return };
    let (pattern, version) = input.split_once('\n').unwrap_or((input, ""));
    assert!(VersionPattern::exact(version).contains(version));
    let read = match VersionPattern::parse(pattern) {
        Ok(read) => read,
        Err(error) => return super::check_error(&error, 200),
    };
    assert!(pattern.len() <= VersionPattern::MAX_BYTES);
    assert_eq!(VersionPattern::parse(pattern).as_ref(), Ok(&read), "{pattern:?}");
    if read.contains(version) && pattern != version {
        let all = VersionPattern::parse("*").expect("a pattern");
        assert!(all.contains(version), "* has no {version:?}");
    }
}
