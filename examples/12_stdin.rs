//! Standard input and two files in one loop: how to read lines, and how not to.
//!
//! ```sh
//! cargo run --example 12_stdin                           # supplies its own input, then exits
//! cargo run --example 12_stdin -- FILE FILE              # your input: type, write to a file, Ctrl-D
//! echo hello | cargo run --example 12_stdin -- FILE FILE # a pipe
//! cargo run --example 12_stdin -- FILE FILE <Cargo.toml  # a regular file
//! ```
//!
//! You see a loop with `BufReader` sleep although lines have arrived. A loop that reads into its
//! own buffer gets all of them, the end of input, and the changes to two files (one inotify
//! descriptor, two watches). Last, `register` refuses a regular file, and the loop reads it
//! directly.
//!
//! Belongs to the documentation of `Registry`, "Sources". Among its tests are
//! `an_inotify_watch_becomes_readable` and `a_regular_file_a_directory_and_dev_null_are_eperm` in
//! `src/tests/sources.rs`.
//!
//! Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next:
//! - Read more than one line for each event in `with_buf_reader`: repeat `read_line` while
//!   `reader.buffer().contains(&b'\n')`. Now nothing stays behind. (Half a line would still block
//!   it.)
//! - Make `buffer` 4 bytes long. Nothing is lost, because the input is level-triggered.
//! - Add 0x2 (`IN_MODIFY`) to the mask of the watches. One write is then reported as two or three
//!   changes.

use epollet::{Events, Interest, Poll};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process, thread};

const INPUT: usize = 0;
const FILES: usize = 1;

/// Returns at the end of the input.
fn run(mut input: File, files: &[PathBuf]) -> io::Result<()> {
    let mut watches = inotify::watch(files)?;
    let mut poll = Poll::new()?;
    let registry = poll.registry();
    registry.register(&watches, FILES, Interest::READABLE)?;
    match registry.register(&input, INPUT, Interest::READABLE) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return read_all(input, error),
        result => result?,
    }
    let mut events = Events::with_capacity(8);
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == FILES {
                inotify::print_changes(&mut watches, files)?;
                continue;
            }
            // One read for each event does not block, unless another process reads the same input
            // first. Leave standard input blocking: the shell and other programs share it.
            match input.read(&mut buffer)? {
                0 => return end(&line),
                count => take_lines(&mut line, &buffer[..count]),
            }
        }
    }
}

/// Adds to the current line, and prints each line that is complete.
fn take_lines(line: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            println!("  line: {:?}", String::from_utf8_lossy(line));
            line.clear();
        } else {
            line.push(byte);
        }
    }
}

fn end(line: &[u8]) -> io::Result<()> {
    println!("  end of input, after {:?}", String::from_utf8_lossy(line));
    Ok(())
}

/// A file on disk and /dev/null do not support epoll. Read them directly.
fn read_all(mut input: File, error: io::Error) -> io::Result<()> {
    println!("  register: {error}; read it directly");
    let (mut bytes, mut line) = (Vec::new(), Vec::new());
    input.read_to_end(&mut bytes)?;
    take_lines(&mut line, &bytes);
    end(&line)
}

fn with_buf_reader(input: File) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&input, INPUT, Interest::READABLE)?;
    let mut reader = BufReader::new(input);
    let mut events = Events::with_capacity(8);
    loop {
        poll.poll(&mut events, Some(Duration::from_millis(200)))?;
        if events.is_empty() {
            break;
        }
        let mut line = String::new();
        reader.read_line(&mut line)?;
        println!("  line: {:?}", line.trim_end());
    }
    let held = String::from_utf8_lossy(reader.buffer());
    println!("  200 ms without an event, and BufReader holds {held:?}");
    Ok(())
}

fn main() -> io::Result<()> {
    let files: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    match files.len() {
        0 => demonstrate(),
        // A duplicate, because `io::stdin()` reads through a `BufReader`.
        2 => run(
            File::from(io::stdin().as_fd().try_clone_to_owned()?),
            &files,
        ),
        _ => {
            eprintln!("usage: cargo run --example 12_stdin [-- FILE FILE]");
            process::exit(2);
        }
    }
}

