//! Runs each lesson in `examples/` and compares what it prints with `src/tests/lessons/NAME.txt`.
//!
//! In such a file
//! - `#` stands for a number and the spaces before it: a time, a count, a port;
//! - `...` at the end of a line stands for any rest of the line;
//! - `...` on a line of its own stands for any lines, or none, where their number varies.
//!
//! `cargo test` builds the examples first. `cargo test --test lessons` does not, and says so.

#[path = "common/built.rs"]
mod built;

use built::built;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::{fd::OwnedFd, unix::net::UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, thread};

/// Examples that are no part of the path, and end by themselves.
const TOOLS: [&str; 3] = ["edges", "herd", "peek"];

/// A lesson takes 3 s at most. On a machine that is busy with something else it may take longer.
const LIMIT: Duration = Duration::from_secs(20);

/// The longest that a test waits for what a server has to say.
const LONG: Duration = Duration::from_secs(5);

#[test]
fn every_lesson_prints_what_is_expected() {
    for_each(&with_tools(path()), check);
}

#[test]
fn every_lesson_ends_quietly_if_its_output_cannot_be_written() {
    for_each(&with_tools(path()), |name| {
        let (pipe, reader) = UnixStream::pair().unwrap();
        drop(reader); // as after `| head -1`
        let full = File::options().write(true).open("/dev/full").unwrap();
        for output in [OwnedFd::from(pipe), OwnedFd::from(full)] {
            let log = temporary_directory().join(format!("{name}.errors"));
            let status = run(name, output.into(), File::create(&log).unwrap().into())?;
            let errors = fs::read_to_string(&log).unwrap();
            if !status.success() || !errors.is_empty() {
                return Err(format!("{name} ends with {status}\n{errors}"));
            }
        }
        Ok(())
    });
}

#[test]
fn every_lesson_says_what_comes_before_it() {
    let path = path();
    for (before, lesson) in path.iter().zip(&path[1..]) {
        let expected = format!("//! Comes after `{before}`.");
        assert!(source(lesson).contains(&expected), "{lesson}: {expected}");
    }
}

#[test]
fn the_readme_names_the_lessons_in_the_order_of_the_path() {
    let readme = fs::read_to_string(package().join("README.md")).unwrap();
    let mut rest = readme.as_str();
    for lesson in path() {
        let Some(at) = rest.find(&lesson) else {
            panic!("{lesson} is not after the lesson before it");
        };
        rest = &rest[at..];
    }
}

/// As the README says: the two files in `src/epollet/`, one line before the first `use`, and what
/// else the lesson needs next to it.
#[test]
fn a_lesson_builds_in_a_new_crate() {
    let readme = fs::read_to_string(package().join("README.md")).unwrap();
    let module = readme
        .lines()
        .find(|line| line.starts_with("mod epollet {"));
    let module = module.expect("the README's line for a copy");
    for lesson in with_tools(path()) {
        if lesson == "02_bare" {
            continue; // It has the two files as its own modules.
        }
        let src = temporary_directory().join(&lesson).join("src");
        fs::create_dir_all(src.join("epollet")).unwrap();
        for file in ["ffi.rs", "poll.rs"] {
            let copy = src.join("epollet").join(file);
            fs::copy(package().join("src").join(file), copy).unwrap();
        }
        let lesson_source = source(&lesson);
        let mut main = lesson_source.replacen("\nuse ", &format!("\n{module}\nuse "), 1);
        for line in lesson_source.lines() {
            let path = line.strip_prefix("#[path = \"");
            if let Some(path) = path.and_then(|path| path.strip_suffix("\"]")) {
                let name = path.rsplit('/').next().unwrap();
                let text = fs::read_to_string(package().join("examples").join(path)).unwrap();
                let text = text.replace("use epollet::", "use crate::epollet::");
                fs::write(src.join(name), text).unwrap();
                main = main.replace(path, name);
            } else if line == "mod model;" {
                fs::create_dir_all(src.join("model")).unwrap();
                for file in ["mod.rs", "files.rs"] {
                    let file = Path::new("model").join(file);
                    fs::copy(package().join("examples").join(&file), src.join(file)).unwrap();
                }
            }
        }
        fs::write(src.join("main.rs"), main).unwrap();
        let output = rustc(&["--emit", "metadata", "main.rs"], &src);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lesson}:\n{errors}");
    }
}

#[test]
fn one_file_builds_without_a_warning_and_runs_by_itself() {
    let directory = temporary_directory().join("one_file");
    fs::create_dir_all(&directory).unwrap();
    let main = File::create(directory.join("main.rs")).unwrap();
    let status = run("one_file", main.into(), Stdio::inherit()).unwrap();
    assert!(status.success(), "{status}");
    let output = rustc(&["main.rs"], &directory);
    assert!(output.status.success(), "{output:?}");

    // Without arguments, and with nothing on port 8080, it starts a delay server itself. The first
    // answer is enough here.
    let mut program = Command::new(directory.join("main"));
    let mut program = program.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let is_first_answer =
        |line: &str| line.contains(" Event { token: 4, ") && line.ends_with("  request-4");
    let answered = lines.any(|line| is_first_answer(&line.unwrap()));
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(answered);
}

