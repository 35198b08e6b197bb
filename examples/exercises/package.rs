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

/// Returns where epollet is, seen from a directory `below` a package. The learner's copies are inside
/// epollet: a relative path stays right when it is moved. The package of `verify` may be elsewhere.
pub fn epollet(package: &Path, below: &str) -> PathBuf {
    if package == mine() {
        // From `examples/exercises/mine`, and from a directory in it.
        let up = Path::new(below).components().map(|_| "..");
        up.chain(["../../.."]).collect()
    } else {
        root()
    }
}

/// Writes the manifest if there is none: the learner may change it. Each file in `src/bin` is a
/// program.
pub fn create(package: &Path) -> Result<()> {
    let manifest = package.join("Cargo.toml");
    if manifest.exists() {
        return Ok(());
    }
    fs::create_dir_all(package.join("src/bin"))?;
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
        epollet(package, "")
    );
    fs::write(manifest, text)
}

/// Builds the tests of a library, and returns their program, if it compiles.
pub fn build_tests(package: &Path) -> Result<Option<PathBuf>> {
    let output = cargo(package, "test")
        .args([
            "--lib",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--target-dir", "target"])
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages
        .split_once("\"executable\":\"")
        .map(|(_, rest)| rest);
    let path = program.and_then(|rest| Some(rest.split_once('"')?.0));
    Ok(path.filter(|_| output.status.success()).map(PathBuf::from))
}

/// Builds programs of a package, into `debug` below the target directory. Returns false if one does
/// not compile.
pub fn build(package: &Path, what: &[&str], target: &Path) -> Result<bool> {
    let mut command = cargo(package, "build");
    let status = command
        .arg("--target-dir")
        .arg(target)
        .args(what)
        .status()?;
    Ok(status.success())
}

fn cargo(package: &Path, command: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut cargo = Command::new(cargo);
    cargo
        .args([command, "--quiet", "--offline"])
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("CARGO_BUILD_TARGET") // It would put the program elsewhere.
        .current_dir(package);
    cargo
}
