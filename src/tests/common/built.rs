//! The programs of the examples.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

/// Returns the program of an example, or what to do if it is older than one of its source files.
pub fn built(example: &str) -> Result<PathBuf, String> {
    // A test is target/PROFILE/deps/NAME-HASH.
    let this_test = env::current_exe().unwrap();
    let profile = this_test.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(example);
    // cargo's list of them: `PROGRAM: SOURCE SOURCE ...`
    let list = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let mut sources = list.split_whitespace().skip(1).map(Path::new);
    let built = modified(&program);
    if built.is_some() && sources.all(|source| modified(source) <= built) {
        return Ok(program);
    }
    Err(format!(
        "{program:?} is not up to date. First: cargo build --examples"
    ))
}

/// Returns `None` if there is no such file.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
