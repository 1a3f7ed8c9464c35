//! What a user may have meant.

/// Finds the known name that `found` was probably meant to be: one that differs in at most
/// a third of the longer one's letters, or one that `found` begins. Case, `_` and `-` do not
/// count, so that `loadBalancing` finds `load_balancing`.
///
/// Names longer than 64 bytes resemble nothing, which bounds the work.
pub fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    const SHORTEST_BEGINNING: usize = 4;
    if found.len() > LONGEST {
        return None;
    }
    let found = folded(found);
    let mut best = None;
    for name in known {
        let meant = folded(name);
        let distance = edit_distance(&found, &meant);
        let is_close = distance.saturating_mul(3) <= meant.len().max(found.len());
        let is_beginning = found.len() >= SHORTEST_BEGINNING && meant.starts_with(&found);
        if (is_close || is_beginning) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

fn folded(name: &str) -> Vec<u8> {
    name.bytes().filter(|b| !matches!(b, b'_' | b'-')).map(|b| b.to_ascii_lowercase()).collect()
}

/// Counts the insertions, deletions and replacements that lead from one text to the other
/// (Wagner and Fischer, *The String-to-String Correction Problem*, 1974), one row of the
/// table at a time.
fn edit_distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (1..=to.len()).collect();
    for (deleted, a) in from.iter().enumerate() {
        let (mut above_left, mut left) = (deleted, deleted + 1);
        for (b, cell) in to.iter().zip(&mut row) {
            let replaced = above_left + usize::from(a != b);
            above_left = *cell;
            left = replaced.min(above_left + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const KNOWN: &[&str] = &["name", "hosts", "tags", "token_env", "load_balancing"];

    #[test]
    fn slips_of_the_pen_and_other_spellings_are_understood() {
        for (found, meant) in [
            ("host", "hosts"),
            ("nam", "name"),
            ("token", "token_env"),
            ("loadBalancing", "load_balancing"),
            ("LOAD-BALANCING", "load_balancing"),
            ("tagsss", "tags"),
        ] {
            assert_eq!(suggestion(found, KNOWN.iter().copied()), Some(meant), "{found}");
        }
    }

    #[test]
    fn what_resembles_nothing_gets_no_suggestion() {
        for found in ["", "datacenters", "to", "ä", &"name".repeat(100)] {
            assert_eq!(suggestion(found, KNOWN.iter().copied()), None, "{found}");
        }
    }

    #[test]
    fn the_edit_distance_counts_single_changes() {
        assert_eq!(edit_distance(b"kitten", b"sitting"), 3);
        assert_eq!(edit_distance(b"abc", b""), 3);
        assert_eq!(edit_distance(b"", b"abc"), 3);
        assert_eq!(edit_distance(b"abc", b"abc"), 0);
    }
}
