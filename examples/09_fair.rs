//! One source floods the loop, another one is quiet: how long does the quiet one wait?
//!
//! ```sh
//! cargo run --example 09_fair
//! ```
//!
//! You see two loops with the same two edge-triggered sources. The first drains each source when it
//! is reported. While the flood lasts, that drain does not end, and the quiet source starves. The
//! second gives each source a budget of reads, keeps a list of the sources that are not drained
//! yet, and does not sleep while there are any. Each bar is the time from the write of a message to
//! the quiet source until the loop reads it.
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
use std::time::{Duration, Instant};
use std::{mem, process, thread};

/// Ends when the quiet source does. Returns the number of polls.
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
            None
        } else {
            Some(Duration::ZERO)
        };
        poll.poll(&mut events, timeout)?;
        polls += 1;
        let mut ready = mem::take(&mut undrained);
        ready.extend(events.iter().map(|event| event.token()));
        ready.sort();
        ready.dedup(); // An undrained source may be reported again.
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

    /// Each message of the quiet source is the time at which it was written.
    fn handle(&mut self) {
        let now = self.start.elapsed();
        let sent = u64::from_ne_bytes(self.buffer[..8].try_into().unwrap());
        self.waits.push(now - Duration::from_micros(sent));
        self.longest_pause = self.longest_pause.max(now - self.last_read);
        self.last_read = now;
        while self.start.elapsed() < now + HANDLING {} // simulated work
    }
}

struct Source {
    stream: UnixStream,
    buffer: Vec<u8>,
    start: Instant,
    waits: Vec<Duration>,
    last_read: Duration,
    longest_pause: Duration,
    ended: bool,
}

const QUIET: usize = 1; // the flood is source 0
const HANDLING: Duration = Duration::from_micros(50);
const MESSAGES: u32 = 7;
const PAUSE: Duration = Duration::from_millis(35);

/// A source that waits longer starves. With a fair loop, a wait is about a millisecond.
const TOO_LONG: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    let drained = compare("drains each source", usize::MAX)?;
    let fair = compare("a budget of 16 reads", 16)?;
    let (quiet, flood) = (millis(fair.quiet), millis(fair.flood));
    if fair.flood > TOO_LONG {
        say(format!(
            "Takeaway: the second loop does not read the flood for {flood:.0} ms, though there"
        ));
        say("is something to read: it has forgotten that this source is not drained.");
    } else if fair.quiet > TOO_LONG {
        say(format!(
            "Takeaway: in the second loop, too, the quiet source waits {quiet:.0} ms: the"
        ));
        say("budget is so large that it does not matter.");
    } else {
        let starved = millis(drained.quiet);
        say(format!(
            "Takeaway: a drain that does not end makes the others wait ({starved:.0} ms); with a"
        ));
        say(format!(
            "budget and a list of sources that are not drained, they wait {quiet:.1} ms at most."
        ));
    }
    Ok(())
}

struct Longest {
    /// A message to the quiet source was not read for this time.
    quiet: Duration,
    /// The flood was not read for this time.
    flood: Duration,
}

fn compare(name: &str, budget: usize) -> io::Result<Longest> {
    let start = Instant::now();
    let (flood, mut flooder) = source(start, 256)?;
    let (quiet, mut speaker) = source(start, 8)?;
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
            let now = start.elapsed().as_micros() as u64;
            speaker.write_all(&now.to_ne_bytes())?;
        }
        Ok::<(), io::Error>(())
    })?;
    let mut sources = [flood, quiet];
    let polls = run(&mut sources, budget)?;
    let [flood, quiet] = &mut sources;
    if !flood.ended {
        flood.longest_pause = flood.longest_pause.max(start.elapsed() - flood.last_read);
    }
    let reads = flood.waits.len();
    say(format!(
        "{name} ({polls} polls, {reads} reads of the flood)"
    ));
    say("each message to the quiet source waits to be read:");
    for wait in &quiet.waits {
        let length = (millis(*wait) / 6.0).ceil() as usize;
        say(format!(
            "{:9.3} ms |{}",
            millis(*wait),
            "=".repeat(length.min(66))
        ));
    }
    say("");
    Ok(Longest {
        quiet: quiet.waits.iter().max().copied().unwrap_or_default(),
        flood: flood.longest_pause,
    })
}

fn source(start: Instant, size: usize) -> io::Result<(Source, UnixStream)> {
    let (stream, theirs) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    let source = Source {
        stream,
        buffer: vec![0; size],
        start,
        waits: Vec::new(),
        last_read: Duration::ZERO,
        longest_pause: Duration::ZERO,
        ended: false,
    };
    Ok((source, theirs))
}

fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. With 1, a message waits for one read of the flood at most, about 0.1 ms, and there are 16 times
//    as many polls. With 10,000, the quiet source starves again.
// 2. The flood is read 16 times and then no more: its buffer is full, so nothing can arrive, and
//    there is no new edge.
// 3. The kernel: level-triggered, each poll reports what is not drained.
