//! Level-triggered, edge-triggered and one-shot: which polls report bytes that are left unread?
//!
//! ```sh
//! cargo run -q --example 03_triggers
//! ```
//!
//! Level-triggered, every poll reports a source that is ready. Edge-triggered, a poll reports it
//! once after each change, such as bytes that arrive. One-shot, it is reported once, and then
//! disabled until `reregister`. (`EPOLLRDHUP`, a part of `READABLE`, also reports a half-close: the
//! peer sends no more, but can still receive.)
//!
//! The table shows six polls. In each of the three modes, two readers get the same bytes: one
//! drains, the other reads one byte per event. The last column shows what is left unread at the
//! end.
//!
//! Comes after `02_bare`. Book: chapter 4, "Design and introduction to epoll". Exercise that
//! follows: 01_half_an_answer (`cargo run -q --example exercises 01`).
//!
//! Change next, and predict the table (the answers are at the end of the file):
//! 1. Let the second reader take two bytes: `buffer = [0; 2]`.
//! 2. Write once more: replace the first `Before::Nothing` with `Before::Write("x")`.
//! 3. Add `| Interest::WRITABLE` to the edge-triggered mode, and look at the reader that drains.

use epollet::{Events, Interest, Poll};
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::{process, time::Duration};

/// What happens before each poll.
const SCRIPT: [Before; 6] = [
    Before::Write("abc"),
    Before::Nothing,
    Before::Nothing,
    Before::Write("d"),
    Before::Nothing,
    Before::Reregister,
];

/// Plays the script for one reader and prints two rows: what each poll reports, and what is read.
fn play(interest: Interest, reader: Reader) -> io::Result<Seen> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&ours, 0, interest)?;

    let mut events = Events::with_capacity(1);
    let mut reported = Vec::new();
    let mut received = Vec::new();
    let mut seen = Seen::default();
    let mut unread = 0;
    for before in SCRIPT {
        let left = unread > 0;
        match before {
            Before::Write(text) => {
                theirs.write_all(text.as_bytes())?;
                unread += text.len();
            }
            Before::Nothing => {}
            Before::Reregister => poll.registry().reregister(&ours, 0, interest)?,
        }
        // A timeout of zero is enough: in a socket pair, bytes arrive before the write returns.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        if let Some(event) = events.first() {
            reported.push(names(event.bits()));
            received.push(read(&mut ours, reader)?);
        } else {
            reported.push("-".to_owned());
            received.push(String::new());
        }
        unread -= received.last().map_or(0, String::len);
        if left {
            seen.note(before, !events.is_empty());
        }
    }
    received.push(read(&mut ours, Reader::Drains)?); // what no poll has reported

    let name = match reader {
        Reader::Drains => "drains",
        Reader::OneByte => "one byte",
    };
    print_row(name, &reported);
    print_row("  reads", &received);
    Ok(seen)
}

fn main() -> io::Result<()> {
    print_row("poll", &["1", "2", "3", "4", "5", "6", "left"]);
    print_row("before", &SCRIPT.map(Before::describe));
    let mut takeaways = Vec::new();
    for interest in [
        Interest::READABLE,
        Interest::READABLE | Interest::EDGE,
        Interest::READABLE | Interest::ONESHOT,
    ] {
        let mode = mode(interest);
        say(format!("\n{mode}: {interest:?}"));
        play(interest, Reader::Drains)?;
        let seen = play(interest, Reader::OneByte)?;
        takeaways.push(format!("{mode} {}", seen.describe()));
    }
    let (first, others) = (&takeaways[0], takeaways[1..].join(", "));
    say(format!(
        "\nTakeaway: with data left unread, {first},\n{others}."
    ));
    Ok(())
}

fn mode(interest: Interest) -> &'static str {
    let has = |mode: Interest| interest.bits() & mode.bits() != 0;
    if has(Interest::ONESHOT) {
        "one-shot"
    } else if has(Interest::EDGE) {
        "edge-triggered"
    } else {
        "level-triggered"
    }
}

/// Whether polls reported the stream while data was left unread from before.
#[derive(Default)]
struct Seen {
    /// Nothing had happened since.
    without_more: Option<bool>,
    /// More had arrived.
    with_more: Option<bool>,
    after_reregister: Option<bool>,
}

impl Seen {
    fn note(&mut self, before: Before, reported: bool) {
        match before {
            Before::Write(_) => self.with_more = Some(reported),
            Before::Nothing => self.without_more = Some(reported),
            Before::Reregister => self.after_reregister = Some(reported),
        }
    }

    fn describe(&self) -> &str {
        match (self.without_more, self.with_more, self.after_reregister) {
            (Some(true), _, _) => "repeats",
            (Some(false), Some(true), _) => "waits for more",
            (Some(false), Some(false) | None, Some(true)) => "waits for reregister",
            (Some(false), Some(false) | None, _) => "is silent",
            _ => "is not tried",
        }
    }
}

#[derive(Clone, Copy)]
enum Before {
    Write(&'static str),
    Nothing,
    Reregister,
}

impl Before {
    fn describe(self) -> String {
        match self {
            Before::Write(text) => format!("write {text}"),
            Before::Nothing => String::new(),
            Before::Reregister => "reregister".to_owned(),
        }
    }
}

#[derive(Clone, Copy)]
enum Reader {
    /// Reads until `WouldBlock`.
    Drains,
    /// Reads once, into a buffer of one byte.
    OneByte,
}

fn read(stream: &mut UnixStream, reader: Reader) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 1];
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(text), // end of file
            Ok(count) => text += &String::from_utf8_lossy(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(text),
            Err(error) => return Err(error),
        }
        if let Reader::OneByte = reader {
            return Ok(text);
        }
    }
}

/// Returns the names without their common prefix: `IN | OUT`.
fn names(bits: u32) -> String {
    let interest = Interest::from(bits);
    format!("{interest:?}").replace("EPOLL", "")
}

fn print_row(name: &str, cells: &[impl AsRef<str>]) {
    let mut line = format!("{name:9}");
    for cell in cells {
        line += &format!("{:11}", cell.as_ref());
    }
    say(line.trim_end());
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. Level-triggered, two events are enough for "abc". Edge-triggered, "c" waits until "d" arrives.
//    Nothing is left at the end, by luck: one read takes both.
// 2. Level-triggered, each poll still reports what is left. Edge-triggered, the write is an edge:
//    the reader is called once more. One-shot, nothing changes: it is disabled until `reregister`.
// 3. An edge reports all that is true at that moment: IN | OUT. OUT alone comes after `reregister`,
//    which reports what is ready now. Level-triggered, each poll would report OUT.
