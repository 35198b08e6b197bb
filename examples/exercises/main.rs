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

mod look;
mod package;
mod peer;
mod slow;
mod stage;
mod verify;
mod worlds;

use stage::{Program, Verdict};
use std::fs;
use std::io::{self, ErrorKind, Result, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

struct Exercise {
    name: &'static str,
    /// The lesson that comes before it.
    lesson: &'static str,
    play: fn(&Program) -> Verdict,
}

const EXERCISES: [Exercise; 10] = [
    Exercise {
        name: "01_half_an_answer",
        lesson: "03_triggers",
        play: worlds::half_an_answer,
    },
    Exercise {
        name: "02_one_client_left",
        lesson: "05_echo_server",
        play: worlds::one_client_left,
    },
    Exercise {
        name: "03_a_slow_reader",
        lesson: "05_echo_server",
        play: worlds::a_slow_reader,
    },
    Exercise {
        name: "04_counted_twice",
        lesson: "06_pitfalls",
        play: worlds::counted_twice,
    },
    Exercise {
        name: "05_one_blocks_all",
        lesson: "07_connect",
        play: worlds::one_blocks_all,
    },
    Exercise {
        name: "06_wrong_client",
        lesson: "08_chat",
        play: worlds::wrong_client,
    },
    Exercise {
        name: "07_flood",
        lesson: "09_fair",
        play: worlds::flood,
    },
    Exercise {
        name: "08_left_behind",
        lesson: "09_fair",
        play: worlds::left_behind,
    },
    Exercise {
        name: "09_no_descriptor",
        lesson: "13_shutdown",
        play: worlds::no_descriptor,
    },
    Exercise {
        name: "10_wake_then_send",
        lesson: "14_workers",
        play: worlds::wake_then_send,
    },
];

/// An attempt takes no longer, after the build.
const LIMIT: Duration = Duration::from_secs(3);
const RUN: &str = "cargo run -q --example exercises";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::stdout();
    let result = match arguments[..] {
        [] => list(&mut out),
        ["verify", ref selected @ ..] => verify::verify(selected, &mut out),
        [number] => find(number).and_then(|exercise| exercise.attempt(&mut out)),
        [number, "hint"] => find(number).and_then(|exercise| exercise.hint(&mut out)),
        [number, "reset"] => find(number).and_then(|exercise| exercise.reset(&mut out)),
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
    let text = format!("usage: {RUN} [NUMBER [hint | reset] | verify]");
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// Finds an exercise by its number or its name.
fn find(number: &str) -> Result<&'static Exercise> {
    let found = EXERCISES
        .iter()
        .find(|exercise| number == exercise.name || number == exercise.number());
    found.ok_or_else(|| {
        let text = format!("there is no exercise {number}: `{RUN}` lists them");
        io::Error::new(ErrorKind::InvalidInput, text)
    })
}

fn list(out: &mut impl Write) -> Result<bool> {
    writeln!(
        out,
        "Each exercise is a program with one mistake. Repair your copy of it.\n"
    )?;
    let next = EXERCISES.iter().find(|exercise| !exercise.is_done());
    for exercise in &EXERCISES {
        let mark = match next {
            Some(next) if next.name == exercise.name => "next",
            _ if exercise.is_done() => "done",
            _ => "",
        };
        writeln!(
            out,
            "  {mark:4}  {:20}  after the lesson {}",
            exercise.name, exercise.lesson
        )?;
    }
    let number = next.map_or("01", Exercise::number);
    writeln!(
        out,
        "\n{RUN} {number}        runs your copy, and says what is wrong"
    )?;
    writeln!(out, "{RUN} {number} hint   the next hint")?;
    writeln!(out, "{RUN} {number} reset  begins again")?;
    writeln!(
        out,
        "\n`cargo clean` forgets what is done. Your copies stay."
    )?;
    Ok(true)
}

impl Exercise {
    fn number(&self) -> &'static str {
        &self.name[..2]
    }

    /// The learner's copy.
    fn copy(&self) -> PathBuf {
        package::file("mine/src/bin")
            .join(self.name)
            .with_extension("rs")
    }

    fn is_done(&self) -> bool {
        self.note("done").exists()
    }

    /// A file that keeps the progress.
    fn note(&self, kind: &str) -> PathBuf {
        package::target().join(self.name).with_extension(kind)
    }

    /// Builds the learner's copy, runs it, and says what is wrong with it.
    fn attempt(&self, out: &mut impl Write) -> Result<bool> {
        let copy = self.copy();
        let shown = copy
            .strip_prefix(package::root())
            .unwrap_or(&copy)
            .display()
            .to_string();
        if !copy.exists() {
            package::create(&package::file("mine"))?;
            fs::copy(
                package::file("broken").join(self.name).with_extension("rs"),
                &copy,
            )?;
            writeln!(
                out,
                "Your copy: {shown}\nIts first lines say what it should do.\n"
            )?;
        }
        let target = package::target();
        if !package::build(&package::file("mine"), &["--bin", self.name], &target)? {
            writeln!(out, "{}: DOES NOT COMPILE", self.name)?;
            return Ok(false);
        }
        let program = Program {
            path: target.join("debug").join(self.name),
            limit: LIMIT,
        };
        match (self.play)(&program) {
            Ok(()) => {
                fs::write(self.note("done"), "")?;
                writeln!(out, "{}: PASSES", self.name)?;
                for text in self.header("Learned")? {
                    writeln!(out, "  {text}")?;
                }
                writeln!(
                    out,
                    "\nA solution to compare: examples/exercises/solved/{}.rs",
                    self.name
                )?;
                Ok(true)
            }
            Err(diagnosis) => {
                writeln!(out, "{}: {}", self.name, diagnosis.symptom)?;
                for line in &diagnosis.lines {
                    writeln!(out, "  {}", line.replace('\n', "\n  "))?;
                }
                writeln!(
                    out,
                    "\nChange {shown},\nor ask: {RUN} {} hint",
                    self.number()
                )?;
                Ok(false)
            }
        }
    }

    /// Shows the hints so far and the next one.
    fn hint(&self, out: &mut impl Write) -> Result<bool> {
        let hints = self.header("Hint")?;
        let note = self.note("hints");
        let seen: usize = fs::read_to_string(&note)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let shown = hints.len().min(seen + 1);
        for (number, hint) in hints[..shown].iter().enumerate() {
            writeln!(out, "{} of {}: {hint}", number + 1, hints.len())?;
        }
        if seen >= hints.len() {
            writeln!(
                out,
                "\nThere are no more hints. A solution: examples/exercises/solved/{}.rs",
                self.name
            )?;
        }
        fs::create_dir_all(package::target())?;
        fs::write(note, shown.to_string())?;
        Ok(true)
    }

    /// Puts the broken program in place of the copy, and keeps the copy beside it.
    fn reset(&self, out: &mut impl Write) -> Result<bool> {
        let copy = self.copy();
        if copy.exists() {
            let kept = (1..)
                .map(|number| copy.with_extension(format!("rs.{number}")))
                .find(|path| !path.exists())
                .expect("a number is free");
            fs::rename(&copy, &kept)?;
            writeln!(out, "Your copy is now {}", kept.display())?;
        }
        for kind in ["done", "hints"] {
            let _ = fs::remove_file(self.note(kind)); // It may not exist.
        }
        writeln!(out, "Begin again: {RUN} {}", self.number())?;
        Ok(true)
    }

    /// Returns the texts under a heading in the header of the solution:
    /// `//! Hint: …`, continued in lines that begin with `//!   `.
    fn header(&self, heading: &str) -> Result<Vec<String>> {
        let solution = package::file("solved").join(self.name).with_extension("rs");
        let mut texts: Vec<String> = Vec::new();
        let mut continues = false;
        for line in fs::read_to_string(solution)?.lines() {
            let Some(line) = line.strip_prefix("//! ") else {
                break;
            };
            if let Some(text) = line
                .strip_prefix(heading)
                .and_then(|rest| rest.strip_prefix(": "))
            {
                texts.push(text.to_owned());
                continues = true;
            } else if !line.starts_with("  ") {
                continues = false;
            } else if continues {
                let text = texts.last_mut().expect("it continues one");
                *text += "\n";
                *text += line;
            }
        }
        Ok(texts)
    }
}
