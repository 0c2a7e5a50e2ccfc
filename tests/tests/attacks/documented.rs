//! The table of attacks in docs/SECURITY.md names tests that are there.

use std::collections::BTreeSet;
use std::path::Path;

/// Attacks that the table has a row for.
const ATTACKS: [&str; 20] = [
    "Spoofed source",
    "Replayed first packets",
    "Relay flow guessing",
    "Flood of opens",
    "Flood of half-open handshakes",
    "Slow readers",
    "Giant heads",
    "Tag bombs",
    "Capability of another camera",
    "Expired capability",
    "Widened rights",
    "Forged manifest",
    "Sybil peers",
    "Path traversal in file names",
    "DNS rebinding",
    "Terminal escape codes",
    "Camera that breaks the protocol",
    "Candidates that point at third parties",
    "Witness pointed at private addresses",
    "Ticket registered by another key",
];

/// The rows of the table: the attack, what is done, and the tests, each `file::name`.
fn rows() -> Vec<(String, String, Vec<String>)> {
    let text = include_str!("../../../docs/SECURITY.md");
    let (_, section) = text.split_once("\n## Attacks and their tests\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack "));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [attack, done, tests] = cells[..] else { panic!("three cells: {line}") };
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (attack.to_owned(), done.to_owned(), tests)
    };
    rows.map(row).collect()
}

#[test]
fn every_attack_of_the_list_names_tests_that_are_there() {
    let rows = rows();
    let listed: BTreeSet<&str> = rows.iter().map(|(attack, ..)| attack.as_str()).collect();
    let missing: Vec<_> = ATTACKS.iter().filter(|attack| !listed.contains(*attack)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (attack, done, tests) in &rows {
        assert!(!done.is_empty() && !tests.is_empty(), "{attack}: what is done, and what shows it?");
        for test in tests {
            let (file, name) =
                test.split_once("::").unwrap_or_else(|| panic!("{attack}: `{test}` is no file::name"));
            let source =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{attack}: {file}: {e}"));
            // An attribute stands in front of it, perhaps with others between.
            let at = source
                .find(&format!("fn {name}("))
                .unwrap_or_else(|| panic!("{attack}: no {name} in {file}"));
            let before: Vec<&str> = source[..at].lines().rev().take(4).map(str::trim).collect();
            let inside = source[..at].contains("proptest! {");
            assert!(
                before.contains(&"#[test]") || inside,
                "{attack}: {name} in {file} is no test: {before:?}"
            );
        }
    }
}

/// Every test of this suite shows something that the table says.
#[test]
fn every_test_of_this_suite_is_in_the_list() {
    let listed: BTreeSet<String> = rows().into_iter().flat_map(|(_, _, tests)| tests).collect();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("the suite") {
        let path = entry.expect("a readable directory").path();
        let file = path.file_name().expect("a file").to_string_lossy().into_owned();
        if file == "documented.rs" {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source file");
        for after in source.split("#[test]\nfn ").skip(1) {
            let name = after.split('(').next().unwrap_or_default();
            let test = format!("tests/tests/attacks/{file}::{name}");
            assert!(listed.contains(&test), "docs/SECURITY.md does not name {test}");
            count += 1;
        }
    }
    assert!(count >= 15, "{count} tests were found");
}
