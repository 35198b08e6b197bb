//! Level-triggered, edge-triggered and one-shot: which polls report bytes that are left unread?
//!
//! ```sh
//! cargo run --example 03_triggers
//! ```
//!
//! The table shows six polls. In each of the three modes, two readers get the same bytes: one
//! drains, the other reads one byte per event. The last column shows what is left unread at the
//! end.
//!
//! Book: "Design and introduction to epoll" in chapter 4, and the exercise about data that is
//! larger than the buffer. Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next, and predict what the table will show:
//! - Let the second reader take two bytes: `buffer = [0; 2]`.
//! - Write once more: replace the first `Before::Nothing` with `Before::Write("x")`.
//! - Add `| Interest::WRITABLE` to one of the modes. (For edge-triggered, look at the reader that
//!   drains.)

use epollet::{Events, Interest, Poll};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
fn play(interest: Interest, reader: Reader) -> io::Result<()> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&ours, 0, interest)?;

    let mut events = Events::with_capacity(1);
    let mut reported = Vec::new();
    let mut received = Vec::new();
    for before in SCRIPT {
        match before {
            Before::Write(text) => theirs.write_all(text.as_bytes())?,
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
    }
    received.push(read(&mut ours, Reader::Drains)?); // what no poll has reported

    let name = match reader {
        Reader::Drains => "drains",
        Reader::OneByte => "one byte",
    };
    print_row(name, &reported);
    print_row("  reads", &received);
    Ok(())
}

fn main() -> io::Result<()> {
    print_row("poll", &["1", "2", "3", "4", "5", "6", "left"]);
    print_row("before", &SCRIPT.map(Before::describe));
    let modes = [
        ("level-triggered", Interest::READABLE),
        ("edge-triggered", Interest::READABLE | Interest::EDGE),
        ("one-shot", Interest::READABLE | Interest::ONESHOT),
    ];
    for (mode, interest) in modes {
        println!("\n{mode}: {interest:?}");
        play(interest, Reader::Drains)?;
        play(interest, Reader::OneByte)?;
    }
    println!("\nTakeaway: level-triggered repeats while data is left, edge-triggered waits");
    println!("for more, and one-shot waits for reregister.");
    Ok(())
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
            Ok(0) => return Ok(text + "(end)"),
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
    println!("{}", line.trim_end());
}
