//! Runs each lesson in `examples/` and compares what it prints with `src/tests/lessons/NAME.txt`.
//!
//! To add a lesson: one entry in `LESSONS`, and one such file. In the file
//! - `#` stands for a number and the spaces before it: a time, a count, a port;
//! - `...` at the end of a line stands for any rest of the line;
//! - `...` on a line of its own stands for any lines, or none, where their number varies.
//!
//! `cargo test` builds the examples first. `cargo test --test lessons` does not: run
//! `cargo build --examples` before it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

/// In the order in which the README lists them.
const LESSONS: [&str; 18] = [
    "02_bare",
    "03_triggers",
    "04_lists",
    "edges",
    "06_pitfalls",
    "09_fair",
    "05_echo_server",
    "08_chat",
    "07_connect",
    "10_timers",
    "11_any_fd",
    "12_stdin",
    "14_workers",
    "15_reactor",
    "16_async_await",
    "herd",
    "peek",
    "01_steps",
];

/// Lessons that need the model, the delay server, or paths of their own.
const NEED_MORE: [&str; 5] = [
    "02_bare",
    "04_lists",
    "15_reactor",
    "16_async_await",
    "01_steps",
];

/// Examples that are not lessons.
const OTHER_EXAMPLES: [&str; 2] = ["delayserver", "one_file"];

/// A lesson takes 3 s at most. On a machine that is busy with something else it may take longer.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn every_lesson_prints_what_is_expected() {
    let mut failures = Vec::new();
    for group in LESSONS.chunks(3) {
        thread::scope(|scope| {
            let checks: Vec<_> = group
                .iter()
                .map(|name| scope.spawn(|| check(name)))
                .collect();
            for check in checks {
                failures.extend(check.join().unwrap().err());
            }
        });
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_example_has_an_entry_here() {
    let mut found = Vec::new();
    for entry in fs::read_dir(package().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() == Some(OsStr::new("rs")) {
            let name = path.file_stem().unwrap();
            found.push(name.to_str().unwrap().to_owned());
        }
    }
    let mut expected = [&LESSONS[..], &OTHER_EXAMPLES].concat();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "examples (left), entries (right)");
}

#[test]
fn the_readme_lists_the_lessons_in_this_order() {
    let readme = fs::read_to_string(package().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Lessons").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(['`', ' ']).next());
    let names: Vec<&str> = names.filter(|name| *name != "cargo").collect();
    assert_eq!(names, LESSONS);
}

/// With the two files in `src/epollet/` and a `mod epollet;`, such a lesson builds as it is.
#[test]
fn lessons_that_need_only_the_two_files_build_in_a_new_crate() {
    const MODULE: &str = "#![allow(unused_imports)]\n\
        pub mod ffi;\npub mod poll;\npub use ffi::Event;\npub use poll::*;\n";
    for lesson in LESSONS {
        let text = fs::read_to_string(package().join(format!("examples/{lesson}.rs"))).unwrap();
        if NEED_MORE.contains(&lesson) {
            continue;
        }
        assert!(
            text.contains("Needs only `ffi.rs` and"),
            "{lesson}: its header"
        );
        let new_crate = temporary_directory().join(lesson);
        let module = new_crate.join("epollet");
        fs::create_dir_all(&module).unwrap();
        fs::write(module.join("mod.rs"), MODULE).unwrap();
        for file in ["ffi.rs", "poll.rs"] {
            fs::copy(package().join("src").join(file), module.join(file)).unwrap();
        }
        let (header, code) = text.split_at(text.find("\nuse ").unwrap());
        fs::write(
            new_crate.join("main.rs"),
            format!("{header}\nmod epollet;\n{code}"),
        )
        .unwrap();
        let output = rustc(&["--emit", "metadata", "main.rs"], &new_crate);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lesson}:\n{errors}");
    }
}

#[test]
fn one_file_builds_without_a_warning_and_runs_by_itself() {
    let directory = temporary_directory().join("one_file");
    fs::create_dir_all(&directory).unwrap();
    let (status, file) = run("one_file").unwrap();
    assert!(status.success(), "{file}");
    assert!(file.len() < 60_000, "{} bytes", file.len());
    fs::write(directory.join("main.rs"), file).unwrap();
    let output = rustc(&["main.rs"], &directory);
    assert!(output.status.success(), "{output:?}");

    // Without arguments, and with nothing on port 8080, it starts a delay server itself. The first
    // answer is enough here.
    let mut program = Command::new(directory.join("main"));
    let mut program = program.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let answer = lines
        .map(Result::unwrap)
        .find(|line| line.contains(" Event { token: "));
    program.kill().unwrap();
    program.wait().unwrap();
    let answer = answer.unwrap();
    assert!(answer.ends_with("}  request-4"), "{answer}");
}

