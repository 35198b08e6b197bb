//! Four classic mistakes with epoll: each is made, then corrected.
//!
//! ```sh
//! cargo run -q --example 06_pitfalls
//! ```
//!
//! You see a reader that misses data, a loop that spins, a read that loses what has arrived, and a
//! source that its duplicate cannot deregister.
//!
//! Comes after `05_echo_server`. Book: chapter 4, "The main program". Exercise that follows:
//! 04_counted_twice (`cargo run -q --example exercises 04`).
//!
//! Change next (the answers are at the end of the file):
//! 1. Give the wrong reader of mistake 1 a buffer of 6 bytes. Why is it still wrong?
//! 2. Add `| Interest::EDGE` to the wrong one of mistake 2. How many events are left?
//! 3. Let the peer of mistake 3 write all 8 bytes before the first read.
//! 4. In the wrong one of mistake 4, register the duplicate too, with token 1, before the
//!    descriptor is dropped. What is reported, and what does `deregister` say?

use epollet::{Events, Interest, Poll};
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process;
use std::time::{Duration, Instant};

fn wrong_read_once() -> io::Result<bool> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE | Interest::EDGE)?;
    theirs.write_all(b"sixsix")?;
    poll_for_50_ms(&mut poll)?;
    let count = ours.read(&mut [0; 4])?;
    let events = poll_for_50_ms(&mut poll)?.len();
    let left = drain(&mut ours)?;
    say(format!(
        "wrong  {count} bytes read, {left} left; then {events} events in 50 ms"
    ));
    Ok(left > 0 && events == 0)
}

fn right_drain() -> io::Result<bool> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE | Interest::EDGE)?;
    theirs.write_all(b"sixsix")?;
    poll_for_50_ms(&mut poll)?;
    let count = drain(&mut ours)?;
    say(format!("right  {count} bytes, then WouldBlock"));
    Ok(count < 6)
}

/// Reads until `WouldBlock`, or until end of file. Returns the number of bytes.
fn drain(stream: &mut UnixStream) -> io::Result<usize> {
    let mut total = 0;
    let mut buffer = [0; 4];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}

fn wrong_always_writable() -> io::Result<bool> {
    let both = Interest::READABLE | Interest::WRITABLE;
    let (mut poll, _ours, _theirs) = registered_pair(both)?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < TIMEOUT {
        count += poll_for_50_ms(&mut poll)?.len();
    }
    say(format!(
        "wrong  {count} events in 50 ms, with nothing to do"
    ));
    Ok(count > 1)
}

fn right_writable_when_needed() -> io::Result<bool> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE)?;
    while ours.write(&[0; 4096]).is_ok() {} // until WouldBlock
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().reregister(&ours, 0, both)?;
    let full = poll_for_50_ms(&mut poll)?.len();
    say(format!(
        "right  WRITABLE is added when a write would block: {full} events in 50 ms"
    ));
    drain(&mut theirs)?;
    let room = poll_for_50_ms(&mut poll)?;
    say(format!("       the peer reads, so there is room: {room:?}"));
    Ok(full > 0 || room.is_empty())
}

fn wrong_read_exact() -> io::Result<bool> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE)?;
    theirs.write_all(b"abc")?;
    poll_for_50_ms(&mut poll)?;
    let result = ours.read_exact(&mut [0; 8]).map_err(|error| error.kind());
    theirs.write_all(b"defgh")?;
    poll_for_50_ms(&mut poll)?;
    let left = drain(&mut ours)?;
    let lost = if result.is_ok() { 0 } else { 8 - left };
    say(format!(
        "wrong  {result:?}, then {left} of the 8 bytes can be read: {lost} are lost"
    ));
    Ok(lost > 0)
}

fn right_own_buffer() -> io::Result<bool> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE)?;
    let mut message = Vec::new();
    for part in [b"abc".as_slice(), b"defgh"] {
        theirs.write_all(part)?;
        poll_for_50_ms(&mut poll)?;
        let mut buffer = [0; 64];
        let count = ours.read(&mut buffer)?;
        message.extend_from_slice(&buffer[..count]);
    }
    let count = message.len();
    say(format!(
        "right  read into a buffer of your own, until it has {count} bytes"
    ));
    Ok(message != b"abcdefgh")
}

