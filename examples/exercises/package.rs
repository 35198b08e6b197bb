//! Packages for programs on epollet: the learner's copies, and the one of `verify`.
//!
//! Each has a workspace of its own, so that this package's build, tests and publication never see
//! what is in it.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of epollet. `cargo run` says where it is now.
pub fn root() -> PathBuf {
    let now = std::env::var_os("CARGO_MANIFEST_DIR");
    now.map_or(PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// A file of the exercises.
pub fn file(name: &str) -> PathBuf {
    root().join("examples/exercises").join(name)
}

/// What need not be kept: programs that were built, and the progress. `cargo clean` removes it.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target
        .map_or(root().join("target"), PathBuf::from)
        .join("exercises")
}

/// Writes the manifest if there is none. Each file in `src/bin` is a program.
pub fn create(package: &Path) -> Result<()> {
    fs::create_dir_all(package.join("src/bin"))?;
    let manifest = package.join("Cargo.toml");
    if manifest.exists() {
        return Ok(());
    }
    let text = format!(
        "[package]\n\
         name = \"exercises\"\n\
         version = \"0.0.0\"\n\
         edition = \"2024\"\n\
         publish = false\n\
         \n\
         [dependencies]\n\
         epollet = {{ path = {:?} }}\n\
         \n\
         [workspace] # of its own: epollet's build does not see it\n",
        root()
    );
    fs::write(manifest, text)
}

/// Builds programs of a package, into `debug` below the target directory. Returns false if one does
/// not compile.
pub fn build(package: &Path, what: &[&str], target: &Path) -> Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--offline", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(what)
        .status()?;
    Ok(status.success())
}