fn demonstrate() -> io::Result<()> {
    let directory = env::temp_dir().join(format!("epollet-stdin-{}", process::id()));
    fs::create_dir(&directory)?;
    let result = play_in(&directory);
    fs::remove_dir_all(&directory)?;
    result
}

fn play_in(directory: &Path) -> io::Result<()> {
    println!("BufReader, one read_line for each event:");
    let (input, mut writer) = pipe::new()?;
    writer.write_all(b"one\ntwo\nthree\n")?;
    with_buf_reader(input)?;

    println!("Your own buffer, and all lines of each read:");
    let files = [directory.join("a"), directory.join("b")];
    for file in &files {
        File::create(file)?;
    }
    let (input, mut writer) = pipe::new()?;
    let to_write = files.clone();
    let typist = thread::spawn(move || {
        let pause = || thread::sleep(Duration::from_millis(150));
        writer.write_all(b"one\ntwo\nthree\nfo")?;
        pause();
        fs::write(&to_write[0], "a")?;
        pause();
        fs::write(&to_write[1], "b")?;
        pause();
        writer.write_all(b"ur\nfive")
    });
    run(input, &files)?;
    typist.join().unwrap()?;

    println!("A regular file as input:");
    fs::write(&files[0], "one\ntwo\n")?;
    run(File::open(&files[0])?, &files)?;
    println!("\nTakeaway: epoll sees the kernel's buffers, not what your process has already");
    println!("read, so read into your own buffer and use all of it.");
    Ok(())
}

mod pipe {
    use std::ffi::c_int;
    use std::fs::File;
    use std::io;
    use std::os::fd::FromRawFd;

    /// Returns the read end and the write end. (From Rust 1.87 on, `std::io::pipe` does this.)
    pub fn new() -> io::Result<(File, File)> {
        const O_CLOEXEC: c_int = 0o2000000;
        let mut fds = [0; 2];
        // SAFETY: the kernel writes two descriptors.
        if unsafe { pipe2(fds.as_mut_ptr(), O_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptors are new, so nothing else owns them.
        Ok(unsafe { (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])) })
    }

    unsafe extern "C" {
        fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    }
}

mod inotify {
    use std::ffi::{CString, c_char, c_int};
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::FromRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    const CLOSE_WRITE: u32 = 0x8; // A writable descriptor was closed.
    const IGNORED: u32 = 0x8000; // The watch has ended, because the file is gone.

    /// Returns an inotify descriptor with a watch for each file. The kernel counts them from 1.
    pub fn watch(files: &[PathBuf]) -> io::Result<File> {
        const IN_CLOEXEC: c_int = 0o2000000;
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { inotify_init1(IN_CLOEXEC) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        let inotify = unsafe { File::from_raw_fd(fd) };
        for file in files {
            let path = CString::new(file.as_os_str().as_bytes())?;
            // SAFETY: `path` ends in a zero byte.
            check(unsafe { inotify_add_watch(fd, path.as_ptr(), CLOSE_WRITE) })?;
        }
        Ok(inotify)
    }

    /// Each change is a `struct inotify_event`: watch, mask, cookie and the length of a name, which
    /// is 0 for a watch on a file.
    pub fn print_changes(inotify: &mut File, files: &[PathBuf]) -> io::Result<()> {
        let mut buffer = [0; 1024];
        let count = inotify.read(&mut buffer)?;
        for change in buffer[..count].chunks_exact(16) {
            let field = |at: usize| u32::from_ne_bytes(change[at..at + 4].try_into().unwrap());
            let Some(file) = files.get((field(0) as usize).wrapping_sub(1)) else {
                continue; // Not about a file: the kernel's queue of changes has overflowed.
            };
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if field(4) & IGNORED != 0 {
                println!("  file {name} is gone");
            } else {
                println!("  file {name} has changed");
            }
        }
        Ok(())
    }

    fn check(result: c_int) -> io::Result<c_int> {
        match result {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(result),
        }
    }

    unsafe extern "C" {
        fn inotify_init1(flags: c_int) -> c_int;
        fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int;
    }
}
