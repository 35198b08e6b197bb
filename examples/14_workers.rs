//! A pool of threads hands its results to the loop: first send, then wake.
//!
//! ```sh
//! cargo run --example 14_workers
//! ```
//!
//! You see four workers finish slow jobs, and then many quick ones. Each result is followed by a
//! wake, but wakes between two polls coalesce into one event, so an event stands for any number of
//! results. Last, the wrong order leaves a result behind.
//!
//! Belongs to the documentation of `Waker`. In `src/tests/threads.rs`,
//! `wakes_between_two_polls_are_one_event` and `no_wake_is_lost_in_ten_thousand_hand_overs`
//! test it.
//!
//! Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next:
//! - Take one result for each event: `results.try_recv().into_iter().count()`. How many are
//!   left in the channel?
//! - Sleep for 10 ms after each poll, as a busy loop would: fewer events, and no result is lost.
//! - Wake only when `result % 10 == 9`. At each wake, the loop takes the results that have arrived.
//!   It never gets those after the last wake.

use epollet::{Events, Poll, Waker};
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const WAKE: usize = 0;

fn work(jobs: &Mutex<Jobs>, results: Sender<usize>, waker: &Waker) -> io::Result<usize> {
    let mut wakes = 0;
    while let Some(result) = do_next(jobs) {
        results.send(result).unwrap(); // First the result,
        waker.wake()?; // then the wake: when the loop looks, the result is there.
        wakes += 1;
    }
    Ok(wakes)
}

fn collect(poll: &mut Poll, results: &Receiver<usize>, expected: usize) -> io::Result<Collected> {
    let mut collected = Collected::default();
    let mut events = Events::with_capacity(8);
    while collected.results < expected {
        poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        if events.is_empty() {
            break; // No wake for a second. Missing results are left in the channel.
        }
        for event in &events {
            if event.token() == WAKE {
                collected.events += 1;
                collected.results += results.try_iter().count();
            }
        }
    }
    Ok(collected)
}

#[derive(Default)]
struct Collected {
    events: usize,
    results: usize,
}

fn main() -> io::Result<()> {
    println!("jobs             results    wakes   events   results per event");
    run("12 of 20 ms", Jobs::new(12, Duration::from_millis(20)))?;
    run("2000 of 20 µs", Jobs::new(2000, Duration::from_micros(20)))?;
    run("20000 of 0 µs", Jobs::new(20_000, Duration::ZERO))?;
    wrong_order()?;
    println!("\nTakeaway: send, then wake; on the wake event, take every result, because");
    println!("wakes coalesce.");
    Ok(())
}

/// The jobs are numbered, and the result of each is its number.
struct Jobs {
    next: usize,
    count: usize,
    time: Duration,
}

impl Jobs {
    fn new(count: usize, time: Duration) -> Mutex<Jobs> {
        let next = 0;
        Mutex::new(Jobs { next, count, time })
    }
}

fn do_next(jobs: &Mutex<Jobs>) -> Option<usize> {
    let mut jobs = jobs.lock().unwrap();
    let number = jobs.next;
    if number == jobs.count {
        return None;
    }
    jobs.next += 1;
    // The durations differ, or four workers would finish at the same time.
    let time = jobs.time + jobs.time * (number % 7) as u32 / 10;
    drop(jobs); // The others need the lock while this one works.
    if !time.is_zero() {
        thread::sleep(time);
    }
    Some(number)
}

fn run(name: &str, jobs: Mutex<Jobs>) -> io::Result<()> {
    let expected = jobs.lock().unwrap().count;
    let mut poll = Poll::new()?;
    // The loop owns the waker too: dropping the last owner would lose the last wake.
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        let workers = [(); 4].map(|()| {
            let (jobs, sender, waker) = (&jobs, sender.clone(), Arc::clone(&waker));
            scope.spawn(move || work(jobs, sender, &waker))
        });
        let Collected { events, results } = collect(&mut poll, &results, expected)?;
        let mut wakes = 0;
        for worker in workers {
            wakes += worker.join().unwrap()?;
        }
        let each = results as f64 / events as f64;
        println!("{name:15} {results:8} {wakes:8} {events:8}   {each:.1}");
        Ok(())
    })
}

/// What happens if the loop runs between a wake and the send after it.
fn wrong_order() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let (sender, results) = mpsc::channel();

    let mut events = Events::with_capacity(8);
    println!("\nThe wrong order, with a loop that runs in between:");
    waker.wake()?;
    poll.poll(&mut events, Some(Duration::from_millis(200)))?;
    let found = results.try_iter().count();
    println!(
        "  the worker wakes:  {} event, {found} results in the channel",
        events.len()
    );
    sender.send(0).unwrap();
    poll.poll(&mut events, Some(Duration::from_millis(200)))?;
    let found = results.try_iter().count();
    println!(
        "  the worker sends:  {} events in 200 ms, {found} result in the channel",
        events.len()
    );
    Ok(())
}
