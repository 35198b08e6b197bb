//! The twelve exercises and their files.

use crate::diagnosis::Verdict;
use crate::program::Program;
use crate::{own_poll, package, worlds};
use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

pub struct Exercise {
    pub name: &'static str,
    /// The lesson that comes before it.
    pub lesson: &'static str,
    /// Runs a program, and says what is wrong with it.
    pub play: fn(&Program) -> Verdict,
}

#[rustfmt::skip] // One line each: this is a table.
pub const EXERCISES: [Exercise; 12] = [
    Exercise { name: "01_half_an_answer", lesson: "03_triggers", play: worlds::half_an_answer },
    Exercise { name: "02_one_client_left", lesson: "05_echo_server", play: worlds::one_client_left },
    Exercise { name: "03_a_slow_reader", lesson: "05_echo_server", play: worlds::a_slow_reader },
    Exercise { name: "04_counted_twice", lesson: "06_pitfalls", play: worlds::counted_twice },
    Exercise { name: "05_one_blocks_all", lesson: "07_connect", play: worlds::one_blocks_all },
    Exercise { name: "06_wrong_client", lesson: "08_chat", play: worlds::wrong_client },
    Exercise { name: "07_flood", lesson: "09_fair", play: worlds::flood },
    Exercise { name: "08_left_behind", lesson: "09_fair", play: worlds::left_behind },
    Exercise { name: "09_no_descriptor", lesson: "13_shutdown", play: worlds::no_descriptor },
    Exercise { name: "10_wake_then_send", lesson: "14_workers", play: worlds::wake_then_send },
    Exercise { name: OWN_POLL, lesson: "16_async_await", play: own_poll::your_own_poll },
    Exercise { name: "12_second_backend", lesson: "17_two_backends", play: worlds::second_backend },
];

/// This one is a module, `poll.rs`, beside a `main.rs`.
const OWN_POLL: &str = "11_your_own_poll";

impl Exercise {
    pub fn number(&self) -> &'static str {
        &self.name[..2]
    }

    /// The learner's copy.
    pub fn copy(&self) -> PathBuf {
        self.source(&package::mine(), self.name)
    }

    /// The file of a program in a package.
    pub fn source(&self, package: &Path, program: &str) -> PathBuf {
        let path = package.join("src/bin").join(program);
        if self.name == OWN_POLL {
            path.join("poll.rs")
        } else {
            path.with_extension("rs")
        }
    }

    /// Writes a program into a package.
    pub fn write(&self, package: &Path, program: &str, text: &str) -> Result<()> {
        package::create(package)?;
        let source = self.source(package, program);
        if self.name == OWN_POLL {
            own_poll::write_main(package, program)?;
        }
        fs::write(source, text)
    }

    pub fn broken(&self) -> Result<String> {
        fs::read_to_string(self.file("broken"))
    }

    pub fn solution(&self) -> PathBuf {
        if self.name == OWN_POLL {
            package::root().join("src/poll.rs")
        } else {
            self.file("solved")
        }
    }

    fn file(&self, folder: &str) -> PathBuf {
        package::file(folder).join(self.name).with_extension("rs")
    }

    /// Returns the texts under a heading in the header of the solution: `//! Hint: …`, continued in
    /// lines that are indented.
    pub fn header(&self, heading: &str) -> Result<Vec<String>> {
        let mut texts: Vec<String> = Vec::new();
        let mut continues = false;
        for line in fs::read_to_string(self.file("solved"))?.lines() {
            let Some(line) = line.strip_prefix("//! ") else {
                break;
            };
            let text = line.strip_prefix(heading);
            if let Some(text) = text.and_then(|text| text.strip_prefix(": ")) {
                texts.push(text.to_owned());
                continues = true;
            } else if !line.starts_with("  ") {
                continues = false;
            } else if continues {
                let text = texts.last_mut().expect("it continues one");
                *text += " ";
                *text += line.trim();
            }
        }
        Ok(texts)
    }

    pub fn is_done(&self) -> bool {
        self.note("done").exists()
    }

    /// A file that keeps the progress.
    pub fn note(&self, kind: &str) -> PathBuf {
        package::target().join(self.name).with_extension(kind)
    }
}
