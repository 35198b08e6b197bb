//! The guide, the README, the two files and the lessons name tests. Each of these tests exists.

use std::fs;
use std::path::Path;

/// Returns the contents of all files with this extension in a directory of the package.
fn read_all(directory: &str, extension: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// A test's name is a sentence: at least four words.
fn is_name_of_a_test(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.chars().all(is_part) && text.matches('_').count() >= 3
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = ["src/tests", "src/tests/scripted"];
    let tests = tests.map(|directory| read_all(directory, "rs")).concat();
    let texts = [
        ("src/guide", "md"),
        (".", "md"),
        ("src", "rs"),
        ("examples", "rs"),
    ];
    let texts = texts
        .map(|(directory, extension)| read_all(directory, extension))
        .concat();
    let names = texts.split('`').filter(|text| is_name_of_a_test(text));
    let mut count = 0;
    for name in names {
        assert!(tests.contains(&format!("fn {name}()")), "{name}");
        count += 1;
    }
    assert!(count > 50, "{count} names found");
}
