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
mod process;
mod program;
mod slow;
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
    let (name, copy) = (exercise.name, exercise.copy());
    if !copy.exists() {
        exercise.write(&package::mine(), name, &exercise.broken()?)?;
        let copy = package::shown(&copy);
        writeln!(
            out,
            "Your copy: {copy}\nIts first lines say what it should do.\n"
        )?;
    }
    let Some(program) = build(exercise)? else {
        writeln!(out, "{name}: {}", Symptom::DoesNotCompile)?;
        return Ok(false);
    };
    let verdict = (exercise.play)(&program);
    match &verdict {
        Ok(()) => writeln!(out, "{name}: PASSES")?,
        Err(diagnosis) => write!(out, "{name}: {diagnosis}")?,
    }
    for line in look::hidden()? {
        writeln!(out, "  {line}")?;
    }
    match &verdict {
        Ok(()) => show_next(exercise, out)?,
        Err(diagnosis) if diagnosis.symptom == Symptom::NotTried => {}
        Err(_) => show_help(exercise, &program, out)?,
    }
    Ok(verdict.is_ok())
}

fn build(exercise: &Exercise) -> Result<Option<Program>> {
    let package = package::mine();
    package::create(&package)?;
    let arguments = ["build", "--bin", exercise.name];
    let programs = package::build(&package, &arguments, &package::target())?;
    Ok(programs.and_then(|mut programs| {
        Some(Program {
            path: programs.pop()?,
            source: exercise.copy(),
        })
    }))
}

/// Remembers that an exercise is done. Shows what is learned, and what comes next.
fn show_next(exercise: &Exercise, out: &mut impl Write) -> Result<()> {
    fs::write(exercise.note("done"), "")?;
    for text in exercise.header("Learned")? {
        writeln!(out, "  {}", wrapped(&text))?;
    }
    let solution = package::shown(&exercise.solution());
    writeln!(out, "\nA solution to compare: {solution}")?;
    if let Some(next) = EXERCISES.iter().find(|exercise| !exercise.is_done()) {
        let (number, lesson) = (next.number(), next.lesson);
        writeln!(out, "Next: {RUN} {number}, after the lesson {lesson}")?;
    }
    Ok(())
}

/// Shows what the program has printed, and where to go on.
fn show_help(exercise: &Exercise, program: &Program, out: &mut impl Write) -> Result<()> {
    for kind in ["out", "err"] {
        show_printed(&program.path.with_extension(kind), out)?;
    }
    let (copy, number) = (package::shown(&exercise.copy()), exercise.number());
    writeln!(out, "\nChange {copy},\nor ask: {RUN} {number} hint")
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
        writeln!(out, "  {}", wrapped(line))?;
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
        writeln!(out, "{}", wrapped(&format!("{number} of {all}: {hint}")))?;
    }
    if seen >= all {
        let solution = package::shown(&exercise.solution());
        writeln!(out, "\nThere are no more hints. A solution:\n{solution}")?;
    }
    fs::create_dir_all(package::target())?;
    fs::write(note, all.min(seen + 1).to_string())?;
    Ok(true)
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

/// Breaks a text into lines that fit on a screen, the first one also beside an indentation.
fn wrapped(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned(); // With an indentation of its own.
    }
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let is_full = width + 1 + word.len() > WIDTH;
        if width > 0 {
            lines += if is_full { "\n  " } else { " " };
            width = if is_full { 2 } else { width + 1 };
        }
        lines += word;
        width += word.len();
    }
    lines
}

const WIDTH: usize = 78;