/// An example that runs until it is ended. Dropping it does that.
struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    fn start(example: &str, argument: &str) -> Server {
        let mut command = Command::new(built(example).unwrap());
        command.arg(argument).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, lines) = mpsc::channel();
        thread::spawn(move || output.try_for_each(|line| send.send(line.unwrap())));
        Server { child, lines }
    }

    /// Returns the next line of its output.
    fn line(&self) -> String {
        self.lines.recv_timeout(LONG).expect("a line of output")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn connect(address: &str) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client
}

#[test]
fn the_echo_server_and_the_chat_serve_at_an_address() {
    let echo = Server::start("05_echo_server", "127.0.0.1:0");
    let mut client = connect(echo.line().strip_prefix("listening on ").unwrap());
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");

    let chat = Server::start("08_chat", "127.0.0.1:0");
    let address = chat.line();
    let address = address.strip_prefix("listening on ").unwrap();
    let mut lines = BufReader::new(connect(address)).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "* client 1 has joined");
    let mut second = connect(address);
    assert_eq!(lines.next().unwrap().unwrap(), "* client 2 has joined");
    second.write_all(b"hello\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "hello");
    second.shutdown(Shutdown::Write).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "* client 2 has left");
}

/// An example that is ended if it takes too long.
fn bounded(example: &str) -> Command {
    let mut command = Command::new("timeout");
    let limit = LIMIT.as_secs().to_string();
    command.arg(limit).arg(built(example).unwrap());
    command
}

#[test]
fn the_lesson_about_standard_input_reads_a_pipe_and_a_file() {
    let file = temporary_directory().join("12_stdin.input");
    fs::write(&file, "one\ntwo").unwrap();
    let mut command = bounded("12_stdin");
    let from_file = command.arg("-").stdin(File::open(file).unwrap());
    let from_file = String::from_utf8(from_file.output().unwrap().stdout).unwrap();
    assert!(from_file.contains("read it directly"), "{from_file}");
    assert!(from_file.ends_with(" s  \"two\"\n"), "{from_file}");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo").unwrap();
    let from_pipe = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(from_pipe.contains(" s  \"one\"\n"), "{from_pipe}");
    assert!(from_pipe.ends_with(" end, after \"two\"\n"), "{from_pipe}");
}

#[test]
fn peek_shows_the_queue_of_another_process() {
    let echo = Server::start("05_echo_server", "127.0.0.1:0");
    let address = echo.line();
    let listener = address.replace("listening on", "listener on");
    let mut command = bounded("peek");
    command.arg(echo.child.id().to_string());
    let start = Instant::now();
    let mut text = String::new();
    while !text.contains(&listener) && start.elapsed() < LIMIT {
        text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    }
    let row = text.lines().find(|line| line.contains(&listener));
    let row = row.unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains("  IN | RDHUP | ET  "), "{row}");
}

