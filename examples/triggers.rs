//! The same bytes under level, edge and one-shot: which poll reports them, and which does not?
//!
//! ```sh
//! cargo run --example triggers
//! ```
//!
//! You see a table. Each trigger has two readers that get the same bytes: one drains, so when it is
//! reported it reads until `WouldBlock`; the other takes one byte, as if its buffer were too small.
//! Below each report stands what the reader then reads.
//!
//! Belongs to "Design and introduction to epoll" in the book's chapter 4, and to the exercise "what
//! happens when there is more to read than the buffer holds".
//!
//! Change next: let the second reader take two bytes, and write down in `EXPECTED` what will happen
//! before you run it; drop `theirs` in one of the rounds and see who hears of it, and how often.

use epollet::{Events, Interest, Poll};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What comes before each poll. Before the last one, every reader is registered again.
const COMES: [&str; 6] = ["abc", "", "", "d", "", ""];

/// What each reader gets to read after each poll.
const EXPECTED: [[&str; 6]; 6] = [
    ["abc", "", "", "d", "", ""],
    ["a", "b", "c", "d", "", ""],
    ["abc", "", "", "d", "", ""],
    ["a", "", "", "b", "", "c"],
    ["abc", "", "", "", "", "d"],
    ["a", "", "", "", "", "b"],
];

struct Reader {
    ours: UnixStream,
    theirs: UnixStream,
    interest: Interest,
    drains: bool,
    reported: [String; 6],
    read: [String; 6],
}

fn main() -> io::Result<()> {
    let triggers = [
        ("level", Interest::READABLE),
        ("edge", Interest::READABLE | Interest::EDGE),
        ("one-shot", Interest::READABLE | Interest::ONESHOT),
    ];
    let mut poll = Poll::new()?;
    let mut readers = Vec::new();
    for (_, interest) in triggers {
        for drains in [true, false] {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let token = readers.len();
            poll.registry().register(&ours, token, interest)?;
            readers.push(Reader {
                ours,
                theirs,
                interest,
                drains,
                reported: Default::default(),
                read: Default::default(),
            });
        }
    }

    let mut events = Events::with_capacity(readers.len());
    for (round, comes) in COMES.iter().enumerate() {
        for (token, reader) in readers.iter_mut().enumerate() {
            reader.theirs.write_all(comes.as_bytes())?;
            if round == COMES.len() - 1 {
                let registry = poll.registry();
                registry.reregister(&reader.ours, token, reader.interest)?;
            }
        }
        // No need to wait: in a socket pair, what is written is there at once.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let reader = &mut readers[event.token()];
            reader.reported[round] = format!("{:?}", Interest::from(event.bits() as i32));
            reader.read[round] = read(&mut reader.ours, reader.drains)?;
            assert_ne!(reader.read[round], "", "{event:?}, and nothing to read");
        }
    }
    let start = Instant::now();
    poll.poll(&mut events, Some(Duration::from_millis(100)))?;
    let waited = start.elapsed();

    row("poll", &["1", "2", "3", "4", "5", "6"], "");
    let before = ["abc comes", "", "", "d comes", "", "reregister"];
    row("before it", &before, "nothing");
    for (token, reader) in readers.iter().enumerate() {
        if reader.drains {
            println!("\n{}: {:?}", triggers[token / 2].0, reader.interest);
        }
        let who = ["  one byte", "  drains"][usize::from(reader.drains)];
        row(who, &reader.reported, "-");
        row("    reads", &reader.read, "");
        assert_eq!(reader.read, EXPECTED[token], "token {token}");
    }

    assert!(events.is_empty(), "{events:?}");
    println!("\nA seventh poll sleeps its whole timeout ({waited:.1?}). Unread, and not reported:");
    let mut unread = Vec::new();
    for reader in &mut readers {
        unread.push(read(&mut reader.ours, true)?);
    }
    assert_eq!(unread, ["", "", "", "d", "", "cd"]);
    println!(
        "{:?} under edge, one byte; {:?} under one-shot, one byte.",
        unread[3], unread[5]
    );
    Ok(())
}

fn read(stream: &mut UnixStream, drain: bool) -> io::Result<String> {
    let mut text = String::new();
    let mut buffer = [0];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(text),
            Ok(_) => text.push(buffer[0].into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(text),
            Err(error) => return Err(error),
        }
        if !drain {
            return Ok(text);
        }
    }
}

fn row(name: &str, cells: &[impl AsRef<str>], empty: &str) {
    let mut line = format!("{name:13}");
    for cell in cells {
        let text = match cell.as_ref() {
            "" => empty,
            text => text,
        };
        line += &format!("{text:11}");
    }
    println!("{}", line.trim_end());
}
