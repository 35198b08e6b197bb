//! Exercise 11: epollet's own tests examine the learner's `poll.rs`.
//!
//! They run in a copy of this package, in which `src/poll.rs` is the learner's.

use crate::diagnosis::{Diagnosis, Symptom, Verdict};
use crate::package;
use crate::program::Program;
use crate::watch::{Watch, pause_after};
use std::fs;
use std::io::{self, Result};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The program beside `poll.rs`.
const MAIN: &str = r#"//! A program on your own `poll.rs`.

use poll::{Events, Interest, Poll};
use std::io::Write;
use std::os::unix::net::UnixStream;

mod ffi;
mod poll;

fn main() -> std::io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&ours, 7, Interest::READABLE)?;
    theirs.write_all(b"hello")?;
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, None)?;
    println!("{events:?}");
    Ok(())
}
"#;

/// Tests that are all asleep for so long do not end.
const PATIENCE: Duration = Duration::from_secs(2);
/// And those that spin are not waited for any longer.
const LONGEST: Duration = Duration::from_secs(60);
const SHOWN: usize = 14;

/// Writes the program that uses the learner's `poll.rs`, so that an editor understands that file.
pub fn write_main(package: &Path, program: &str) -> Result<()> {
    let folder = package.join("src/bin").join(program);
    fs::create_dir_all(&folder)?;
    fs::copy(package::root().join("src/ffi.rs"), folder.join("ffi.rs"))?;
    fs::write(folder.join("main.rs"), MAIN)
}

pub fn your_own_poll(program: &Program) -> Verdict {
    let name = program.path.file_name().unwrap_or_default();
    let copy = package::target().join("own_poll").join(name);
    copy_package(&copy)?;
    fs::copy(&program.source, copy.join("src/poll.rs"))?;
    let arguments = ["test", "--lib", "--no-run"];
    let built = package::build(&copy, &arguments, &copy.join("target"))?;
    let Some(tests) = built.and_then(|mut programs| programs.pop()) else {
        return Err(Diagnosis {
            symptom: Symptom::DoesNotCompile,
            lines: vec![String::from("with epollet's tests")],
        });
    };
    let tests = Program {
        path: tests,
        source: program.source.clone(),
    };
    let names = finished(&tests, &["--list"], ": test")?;
    // Enough threads, so that tests that do not end keep no other one waiting.
    let passed = finished(&tests, &["--test-threads=16"], " ... ok")?;
    let missing: Vec<&String> = names.iter().filter(|name| !passed.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (count, all) = (missing.len(), names.len());
    let mut lines = vec![format!("{count} of {all} tests fail, or have not ended:")];
    // Without the module, and cut to the width of a screen. `cargo test` finds it by a part, too.
    let without_module = |name: &&String| Some(format!("{:.78}", name.rsplit("::").next()?));
    lines.extend(missing.iter().take(SHOWN).filter_map(without_module));
    if count > SHOWN {
        lines.push(format!("and {} more", count - SHOWN));
    }
    let output = copy.join("tests.out");
    fs::copy(tests.path.with_extension("out"), &output)?;
    let output = package::shown(&output);
    lines.push(format!("What each of them says is in {output}"));
    Err(Diagnosis {
        symptom: Symptom::Fails,
        lines,
    })
}

/// Runs the tests. Returns the names of the tests before an ending of a line.
fn finished(tests: &Program, arguments: &[&str], ending: &str) -> Result<Vec<String>> {
    // The tests of the guide's pages do not depend on `poll.rs`.
    let mut process = tests.start(&[arguments, &["--skip=tests::guide"]].concat())?;
    let start = Instant::now();
    let mut watch = Watch::new();
    while process.ended().is_none() && !watch.is_still(PATIENCE) && start.elapsed() < LONGEST {
        pause_after(|| watch.look(process.pid()));
    }
    let output = process.output();
    let names = output.lines().filter_map(|line| line.strip_suffix(ending));
    Ok(names
        .map(|name| name.trim_start_matches("test ").to_owned())
        .collect())
}

/// Copies `src`; everything else that the tests look at is a link.
fn copy_package(copy: &Path) -> Result<()> {
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(package::root())? {
        let entry = entry?;
        let (name, link) = (entry.file_name(), copy.join(entry.file_name()));
        if name != "src" && name != "target" {
            let _ = fs::remove_file(&link); // One from before the package was moved, or none.
            symlink(entry.path(), link)?;
        }
    }
    let mut cp = Command::new("cp");
    let status = cp
        .arg("-R")
        .arg(package::root().join("src"))
        .arg(copy)
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other("`cp` cannot copy `src`"))
}