#[test]
fn the_delay_server_says_where_it_listens_and_logs_each_request() {
    let server = Server::start("delayserver", "localhost:0");
    let first = server.line();
    let address = first.strip_prefix("listening on http://").unwrap();
    assert!(server.line().starts_with("For each valid request: "));
    let mut client = connect(address);
    client.write_all(b"GET /1/hi HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
    let from = client.local_addr().unwrap();
    assert_eq!(server.line(), format!("#1 - 1ms: hi ({from})"));

    let second = Command::new(built("delayserver").unwrap())
        .arg(address)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let errors = String::from_utf8(second.stderr).unwrap();
    assert!(
        errors.starts_with(&format!("error: cannot serve on {address}: ")),
        "{errors}"
    );
    assert!(errors.contains("already running there"), "{errors}");
}

#[test]
fn the_delay_server_explains_its_arguments() {
    let program = built("delayserver").unwrap();
    let output = |args: &[&str]| Command::new(&program).args(args).output().unwrap();
    for argument in ["--help", "-h"] {
        let output = output(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.starts_with(b"Usage: ") && output.stderr.is_empty());
    }
    for wrong in [&["8080"][..], &[":1"], &["a:x"], &["a:1", "b:2"]] {
        let output = output(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.starts_with("error: expected one ADDRESS:PORT, got "),
            "{errors}"
        );
        assert!(errors.contains("\nUsage: ") && output.stdout.is_empty());
    }
}

#[test]
fn expected_lines_match_as_documented() {
    for (pattern, line) in [
        ("as it is", "as it is"),
        ("# s  port #.", "  0.100 s  port 8080."),
        ("#  |...", " 12.50  |======"),
    ] {
        assert!(line_matches(pattern, line), "{pattern:?} {line:?}");
    }
    for (pattern, line) in [
        ("as it is", "as it was"),
        ("as it is", "as it is not"),
        ("# s", " s"),
        ("# bytes", "4 bits"),
        ("#  |...", " 12.50  ="),
    ] {
        assert!(!line_matches(pattern, line), "{pattern:?} {line:?}");
    }
    assert!(lines_match(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(lines_match(&["a", "...", "d"], &["a", "d"]));
    assert!(!lines_match(&["a", "...", "d"], &["a", "b", "c"]));
    assert!(!lines_match(&["a"], &["a", "b"]));
}

/// Runs a lesson. The error says what is wrong with it.
fn check(lesson: &str) -> Result<(), String> {
    let file = package().join(format!("src/tests/lessons/{lesson}.txt"));
    let expected = fs::read_to_string(&file).map_err(|error| format!("{file:?}: {error}"))?;
    let expected: Vec<&str> = expected.lines().collect();
    let log = temporary_directory().join(format!("{lesson}.log"));
    let output = File::create(&log).unwrap();
    let status = run(lesson, output.try_clone().unwrap().into(), output.into())?;
    let printed = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = printed.lines().collect();

    let wrong = if !status.success() {
        format!("ends with {status}")
    } else if lines.len() > 23 {
        format!("prints {} lines", lines.len())
    } else if let Some(line) = lines.iter().find(|line| line.chars().count() > 80) {
        format!("prints a line of {} columns: {line}", line.chars().count())
    } else if !ends_with_a_takeaway(&lines) {
        "does not end with a paragraph of one sentence, the takeaway".to_owned()
    } else if !lines_match(&expected, &lines) {
        let expected = expected.join("\n");
        format!("does not print what is expected, which is:\n{expected}\n")
    } else {
        return Ok(());
    };
    Err(format!("{lesson} {wrong}\nIt has printed:\n{printed}"))
}

/// Runs an example to its end.
fn run(example: &str, stdout: Stdio, stderr: Stdio) -> Result<ExitStatus, String> {
    let program = built(example)?;
    let mut child = Command::new(&program);
    let child = child.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = child
        .spawn()
        .map_err(|error| format!("{program:?}: {error}"))?;
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap(); // The status says so.
    Ok(child.wait().unwrap())
}

/// Checks each of them, five at a time, and fails with all that is wrong.
fn for_each(names: &[String], check: impl Fn(&str) -> Result<(), String> + Sync) {
    let check = &check;
    let mut failures = Vec::new();
    for group in names.chunks(5) {
        thread::scope(|scope| {
            let mut checks = Vec::new();
            for name in group {
                checks.push(scope.spawn(move || check(name)));
            }
            for check in checks {
                failures.extend(check.join().unwrap().err());
            }
        });
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The lessons in the order of the path, which is that of their numbers.
fn path() -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(package().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            names.extend(name.strip_suffix(".rs").map(String::from));
        }
    }
    names.sort();
    names
}

fn with_tools(mut names: Vec<String>) -> Vec<String> {
    names.extend(TOOLS.map(String::from));
    names
}

fn source_file(example: &str) -> PathBuf {
    package().join(format!("examples/{example}.rs"))
}

fn source(example: &str) -> String {
    fs::read_to_string(source_file(example)).unwrap()
}

/// Runs the compiler with edition 2024. Warnings are errors.
fn rustc(args: &[&str], directory: &Path) -> Output {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args(["--edition", "2024", "-D", "warnings"])
        .args(args);
    command.current_dir(directory).output().unwrap()
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn temporary_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Checks the last paragraph, which is the one-sentence takeaway.
fn ends_with_a_takeaway(lines: &[&str]) -> bool {
    match lines {
        [.., "", only] => only.starts_with("Takeaway: ") && only.ends_with('.'),
        [.., "", first, last] => first.starts_with("Takeaway: ") && last.ends_with('.'),
        _ => false,
    }
}

fn lines_match(expected: &[&str], lines: &[&str]) -> bool {
    match expected {
        [] => lines.is_empty(),
        ["...", rest @ ..] => (0..=lines.len()).any(|count| lines_match(rest, &lines[count..])),
        [pattern, expected @ ..] => match lines {
            [line, lines @ ..] => line_matches(pattern, line) && lines_match(expected, lines),
            [] => false,
        },
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let (pattern, any_rest) = match pattern.strip_suffix("...") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut parts = pattern.split('#');
    let mut rest = line.strip_prefix(parts.next().unwrap_or_default());
    for part in parts {
        rest = rest.and_then(skip_number);
        rest = rest.and_then(|rest| rest.strip_prefix(part));
    }
    rest.is_some_and(|rest| any_rest || rest.is_empty())
}

/// Returns what follows the number, such as `12` or `0.100`, at the start of `text`.
fn skip_number(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(' ');
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text[..text.len() - rest.len()].trim_end_matches('.');
    match number {
        "" => None,
        number => Some(&text[number.len()..]),
    }
}
