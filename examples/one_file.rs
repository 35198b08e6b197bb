//! Prints the program, with the library in it, as one file.
//!
//! ```sh
//! cargo run -q --example one_file > epollet.rs
//! rustc --edition 2024 epollet.rs && ./epollet
//! ```
//!
//! This is for places that take one file: the Rust Playground and similar sites, an email, a paste.
//! Doc comments are left out; the rest is the code in `src/`.

use std::io::{self, ErrorKind, Write};

/// Replaces `src/lib.rs`.
const LIBRARY: &str = "\
mod ffi;
mod poll;
pub use ffi::Event;
pub use poll::*;
";

const MAIN: &str = include_str!("../src/main.rs");

/// The source of each module, by its name.
const MODULES: [(&str, &str); 7] = [
    ("ffi", include_str!("../src/ffi.rs")),
    ("poll", include_str!("../src/poll.rs")),
    ("answer", include_str!("../src/program/answer.rs")),
    ("arguments", include_str!("../src/program/arguments.rs")),
    ("delayserver", include_str!("../src/program/delayserver.rs")),
    ("report", include_str!("../src/program/report.rs")),
    ("server", include_str!("../src/program/server.rs")),
];

fn main() -> io::Result<()> {
    let mut file = String::new();
    file += "// epollet in one file. To build it: rustc --edition 2024 epollet.rs\n\n";
    file += "mod epollet {\n";
    add_code(LIBRARY, &mut file);
    file += "}\n\n";
    add_code(MAIN, &mut file);
    match io::stdout().write_all(file.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()), // as with `| head`
        result => result,
    }
}

/// Adds the code without doc comments, and for each `mod name;` the source of the module.
fn add_code(code: &str, file: &mut String) {
    for line in code.lines() {
        let start = line.trim_start();
        let is_doc_comment = start.starts_with("//!") || start.starts_with("///");
        let is_first_and_blank = line.is_empty() && file.ends_with("{\n");
        if is_doc_comment || is_first_and_blank {
            continue;
        }
        let Some((visibility, name)) = module_declaration(start) else {
            *file += line;
            *file += "\n";
            continue;
        };
        *file += &format!("{visibility}mod {name} {{\n");
        let (_, source) = MODULES.iter().find(|module| module.0 == name).expect(name);
        // In a module, a path to another one begins with `crate`.
        add_code(
            &source.replace("use epollet::", "use crate::epollet::"),
            file,
        );
        *file += "}\n";
    }
}

/// Splits `mod name;`, with or without `pub` or `pub(crate)` before it.
fn module_declaration(line: &str) -> Option<(&str, &str)> {
    let (visibility, declaration) = line.split_once("mod ")?;
    let name = declaration.strip_suffix(';')?;
    let is_visibility = ["", "pub ", "pub(crate) "].contains(&visibility);
    is_visibility.then_some((visibility, name))
}
