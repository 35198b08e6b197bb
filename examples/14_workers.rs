//! Threads do what blocks, and hand their results to the loop: first send, then wake.
//!
//! ```sh
//! cargo run -q --example 14_workers
//! ```
//!
//! A name lookup blocks until a server on the network answers, and has no descriptor that a queue
//! could wait for. You see four workers look up names while the loop goes on. Then 2,000 quick jobs:
//! wakes between two polls coalesce into one event, so an event stands for any number of results.
//! Last, the wrong order leaves a result behind.
//!
//! Comes after `13_shutdown`. Book: chapter 4, "The Poll module"; and the older book's question of
//! how a DNS lookup is done. Exercise that follows: 10_wake_then_send
//! (`cargo run -q --example exercises 10`). Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next (the answers are at the end of the file):
//! 1. Take one result for each event: `results.try_iter().take(1)`.
//! 2. In `work`, wake before you send.
//! 3. Let one thread do all lookups: `WORKERS = 1`.

use epollet::{Events, Poll, Token, Waker};
use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::process;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const WAKE: Token = 0;

type Job = Box<dyn FnOnce() -> String + Send>;

fn work(jobs: &Mutex<VecDeque<Job>>, results: &Sender<String>, waker: &Waker) {
    loop {
        let next = jobs.lock().unwrap().pop_front(); // The lock is free again while the job runs.
        let Some(job) = next else { return };
        let result = job();
        // First the result, then the wake: when the loop looks, the result is there.
        if results.send(result).is_err() || waker.wake().is_err() {
            return; // The loop has ended.
        }
    }
}

fn collect(poll: &mut Poll, results: &Receiver<String>, expected: usize) -> io::Result<Collected> {
    let mut collected = Collected::default();
    let mut events = Events::with_capacity(8);
    let mut last_event = Instant::now();
    while collected.results.len() < expected && last_event.elapsed() < PATIENCE {
        poll.poll(&mut events, Some(Duration::from_millis(10)))?;
        if events.is_empty() {
            collected.turns += 1; // Other work would be done here, every 10 ms.
        }
        for event in &events {
            if event.token() == WAKE {
                last_event = Instant::now();
                collected.events += 1;
                collected.results.extend(results.try_iter());
            }
        }
    }
    Ok(collected)
}

#[derive(Default)]
struct Collected {
    results: Vec<String>,
    events: usize,
    turns: usize,
}

/// How long the loop waits for the next result. A lookup may take longer; nothing can cancel it.
const PATIENCE: Duration = Duration::from_millis(800);

/// Gives the jobs to workers, and collects the results.
fn run(jobs: Vec<Job>) -> io::Result<Collected> {
    let mut poll = Poll::new()?;
    // The loop owns the waker too: dropping the last owner would lose the last wake.
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (sender, results) = mpsc::channel();
    let expected = jobs.len();
    let jobs = Arc::new(Mutex::new(VecDeque::from(jobs)));
    for _ in 0..WORKERS {
        let (jobs, sender, waker) = (Arc::clone(&jobs), sender.clone(), Arc::clone(&waker));
        Builder::new().spawn(move || work(&jobs, &sender, &waker))?;
    }
    collect(&mut poll, &results, expected)
}

/// Looks up a name, as `TcpStream::connect` does if it gets one. That blocks this thread.
fn look_up(name: &str) -> String {
    thread::sleep(Duration::from_millis(100)); // as if the answer came through a network
    match (name, 80).to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            format!("  {name:12} {addresses:?}")
        }
        Err(_) => format!("  {name:12} no address"),
    }
}

fn main() -> io::Result<()> {
    let names = ["localhost", "127.0.0.1", "::1", "name.invalid"];
    say(format!("{} lookups, {WORKERS} workers:", names.len()));
    let job = |name: &'static str| -> Job { Box::new(move || look_up(name)) };
    let lookups = run(names.map(job).into())?;
    lookups.results.iter().for_each(say);
    say(format!(
        "  {} of {} have ended. Meanwhile, the loop was free for other work {} times.",
        lookups.results.len(),
        names.len(),
        lookups.turns
    ));

    let quick = |number: usize| -> Job {
        Box::new(move || {
            thread::sleep(Duration::from_micros(20));
            number.to_string()
        })
    };
    let quick = run((0..QUICK).map(quick).collect())?;
    let (arrived, events) = (quick.results.len(), quick.events);
    say(format!("\n{QUICK} quick jobs:"));
    say(format!(
        "  {arrived} results have arrived with {events} events"
    ));
    wrong_order()?;

    say("");
    say(match QUICK - arrived {
        0 => format!(
            "Takeaway: {events} events have brought all {arrived} results, which is certain only\n\
             if you send, then wake, and let an event take all results."
        ),
        lost => format!(
            "Takeaway: {lost} of {QUICK} results are lost: no event makes the loop take what it\n\
             left in the channel, or what is sent after the last wake."
        ),
    });
    Ok(())
}

const QUICK: usize = 2000;

/// What happens if the loop runs between a wake and the send after it.
fn wrong_order() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let (sender, results) = mpsc::channel();
    let mut events = Events::with_capacity(8);
    let timeout = Some(Duration::from_millis(100));

    say("\nThe wrong order, with a loop that runs in between:");
    waker.wake()?;
    poll.poll(&mut events, timeout)?;
    let found = results.try_iter().count();
    say(format!(
        "  the worker wakes:  {} event, {found} results in the channel",
        events.len()
    ));
    sender.send("late").unwrap();
    poll.poll(&mut events, timeout)?;
    let found = results.try_iter().count();
    say(format!(
        "  the worker sends:  {} events, {found} result in the channel",
        events.len()
    ));
    Ok(())
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. The wakes of several workers become one event, and the loop takes one of their results. The rest
//    stays in the channel, here more than 500 results.
// 2. Some runs lose the last result: if the loop looks before it is sent, nothing wakes the loop
//    again. Others lose none, as the next wake makes up for it. Run it ten times: how many lose one
//    differs from machine to machine.
// 3. The lookups take 400 ms instead of 100, one after another, and the loop is free all the while.
