//! What the README and the guide refer to exists: tests, files, headings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// A test's name is a sentence: at least four words. (An exercise begins with its number.)
fn is_name_of_a_test(text: &str) -> bool {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
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

/// Returns the README and the pages of the guide.
fn pages() -> Vec<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_dir(package.join("src/guide")).unwrap();
    let mut pages: Vec<PathBuf> = guide.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(package.join("README.md"));
    pages
}

/// Returns the lines of a page that are not code.
fn prose(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push(line.to_string());
        }
    }
    lines
}

/// Returns the anchors of a page's headings, as web pages of repositories and rustdoc make them.
fn anchors(page: &Path) -> Vec<String> {
    let headings = prose(page).into_iter();
    let headings = headings.filter_map(|line| {
        let heading = line.strip_prefix('#')?.trim_start_matches('#');
        let kept = heading.strip_prefix(' ')?.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
        });
        Some(kept.collect())
    });
    headings.collect()
}

/// Returns the targets that a page gives to its labels, at its end.
fn definitions(page: &Path) -> BTreeMap<String, String> {
    let lines = prose(page).into_iter();
    let definitions = lines.filter_map(|line| {
        let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some((label.to_string(), target.to_string()))
    });
    definitions.collect()
}

/// Returns what follows each `before` in the text, up to `after`.
fn between<'text>(text: &'text str, before: &str, after: char) -> Vec<&'text str> {
    let parts = text.split(before).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(after)?.0))
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    for page in pages() {
        let text = prose(&page).join("\n");
        let mut targets = between(&text, "](", ')');
        let definitions = definitions(&page);
        let short = text.split("[`").skip(1).filter_map(|part| {
            let (label, rest) = part.split_once("`]")?;
            // Nothing is left of `[text][`label`]` behind the text.
            (!rest.is_empty() && !rest.starts_with(['(', '['])).then(|| format!("`{label}`"))
        });
        for label in short {
            assert!(
                definitions.contains_key(&label),
                "{page:?} does not define [{label}]"
            );
        }
        for label in between(&text, "][", ']') {
            let target = definitions.get(label);
            targets.push(target.unwrap_or_else(|| panic!("{page:?} does not define [{label}]")));
        }
        targets.extend(definitions.values().map(String::as_str));
        for target in targets.into_iter().filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            assert!(file.exists(), "{page:?} links to {target}");
            let found = anchor.is_empty() || anchors(&file).iter().any(|found| found == anchor);
            assert!(found, "{page:?} links to {target}: no such heading");
            count += 1;
        }
    }
    assert!(count > 300, "{count} links found");
}

#[test]
fn rustdoc_has_the_same_target_for_each_link_of_a_page() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
    let rustdoc = definitions(&guide.join("rustdoc_links.txt"));
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        assert!(!text.contains("crate::"), "{page:?} is also a web page");
        if page.ends_with("README.md") {
            continue;
        }
        for (label, target) in definitions(&page) {
            let Some(there) = rustdoc.get(&label) else {
                assert!(target.contains("://"), "rustdoc_links.txt lacks [{label}]");
                continue;
            };
            if let Some((module, anchor)) = target.split_once(".md") {
                assert_eq!(
                    *there,
                    format!("crate::guide::{module}{anchor}"),
                    "{page:?}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count} links found");
}
