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
//! Belongs to the glossary, "starvation". The kernel takes ready sources in turn
//! (`level_triggered_goes_back_to_the_tail_of_the_ready_list` in `src/tests/ready_list.rs`): this
//! starvation is caused by the loop.
//!
//! Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next:
//! - Try budgets of 1 and of 10,000. A small budget costs more polls, a large one makes the quiet
//!   source wait.
//! - Leave out `undrained.push(token)`: soon the flood is no longer read. Its buffer is full, so
//!   nothing new can arrive, and there is no new edge.
//! - Then also register without `EDGE` and set the budget to 1: now the kernel keeps the list,
//!   because each poll reports what is not drained. It costs a poll for each read.

use epollet::{Events, Interest, Poll};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use std::{mem, thread};

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
        while self.start.elapsed() < now + HANDLING {} // simulated work
    }
}

struct Source {
    stream: UnixStream,
    buffer: Vec<u8>,
    start: Instant,
    waits: Vec<Duration>,
    ended: bool,
}

const FLOOD: usize = 0;
const QUIET: usize = 1;
const HANDLING: Duration = Duration::from_micros(50);
const MESSAGES: u32 = 7;
const PAUSE: Duration = Duration::from_millis(35);

fn main() -> io::Result<()> {
    compare("drains each source", usize::MAX)?;
    compare("a budget of 16 reads", 16)?;
    println!("\nTakeaway: a drain that does not end starves all other sources; with a budget");
    println!("for each source, and a list of those not drained yet, no source starves.");
    Ok(())
}

fn compare(name: &str, budget: usize) -> io::Result<()> {
    let start = Instant::now();
    let (flood, mut flooder) = source(start, 256)?;
    let (quiet, mut speaker) = source(start, 8)?;
    // The flood lasts longer than all messages take. It ends early if its reader is gone.
    thread::spawn(move || {
        while start.elapsed() < PAUSE * (MESSAGES + 2) {
            flooder.write_all(&[0; 16 * 1024])?;
        }
        Ok::<(), io::Error>(())
    });
    thread::spawn(move || {
        for _ in 0..MESSAGES {
            thread::sleep(PAUSE);
            let now = start.elapsed().as_micros() as u64;
            speaker.write_all(&now.to_ne_bytes())?;
        }
        Ok::<(), io::Error>(())
    });
    let mut sources = [flood, quiet];
    let polls = run(&mut sources, budget)?;
    let reads = sources[FLOOD].waits.len();
    println!("{name}: {reads} reads of the flood, {polls} polls; the quiet source waits");
    for wait in &sources[QUIET].waits {
        let millis = wait.as_secs_f64() * 1000.0;
        let length = (millis / 6.0).ceil() as usize;
        println!("{millis:9.3} ms |{}", "=".repeat(length.min(66)));
    }
    Ok(())
}

fn source(start: Instant, size: usize) -> io::Result<(Source, UnixStream)> {
    let (stream, theirs) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    let (buffer, waits, ended) = (vec![0; size], Vec::new(), false);
    Ok((
        Source {
            stream,
            buffer,
            start,
            waits,
            ended,
        },
        theirs,
    ))
}
