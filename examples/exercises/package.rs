//! Packages for programs on epollet: the learner's copies, and the one of `verify`.
//!
//! Each has a workspace of its own, so that this package's build, tests and publication never see
//! what is in it.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory of epollet. `cargo run` says where it is now.
pub fn root() -> PathBuf {
    let now = std::env::var_os("CARGO_MANIFEST_DIR");
    now.map_or(PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// A file of the exercises.
pub fn file(name: &str) -> PathBuf {
    root().join("examples/exercises").join(name)
}

/// The name of a file as a reader of this package knows it.
pub fn shown(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

/// The package of the learner's copies.
pub fn mine() -> PathBuf {
    file("mine")
}

/// What need not be kept: programs that were built, and the progress. `cargo clean` removes it.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or(root().join("target"), PathBuf::from);
    // cargo runs in another directory, where a relative path would mean another one.
    std::path::absolute(target)
        .expect("it is not empty")
        .join("exercises")
}

/// Writes the manifest if there is none: the learner may change it. Each file in `src/bin` is a
/// program.
pub fn create(package: &Path) -> Result<()> {
    let manifest = package.join("Cargo.toml");
    if manifest.exists() {
        return Ok(());
    }
    // The learner's copies are inside epollet: a relative path stays right when it is moved.
    let is_inside = package == mine();
    let epollet = if is_inside {
        PathBuf::from("../../..")
    } else {
        root()
    };
    fs::create_dir_all(package.join("src/bin"))?;
    let text = format!(
        "[package]\n\
         name = \"exercises\"\n\
         version = \"0.0.0\"\n\
         edition = \"2024\"\n\
         publish = false\n\
         \n\
         [dependencies]\n\
         epollet = {{ path = {epollet:?} }}\n\
         \n\
         [workspace] # of its own: epollet's build does not see it\n"
    );
    fs::write(manifest, text)
}

/// Runs `cargo build` or `cargo test --no-run`. Returns the programs, if they compile.
pub fn build(package: &Path, arguments: &[&str], target: &Path) -> Result<Option<Vec<PathBuf>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--quiet", "--offline", "--target-dir"])
        .arg(target)
        // The names of the programs go to its output, and the compiler's messages to the terminal.
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .current_dir(package)
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let programs = messages.lines().filter_map(|message| {
        let (_, rest) = message.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split_once('"')?.0))
    });
    let programs = programs.collect();
    Ok(output.status.success().then_some(programs))
}
