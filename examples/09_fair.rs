//! One source floods the loop, another one is quiet: how long does the quiet one wait?
//!
//! ```sh
//! cargo run -q --example 09_fair
//! ```
//!
//! You see two loops with the same two edge-triggered sources. The first drains each source when it
//! is reported. While the flood lasts, that drain does not end, and the quiet source starves. The
//! second gives each source a budget of reads, keeps a list of the sources that are not drained
//! yet, and does not sleep while there are any. Each bar is a message to the quiet source: how many
//! reads of the flood happened before it was read.
//!
//! Comes after `08_chat`. Book: chapter 4, "The main program". Exercises that follow: 07_flood,
//! 08_left_behind (`cargo run -q --example exercises 07`).
//!
//! Change next (the answers are at the end of the file):
//! 1. Try budgets of 1 and of 10,000.
//! 2. Leave out `undrained.push(token)`.
//! 3. Then also register without `EDGE`. Who keeps the list now?

use epollet::{Events, Interest, Poll};
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{mem, process, thread};

/// Ends when the quiet source does, or if nothing is reported any more. Returns the number of polls.
fn run(sources: &mut [Source], budget: usize) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    for (token, source) in sources.iter().enumerate() {
        let interest = Interest::READABLE | Interest::EDGE;
        poll.registry().register(&source.stream, token, interest)?;
    }
    let mut events = Events::with_capacity(8);
    let mut undrained = Vec::new();
    let mut polls = 0;
    while !sources[QUIET].ended {
        let timeout = if undrained.is_empty() {
            PATIENCE
        } else {
            Duration::ZERO
        };
        poll.poll(&mut events, Some(timeout))?;
        polls += 1;
        let mut ready = mem::take(&mut undrained);
        ready.extend(events.iter().map(|event| event.token()));
        ready.sort();
        ready.dedup(); // An undrained source may be reported again.
        if ready.is_empty() {
            break; // The end of the quiet source is not reported: something is left unread.
        }
        for token in ready {
            if !sources[token].read(budget)? {
                undrained.push(token);
            }
        }
    }
    Ok(polls)
}

impl Source {
    /// Reads until `WouldBlock` or end of file, but at most `budget` times. Returns true if the
    /// source is drained.
    fn read(&mut self, budget: usize) -> io::Result<bool> {
        for _ in 0..budget {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(_) => self.handle(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            if self.ended {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn handle(&mut self) {
        if self.is_flood {
            FLOOD_READS.fetch_add(1, Relaxed);
        } else {
            let written = u64::from_ne_bytes(self.buffer[..8].try_into().unwrap());
            self.messages.push((written, FLOOD_READS.load(Relaxed)));
        }
        let start = Instant::now();
        while start.elapsed() < HANDLING {} // simulated work
    }
}

struct Source {
    stream: UnixStream,
    is_flood: bool,
    buffer: Vec<u8>,
    /// For the quiet source: `FLOOD_READS` when a message was written, and when it was read.
    messages: Vec<(u64, u64)>,
    ended: bool,
}

static FLOOD_READS: AtomicU64 = AtomicU64::new(0);

const QUIET: usize = 1; // The flood is source 0.
const HANDLING: Duration = Duration::from_micros(50);
const MESSAGES: u32 = 7;
const PAUSE: Duration = Duration::from_millis(35);
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let (drained, _) = compare("drains each source", usize::MAX)?;
    let (fair, forgotten) = compare("a budget of 16 reads", 16)?;
    if forgotten {
        say("Takeaway: the second loop does not read the flood any more, though there is");
        say("something to read: nothing reminds it of a source that is not drained.");
    } else if drained < 10 * fair {
        say(format!(
            "Takeaway: this run shows no large difference: a message waits for {drained} reads of"
        ));
        say(format!(
            "the flood in the first loop, and for {fair} in the second."
        ));
    } else {
        say(format!(
            "Takeaway: a drain that does not end lets a message wait for {drained} reads; with a"
        ));
        say(format!(
            "budget and a list of sources that are not drained, it waits for {fair} at most."
        ));
    }
    Ok(())
}

/// Returns for how many reads of the flood a message waited at most, and whether the loop has
/// stopped reading the flood too early.
fn compare(name: &str, budget: usize) -> io::Result<(u64, bool)> {
    FLOOD_READS.store(0, Relaxed);
    let start = Instant::now();
    let (flood, mut flooder) = source(true, 256)?;
    let (quiet, mut speaker) = source(false, 8)?;
    // The flood lasts longer than all messages take. It ends early if its reader is gone.
    thread::Builder::new().spawn(move || {
        while start.elapsed() < PAUSE * (MESSAGES + 2) {
            flooder.write_all(&[0; 16 * 1024])?;
        }
        Ok::<(), io::Error>(())
    })?;
    thread::Builder::new().spawn(move || {
        for _ in 0..MESSAGES {
            thread::sleep(PAUSE);
            speaker.write_all(&FLOOD_READS.load(Relaxed).to_ne_bytes())?;
        }
        Ok::<(), io::Error>(())
    })?;
    let mut sources = [flood, quiet];
    let polls = run(&mut sources, budget)?;
    let [mut flood, quiet] = sources;
    let reads = FLOOD_READS.load(Relaxed);
    say(format!(
        "{name} ({polls} polls, {reads} reads of the flood)"
    ));
    say("each message to the quiet source waits for:");
    let mut most = 0;
    for (written, read) in &quiet.messages {
        let waited = read - written;
        most = most.max(waited);
        let bar = "=".repeat(waited.div_ceil(100).min(66) as usize);
        say(format!("{waited:6} reads |{bar}"));
    }
    say("");
    let at_third_message = quiet.messages.get(2).map_or(0, |message| message.1);
    let unread = matches!(flood.stream.read(&mut flood.buffer), Ok(1..));
    Ok((most, unread && reads == at_third_message))
}

fn source(is_flood: bool, size: usize) -> io::Result<(Source, UnixStream)> {
    let (stream, theirs) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    let source = Source {
        stream,
        is_flood,
        buffer: vec![0; size],
        messages: Vec::new(),
        ended: false,
    };
    Ok((source, theirs))
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. With 1, a message waits for one read of the flood at most, but each read costs a poll. With
//    10,000, the quiet source starves again.
// 2. The flood is read 16 times (seldom 32) and then no more: its buffer is full, so nothing can
//    arrive, and there is no new edge.
// 3. The kernel: level-triggered, each poll reports what is not drained.
