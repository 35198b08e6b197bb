//! Standard input in a loop: how to read lines, and how not to.
//!
//! ```sh
//! cargo run -q --example 12_stdin                   # supplies its own input, then exits
//! cargo run -q --example 12_stdin -- -              # your input: type lines, then Ctrl-D
//! ls | cargo run -q --example 12_stdin -- -         # a pipe
//! cargo run -q --example 12_stdin -- - <Cargo.toml  # a regular file
//! ```
//!
//! You see two loops get the same input: three lines at once, half a line after 0.3 s, and the rest
//! of that line 0.3 s later. The loop with `BufReader` sleeps although lines have arrived, and
//! blocks in the middle of a line. The loop that reads into its own buffer does neither. Last,
//! `register` refuses `/dev/null`, as it refuses a file on disk, and the loop reads it directly.
//!
//! Comes after `11_any_fd`. Book: chapter 4, "The main program".
//!
//! Change next (the answers are at the end of the file):
//! 1. In `with_buf_reader`, repeat `read_line` while `reader.buffer().contains(&b'\n')`.
//! 2. Make `buffer` 4 bytes long. Is anything lost?

use epollet::{Events, Interest, Poll};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// Wrong: `read_line` reads more than one line, and waits for the end of the last one.
fn with_buf_reader(input: impl Read + AsFd, log: &mut Log) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&input, 0, Interest::READABLE)?;
    let mut reader = BufReader::new(input);
    let mut events = Events::with_capacity(8);
    loop {
        poll.poll(&mut events, None)?;
        let since = Instant::now();
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(()); // end of input
        }
        log.line(line.trim_end());
        log.handled(since);
    }
}

/// Right: one read for each event, into its own buffer. Returns at end of input.
fn with_own_buffer(mut input: impl Read + AsFd, log: &mut Log) -> io::Result<()> {
    let mut poll = Poll::new()?;
    match poll.registry().register(&input, 0, Interest::READABLE) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // A file on disk, or /dev/null: a read never waits for input.
            say(format!("         register: {error}; read it directly"));
            let mut text = String::new();
            input.read_to_string(&mut text)?;
            text.lines().for_each(|line| log.line(line));
            return Ok(());
        }
        result => result?,
    }
    let mut events = Events::with_capacity(8);
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        poll.poll(&mut events, None)?;
        let since = Instant::now();
        // This does not block, unless another process reads the same input first, or Ctrl-Z
        // discards it. Leave standard input blocking: the shell and other programs share it.
        let count = input.read(&mut buffer)?;
        for &byte in &buffer[..count] {
            if byte == b'\n' {
                log.line(&String::from_utf8_lossy(&line));
                line.clear();
            } else {
                line.push(byte);
            }
        }
        if count == 0 {
            say(format!(
                "         end, after {:?}",
                String::from_utf8_lossy(&line)
            ));
            return Ok(());
        }
        log.handled(since);
    }
}

/// When a loop has read each line, and how long it was busy with one event.
struct Log {
    start: Instant,
    lines: Vec<Duration>,
    longest: Duration,
}

impl Log {
    fn new() -> Log {
        Log {
            start: Instant::now(),
            lines: Vec::new(),
            longest: Duration::ZERO,
        }
    }

    fn line(&mut self, line: &str) {
        let now = self.start.elapsed();
        self.lines.push(now);
        say(format!("{:.3} s  {line:?}", now.as_secs_f64()));
    }

    fn third(&self) -> Duration {
        self.lines.get(2).copied().unwrap_or(Duration::MAX)
    }

    /// Ends the handling of an event.
    fn handled(&mut self, since: Instant) {
        self.longest = self.longest.max(since.elapsed());
    }
}

const PAUSE: Duration = Duration::from_millis(300);

/// Returns a stream on which the input arrives.
fn typed() -> io::Result<UnixStream> {
    let (input, mut typist) = UnixStream::pair()?;
    thread::Builder::new().spawn(move || {
        typist.write_all(b"one\ntwo\nthree\n")?;
        thread::sleep(PAUSE);
        typist.write_all(b"fo")?;
        thread::sleep(PAUSE);
        typist.write_all(b"ur\n")
    })?;
    Ok(input)
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [] => demonstrate(),
        [argument] if argument == "-" => {
            // A duplicate, because `io::stdin()` reads through a `BufReader`.
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            with_own_buffer(input, &mut Log::new())
        }
        _ => {
            eprintln!("usage: cargo run -q --example 12_stdin [-- -]");
            process::exit(2);
        }
    }
}

fn demonstrate() -> io::Result<()> {
    thread::Builder::new().spawn(|| {
        thread::sleep(PAUSE * 20); // Both loops have ended by now.
        say("\nTakeaway: a loop sleeps, although not all of its input is read.");
        process::exit(0);
    })?;
    say("BufReader, one read_line for each event:");
    let mut wrong = Log::new();
    with_buf_reader(typed()?, &mut wrong)?;
    say("Your own buffer, and all lines of each read:");
    let mut right = Log::new();
    with_own_buffer(typed()?, &mut right)?;
    say("Input from /dev/null:");
    with_own_buffer(File::open("/dev/null")?, &mut Log::new())?;

    let (third, longest) = (wrong.third().as_millis(), wrong.longest.as_millis());
    if right.lines.len() != 4 || right.third() > PAUSE / 2 || right.longest > PAUSE / 2 {
        say("\nTakeaway: the second loop loses lines, gets them late, or blocks.");
    } else if wrong.third() > PAUSE / 2 {
        say("\nTakeaway: epoll sees the kernel's buffers. What BufReader has read waits there");
        say(format!(
            "for {third} ms, and half a line blocks it for {longest} ms: use your own buffer."
        ));
    } else if wrong.longest > PAUSE / 2 {
        say("\nTakeaway: now the first loop gets its lines in time, but half a line still");
        say(format!("blocks it for {longest} ms."));
    } else {
        say("\nTakeaway: now the first loop neither waits nor blocks.");
    }
    Ok(())
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. All three lines come in time. Half a line still blocks the loop, because `read_line` waits for
//    its end.
// 2. No: the input is level-triggered, so each poll reports what is left.
