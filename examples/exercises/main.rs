//! Exercises: programs that are broken in the ways in which programs on epoll break.
//!
//! ```sh
//! cargo run -q --example exercises           # the list: what is done, what comes next
//! cargo run -q --example exercises 01        # makes your copy, builds it, runs it, says what is wrong
//! cargo run -q --example exercises 01 hint   # the next hint
//! cargo run -q --example exercises 01 reset  # begins again, and keeps the old copy beside the new
//! ```
//!
//! You repair your copy, in `examples/exercises/mine`. This runner plays the peers of your program
//! and looks at its process from outside: `look.rs` shows how much `/proc` tells.
//!
//! `solved` has the solutions, with what they teach. `cargo run -q --example exercises verify`
//! checks the exercises themselves.

mod diagnosis;
mod exercise;
mod look;
mod own_poll;
mod package;
mod peer;
mod program;
mod slow;
mod stage;
mod verify;
mod watch;
mod worlds;

use diagnosis::Symptom;
use exercise::{EXERCISES, Exercise};
use program::Program;
use std::fs;
use std::io::{self, ErrorKind, Result, Write};
use std::path::Path;
use std::process::ExitCode;

const RUN: &str = "cargo run -q --example exercises";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::stdout();
    let result = match arguments[..] {
        [] | ["help" | "--help" | "-h"] => list(&mut out),
        ["verify", ref selected @ ..] => verify::verify(selected, &mut out),
        [number] => find(number).and_then(|exercise| attempt(exercise, &mut out)),
        [number, "hint"] => find(number).and_then(|exercise| hint(exercise, &mut out)),
        [number, "reset"] => find(number).and_then(|exercise| reset(exercise, &mut out)),
        _ => Err(usage()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader is gone, as in `| head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            let is_usage = error.kind() == ErrorKind::InvalidInput;
            ExitCode::from(if is_usage { 2 } else { 1 })
        }
    }
}

fn usage() -> io::Error {
    let text = format!("usage: {RUN} [NUMBER [hint | reset]]");
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// Finds an exercise by its number, with or without the leading 0, or its name.
fn find(number: &str) -> Result<&'static Exercise> {
    let is_it = |exercise: &&Exercise| {
        number == exercise.name || format!("{number:0>2}") == exercise.number()
    };
    let found = EXERCISES.iter().find(is_it);
    found.ok_or_else(|| {
        let text = format!("there is no exercise {number}: `{RUN}` lists them");
        io::Error::new(ErrorKind::InvalidInput, text)
    })
}

fn list(out: &mut impl Write) -> Result<bool> {
    writeln!(
        out,
        "Each exercise is a program that is broken or incomplete. Repair your copy.\n"
    )?;
    let next = EXERCISES.iter().find(|exercise| !exercise.is_done());
    for exercise in &EXERCISES {
        let (name, lesson) = (exercise.name, exercise.lesson);
        let mark = match next {
            Some(next) if next.name == name => "next",
            _ if exercise.is_done() => "done",
            _ => "",
        };
        writeln!(out, "  {mark:4}  {name:20}  after the lesson {lesson}")?;
    }
    let number = next.map_or("01", Exercise::number);
    writeln!(
        out,
        "\n{RUN} {number}        runs your copy, says what is wrong"
    )?;
    writeln!(out, "{RUN} {number} hint   the next hint")?;
    writeln!(out, "{RUN} {number} reset  begins again")?;
    writeln!(
        out,
        "\nYour copies are in examples/exercises/mine: open that folder in your editor."
    )?;
    writeln!(out, "Terms are explained in src/guide/glossary.md.")?;
    writeln!(out, "`cargo clean` forgets what is done; your copies stay.")?;
    Ok(true)
}

/// Builds the learner's copy, runs it, and says what is wrong with it.
fn attempt(exercise: &Exercise, out: &mut impl Write) -> Result<bool> {
    let (name, number) = (exercise.name, exercise.number());
    let (mine, target) = (package::mine(), package::target());
    let copy = package::shown(&exercise.copy());
    package::create(&mine)?;
    if !exercise.copy().exists() {
        exercise.write(&mine, name, &exercise.broken()?)?;
        writeln!(
            out,
            "Your copy: {copy}\nIts first lines say what it should do.\n"
        )?;
    }
    let path = target.join("debug").join(name);
    let _ = fs::remove_file(&path); // Never run an old one.
    if !package::build(&mine, &["--bin", name], &target)? {
        writeln!(out, "{name}: DOES NOT COMPILE")?;
        return Ok(false);
    }
    let program = Program {
        path,
        source: exercise.copy(),
    };
    if let Err(diagnosis) = (exercise.play)(&program) {
        writeln!(out, "{name}: {}", diagnosis.symptom)?;
        for line in diagnosis.lines.iter().flat_map(|line| line.lines()) {
            writeln!(out, "  {}", fitting(line))?;
        }
        for line in look::hidden()? {
            writeln!(out, "  {line}")?;
        }
        if diagnosis.symptom == Symptom::NotTried {
            return Ok(false);
        }
        for kind in ["out", "err"] {
            show_printed(&program.path.with_extension(kind), out)?;
        }
        writeln!(out, "\nChange {copy},\nor ask: {RUN} {number} hint")?;
        return Ok(false);
    }
    fs::write(exercise.note("done"), "")?;
    writeln!(out, "{name}: PASSES")?;
    for line in look::hidden()? {
        writeln!(out, "  {line}")?;
    }
    for text in exercise.header("Learned")? {
        writeln!(out, "  {}", wrapped(&text))?;
    }
    let solution = package::shown(&exercise.solution());
    writeln!(out, "\nA solution to compare: {solution}")?;
    if let Some(next) = EXERCISES.iter().find(|exercise| !exercise.is_done()) {
        writeln!(
            out,
            "Next: {RUN} {}, after the lesson {}",
            next.number(),
            next.lesson
        )?;
    }
    Ok(true)
}

/// Shows the end of what the program has printed, before a panic's backtrace.
fn show_printed(file: &Path, out: &mut impl Write) -> Result<()> {
    let printed = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&printed);
    let text = text.split("\nstack backtrace:").next().unwrap_or(&text);
    let end = &text.as_bytes()[text.len().saturating_sub(1000)..];
    let end = String::from_utf8_lossy(end);
    let mut lines: Vec<&str> = end.lines().collect();
    lines.retain(|line| !line.is_empty() && !line.starts_with("listening on "));
    let lines = &lines[lines.len().saturating_sub(5)..];
    if !lines.is_empty() {
        writeln!(out, "\nFrom {}:", package::shown(file))?;
    }
    for line in lines {
        writeln!(out, "  {}", fitting(line))?;
    }
    Ok(())
}

/// Shows the hints so far and the next one.
fn hint(exercise: &Exercise, out: &mut impl Write) -> Result<bool> {
    let hints = exercise.header("Hint")?;
    let note = exercise.note("hints");
    let seen = fs::read_to_string(&note).unwrap_or_default();
    let seen = seen.parse().unwrap_or(0);
    let all = hints.len();
    for (number, hint) in (1..=seen + 1).zip(&hints) {
        writeln!(out, "{number} of {all}: {}", wrapped(hint))?;
    }
    if seen >= all {
        let solution = package::shown(&exercise.solution());
        writeln!(out, "\nThere are no more hints. A solution:\n{solution}")?;
    }
    fs::create_dir_all(package::target())?;
    fs::write(note, all.min(seen + 1).to_string())?;
    Ok(true)
}

/// A line, as it is if it fits on a screen beside an indentation.
fn fitting(line: &str) -> String {
    if line.chars().count() <= 78 {
        return line.to_owned();
    }
    wrapped(line)
}

/// Breaks a text into lines that fit on a screen.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = "9 of 9: ".len();
    for word in text.split_whitespace() {
        if !lines.is_empty() && width + word.len() > 76 {
            lines.truncate(lines.trim_end().len());
            lines += "\n  ";
            width = 2;
        }
        lines += word;
        lines += " ";
        width += word.len() + 1;
    }
    lines.trim_end().to_owned()
}

/// Begins again. The old copy stays beside the new one.
fn reset(exercise: &Exercise, out: &mut impl Write) -> Result<bool> {
    let copy = exercise.copy();
    if copy.exists() {
        let mut names = (1..).map(|number| copy.with_extension(format!("rs.{number}")));
        let old = names.find(|path| !path.exists()).expect("a number is free");
        fs::rename(&copy, &old)?;
        writeln!(out, "Your old copy: {}", package::shown(&old))?;
    }
    for kind in ["done", "hints"] {
        let _ = fs::remove_file(exercise.note(kind)); // It may not exist.
    }
    exercise.write(&package::mine(), exercise.name, &exercise.broken()?)?;
    writeln!(out, "Your new copy: {}", package::shown(&copy))?;
    Ok(true)
}