fn wrong_dropped_only() -> io::Result<bool> {
    let (mut poll, ours, mut theirs) = registered_pair(Interest::READABLE)?;
    let duplicate = ours.try_clone()?;
    drop(ours);
    theirs.write_all(b"hello")?;
    let events = poll_for_50_ms(&mut poll)?;
    say(format!("wrong  dropped, and still reported: {events:?}"));
    match poll.registry().deregister(&duplicate) {
        Ok(()) => say("       deregister through the duplicate: Ok"),
        Err(error) => say(format!("       deregister through the duplicate: {error}")),
    }
    Ok(!poll_for_50_ms(&mut poll)?.is_empty())
}

fn right_deregistered_first() -> io::Result<bool> {
    let (mut poll, ours, mut theirs) = registered_pair(Interest::READABLE)?;
    let _duplicate = ours.try_clone()?;
    poll.registry().deregister(&ours)?;
    drop(ours);
    theirs.write_all(b"hello")?;
    let count = poll_for_50_ms(&mut poll)?.len();
    say(format!(
        "right  deregistered, then dropped: {count} events in 50 ms"
    ));
    Ok(count > 0)
}

/// The number and the name of a mistake; the wrong version and the right one, which return true if
/// they do harm.
type Mistake = (
    u8,
    &'static str,
    fn() -> io::Result<bool>,
    fn() -> io::Result<bool>,
);

const MISTAKES: [Mistake; 4] = [
    (
        1,
        "Edge-triggered: 6 bytes arrive, and the buffer holds 4.",
        wrong_read_once,
        right_drain,
    ),
    (
        2,
        "Level-triggered, with WRITABLE and nothing to write: the loop spins.",
        wrong_always_writable,
        right_writable_when_needed,
    ),
    (
        3,
        "read_exact on a non-blocking stream: 3 bytes of 8 have arrived.",
        wrong_read_exact,
        right_own_buffer,
    ),
    (
        4,
        "The registered descriptor is dropped, but a duplicate is open.",
        wrong_dropped_only,
        right_deregistered_first,
    ),
];

fn main() -> io::Result<()> {
    let (mut harmless, mut harmful) = (Vec::new(), Vec::new());
    for (number, title, wrong, right) in MISTAKES {
        say(format!("{number}. {title}"));
        if !wrong()? {
            harmless.push(number.to_string());
        }
        if right()? {
            harmful.push(number.to_string());
        }
        say("");
    }
    if !harmful.is_empty() {
        let harmful = harmful.join(", ");
        say(format!(
            "Takeaway: these corrections do harm in this run: {harmful}."
        ));
    } else if harmless.is_empty() {
        say("Takeaway: drain after an edge, WRITABLE only if needed, keep what has been read,");
        say("deregister before you drop.");
    } else {
        let harmless = harmless.join(", ");
        say(format!(
            "Takeaway: these mistakes did no harm in this run: {harmless}. That is luck, unless"
        ));
        say("you have corrected them.");
    }
    Ok(())
}

/// Returns a queue, a stream that is registered there with token 0, and the stream's peer.
fn registered_pair(interest: Interest) -> io::Result<(Poll, UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.registry().register(&ours, 0, interest)?;
    Ok((poll, ours, theirs))
}

const TIMEOUT: Duration = Duration::from_millis(50);

fn poll_for_50_ms(poll: &mut Poll) -> io::Result<Events> {
    let mut events = Events::with_capacity(10);
    poll.poll(&mut events, Some(TIMEOUT))?;
    Ok(events)
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. Nothing is left, by luck: the buffer is as large as what arrived. With 7 bytes, one is left,
//    and no event tells you.
// 2. One: there is room to write when it is registered. Then nothing changes.
// 3. Nothing is lost, by luck: a network may deliver 8 bytes in any number of pieces.
// 4. Both are reported. `deregister` removes the duplicate's registration and returns Ok, and the
//    dropped one is reported again by the next poll.
