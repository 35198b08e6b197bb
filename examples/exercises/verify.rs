//! Checks the exercises: each broken program shows its symptom, each solved one passes, and so do
//! other right solutions; typical wrong attempts get a symptom that leads on.
//!
//! The other solutions and the attempts are in `verify`, as changes of the broken or the solved
//! program: `= SYMPTOM, from broken: what it does`, then lines that are replaced, and perhaps `? ` and
//! a line that the diagnosis has to contain.

use crate::diagnosis::Verdict;
use crate::exercise::{EXERCISES, Exercise};
use crate::package;
use crate::program::Program;
use std::fs;
use std::io::{self, Result, Write};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// One program, and what the runner has to say about it.
struct Case {
    exercise: &'static Exercise,
    program: String,
    expected: String,
    what: String,
    /// A line that the diagnosis has to contain.
    line: Option<String>,
}

/// They sleep most of the time.
const AT_ONCE: usize = 6;

/// Checks the selected exercises, or all of them. Two runs at once would write the same programs.
pub fn verify(selected: &[&str], out: &mut impl Write) -> Result<bool> {
    let start = Instant::now();
    let package = package::target().join("verify");
    // They may not exist. epollet may have been moved since.
    let _ = fs::remove_dir_all(package.join("src"));
    let _ = fs::remove_file(package.join("Cargo.toml"));
    package::create(&package)?;
    let mut cases = Vec::new();
    for exercise in &EXERCISES {
        if !selected.is_empty() && !selected.contains(&exercise.number()) {
            continue;
        }
        cases.extend(write_cases(exercise, &package)?);
    }
    let Some(programs) = package::build(&package, &["build"], &package.join("target"))? else {
        writeln!(out, "a program does not compile")?;
        return Ok(false);
    };
    let built = start.elapsed().as_secs_f64();
    let waiting = Mutex::new(cases.iter());
    let results = Mutex::new(Vec::new());
    let play_all = || {
        while let Some(case) = next(&waiting) {
            let path = programs.iter().find(|path| path.ends_with(&case.program));
            let verdict = (case.exercise.play)(&Program {
                path: path.expect("cargo has built it").clone(),
                source: case.exercise.source(&package, &case.program),
            });
            results.lock().unwrap().push((case, verdict));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(play_all);
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by(|(a, _), (b, _)| a.program.cmp(&b.program));
    let mut right = 0;
    for (case, verdict) in &results {
        right += usize::from(report(case, verdict, out)?);
    }
    let (count, all) = (results.len(), start.elapsed().as_secs_f64());
    writeln!(
        out,
        "{right} of {count} as stated; {built:.1} s to build, {all:.1} s in all"
    )?;
    Ok(right == count)
}

/// The queue is locked for a moment only, not while a case is played.
fn next<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    waiting.lock().unwrap().next()
}

fn report(case: &Case, verdict: &Verdict, out: &mut impl Write) -> Result<bool> {
    let said = match verdict {
        Ok(()) => String::from("PASSES"),
        Err(diagnosis) => diagnosis.to_string(),
    };
    let symptom = said.lines().next().unwrap_or_default();
    let has = |expected: &String| said.lines().any(|line| line.trim() == expected);
    let is_right = symptom == case.expected && case.line.as_ref().is_none_or(has);
    if is_right {
        writeln!(out, "ok {} {symptom:8} {}", case.program, case.what)?;
    } else {
        let line = case.line.as_deref().unwrap_or_default();
        writeln!(out, "NOT {}: {} {}", case.expected, case.program, case.what)?;
        writeln!(out, "  (expected: {line})\n{said}")?;
    }
    Ok(is_right)
}

/// Writes the programs of an exercise.
fn write_cases(exercise: &'static Exercise, package: &Path) -> Result<Vec<Case>> {
    let (broken, solved) = (exercise.broken()?, fs::read_to_string(exercise.solution())?);
    let symptom = exercise.header("Symptom")?.concat();
    let mut programs = vec![
        (symptom.as_str(), "the broken program", None, broken.clone()),
        ("PASSES", "the solved program", None, solved.clone()),
    ];
    let changes = package::file("verify")
        .join(exercise.name)
        .with_extension("txt");
    let changes = format!("\n{}", fs::read_to_string(changes)?);
    for part in changes.split("\n= ").skip(1) {
        let (title, lines) = part.split_once('\n').unwrap_or((part, ""));
        let title = title.split_once(", from ").and_then(|(symptom, rest)| {
            let (base, what) = rest.split_once(": ")?;
            Some((symptom, base, what))
        });
        let (symptom, base, what) = title.ok_or_else(|| wrong_change(exercise, part))?;
        let base = if base == "broken" { &broken } else { &solved };
        let program = change(base, lines).ok_or_else(|| wrong_change(exercise, part))?;
        let line = lines.lines().find_map(|line| line.strip_prefix("? "));
        programs.push((symptom, what, line, program));
    }
    let mut cases = Vec::new();
    for (number, (expected, what, line, source)) in programs.into_iter().enumerate() {
        let program = format!("{}_{number:02}", exercise.number());
        exercise.write(package, &program, &source)?;
        cases.push(Case {
            exercise,
            program,
            expected: expected.to_owned(),
            what: what.to_owned(),
            line: line.map(String::from),
        });
    }
    Ok(cases)
}

fn wrong_change(exercise: &Exercise, part: &str) -> io::Error {
    let text = format!(
        "verify/{}.txt: this change cannot be made:\n{part}",
        exercise.name
    );
    io::Error::other(text)
}

/// Replaces the lines with `-`, which must occur exactly once, with the lines with `+` after them.
fn change(text: &str, lines: &str) -> Option<String> {
    let mut text = text.to_owned();
    let (mut old, mut new) = (String::new(), String::new());
    for line in lines.lines().chain(["-"]) {
        if let Some(line) = line.strip_prefix('+') {
            new += &format!("{line}\n");
        } else if let Some(line) = line.strip_prefix('-') {
            if !new.is_empty() || line.is_empty() {
                text = replace_once(&text, &old, &new)?;
                (old, new) = (String::new(), String::new());
            }
            old += &format!("{line}\n");
        }
    }
    Some(text)
}

fn replace_once(text: &str, old: &str, new: &str) -> Option<String> {
    let is_unique = !old.is_empty() && text.matches(old).count() == 1;
    is_unique.then(|| text.replace(old, new))
}