#[test]
fn expected_lines_match_as_documented() {
    for (pattern, line) in [
        ("as it is", "as it is"),
        ("# s  port #.", "  0.100 s  port 8080."),
        ("#  |...", " 12.50  |======"),
    ] {
        assert!(line_matches(pattern, line), "{pattern:?} {line:?}");
    }
    for (pattern, line) in [
        ("as it is", "as it was"),
        ("as it is", "as it is not"),
        ("# s", " s"),
        ("# bytes", "4 bits"),
        ("#  |...", " 12.50  ="),
    ] {
        assert!(!line_matches(pattern, line), "{pattern:?} {line:?}");
    }
    assert!(lines_match(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(lines_match(&["a", "...", "d"], &["a", "d"]));
    assert!(!lines_match(&["a", "...", "d"], &["a", "b", "c"]));
    assert!(!lines_match(&["a"], &["a", "b"]));
}

/// Runs a lesson. The error says what is wrong with it.
fn check(lesson: &str) -> Result<(), String> {
    let file = package().join(format!("src/tests/lessons/{lesson}.txt"));
    let expected = fs::read_to_string(&file).map_err(|error| format!("{file:?}: {error}"))?;
    let expected: Vec<&str> = expected.lines().collect();
    let (status, printed) = run(lesson)?;
    let lines: Vec<&str> = printed.lines().collect();

    let wrong = if !status.success() {
        format!("ends with {status}")
    } else if lines.len() > 23 {
        format!("prints {} lines", lines.len())
    } else if let Some(line) = lines.iter().find(|line| line.chars().count() > 80) {
        format!("prints a line of {} columns: {line}", line.chars().count())
    } else if !ends_with_a_sentence(&lines) {
        "does not end with a paragraph of one sentence".to_owned()
    } else if !lines_match(&expected, &lines) {
        let expected = expected.join("\n");
        format!("does not print what is expected, which is:\n{expected}\n")
    } else {
        return Ok(());
    };
    Err(format!("{lesson} {wrong}\nIt has printed:\n{printed}"))
}

/// Runs an example to its end. Returns what it has printed, errors too.
fn run(example: &str) -> Result<(ExitStatus, String), String> {
    // This test is target/PROFILE/deps/lessons-HASH.
    let this_test = env::current_exe().unwrap();
    let profile = this_test.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(example);
    let source = package().join(format!("examples/{example}.rs"));
    if modified(&program) < modified(&source) {
        return Err(format!(
            "{program:?} is not up to date: cargo build --examples"
        ));
    }
    let log = temporary_directory().join(format!("{example}.log"));
    let output = File::create(&log).unwrap();
    let mut child = Command::new(&program)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();

    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap(); // The status says so.
            break child.wait().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    };
    Ok((status, fs::read_to_string(&log).unwrap()))
}

/// Returns `None` if there is no such file.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Runs the compiler with edition 2024. Warnings are errors.
fn rustc(args: &[&str], directory: &Path) -> Output {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args(["--edition", "2024", "-D", "warnings"])
        .args(args);
    command.current_dir(directory).output().unwrap()
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn temporary_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Checks the last paragraph, which is the one-sentence takeaway.
fn ends_with_a_sentence(lines: &[&str]) -> bool {
    match lines {
        [.., "", last] | [.., "", _, last] => last.ends_with('.'),
        _ => false,
    }
}

fn lines_match(expected: &[&str], lines: &[&str]) -> bool {
    match expected {
        [] => lines.is_empty(),
        ["...", rest @ ..] => (0..=lines.len()).any(|count| lines_match(rest, &lines[count..])),
        [pattern, expected @ ..] => match lines {
            [line, lines @ ..] => line_matches(pattern, line) && lines_match(expected, lines),
            [] => false,
        },
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let (pattern, any_rest) = match pattern.strip_suffix("...") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut parts = pattern.split('#');
    let mut rest = line.strip_prefix(parts.next().unwrap_or_default());
    for part in parts {
        rest = rest.and_then(skip_number);
        rest = rest.and_then(|rest| rest.strip_prefix(part));
    }
    rest.is_some_and(|rest| any_rest || rest.is_empty())
}

/// Returns what follows the number, such as `12` or `0.100`, at the start of `text`.
fn skip_number(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(' ');
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text[..text.len() - rest.len()].trim_end_matches('.');
    match number {
        "" => None,
        number => Some(&text[number.len()..]),
    }
}
