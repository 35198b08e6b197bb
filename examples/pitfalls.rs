//! Four classic mistakes with epoll, each first wrong and then right.
//!
//! ```sh
//! cargo run --example pitfalls
//! ```
//!
//! You see for each what `poll` reports, and what that does: a reader that hangs, a loop that spins,
//! a client thrown out by another's event, a source that cannot be deregistered any more.
//!
//! Belongs to the book's chapter 4: "The Poll module" and "The main program".
//!
//! Change next: make a wrong one worse, by polling without a timeout; repair the third by tokens
//! that are never used twice, as in `echo_server`.

use epollet::{Events, Interest, Poll};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    println!("1. Edge-triggered, and not drained: 6 bytes come, the buffer holds 4");
    undrained()?;
    println!("\n2. Level-triggered, and watched for WRITABLE with nothing to write");
    always_writable()?;
    println!("\n3. In one batch client 0 asks to throw out client 1, who has hung up");
    stale_event(true)?;
    stale_event(false)?;
    println!("\n4. A duplicate outlives the descriptor that was registered");
    duplicate()
}

fn undrained() -> io::Result<()> {
    let edge = Interest::READABLE | Interest::EDGE;
    let (mut poll, mut ours, mut theirs) = watched_pair(edge)?;
    theirs.write_all(b"sixsix")?;
    println!("wrong  {:?}", wait(&mut poll)?[0]);
    let count = ours.read(&mut [0; 4])?;
    let events = wait(&mut poll)?;
    assert!(count == 4 && events.is_empty());
    println!("       read once: {count} bytes; 2 are left, and no event in 50 ms");

    theirs.write_all(b"sixsix")?;
    println!("right  {:?}", wait(&mut poll)?[0]);
    let mut counts = Vec::new();
    while let Ok(count) = ours.read(&mut [0; 4]) {
        counts.push(count);
    }
    assert_eq!(counts, [4, 4]);
    println!("       read until WouldBlock: the 2 from before and the 6, none is left");
    Ok(())
}

fn always_writable() -> io::Result<()> {
    let (mut poll, mut ours, mut theirs) = watched_pair(Interest::READABLE | Interest::WRITABLE)?;
    let start = Instant::now();
    for _ in 0..1000 {
        let event = wait(&mut poll)?[0];
        assert!(event.is_writable() && !event.is_readable());
    }
    println!("wrong  {:?}", wait(&mut poll)?[0]);
    let spent = start.elapsed();
    println!("       1000 polls in {spent:.1?}, with nothing to do: a core at 100 %");

    poll.registry().reregister(&ours, 0, Interest::READABLE)?;
    assert!(wait(&mut poll)?.is_empty());
    println!("right  nothing to write, READABLE alone: no event in 50 ms");
    while ours.write(&[0; 4096]).is_ok() {}
    poll.registry()
        .reregister(&ours, 0, Interest::READABLE | Interest::WRITABLE)?;
    assert!(wait(&mut poll)?.is_empty());
    println!("       a write says WouldBlock, WRITABLE added: no event in 50 ms");
    while theirs.read(&mut [0; 4096]).is_ok() {}
    let event = wait(&mut poll)?[0];
    assert!(event.is_writable());
    println!("       the peer reads, time to write on: {event:?}");
    Ok(())
}

/// Client 0 asks to throw client 1 out, who hangs up at the same time, and a newcomer takes a slot.
fn stale_event(reuse_at_once: bool) -> io::Result<()> {
    let (mut poll, zero, mut zeros_end) = watched_pair(Interest::READABLE)?;
    let (one, ones_end) = pair()?;
    poll.registry().register(&one, 1, Interest::READABLE)?;
    zeros_end.write_all(b"throw 1 out")?;
    drop(ones_end);
    let events = wait(&mut poll)?;
    assert_eq!([events[0].token(), events[1].token()], [0, 1], "{events:?}");
    let verdict = ["right", "wrong"][usize::from(reuse_at_once)];
    println!("{verdict}  {:?}\n       {:?}", events[0], events[1]);
    let (newcomer, mut newcomers_end) = pair()?;
    let mut newcomer = Some(newcomer);
    let mut slots = [Some(zero), Some(one)];
    for event in &events {
        match event.token() {
            0 if reuse_at_once => slots[1] = newcomer.take(),
            0 => slots[1] = None,
            token => slots[token] = None, // Hung up; or so it seems.
        }
    }
    // The batch is done, so no event for the old client 1 is left.
    slots[1] = newcomer.or_else(|| slots[1].take());
    let thrown_out = newcomers_end.read(&mut [0]).is_ok();
    assert_eq!(thrown_out, reuse_at_once);
    println!("       {}", [AFTER, AT_ONCE][usize::from(thrown_out)]);
    Ok(())
}

fn duplicate() -> io::Result<()> {
    let (mut poll, ours, mut theirs) = watched_pair(Interest::READABLE)?;
    let copy = ours.try_clone()?;
    drop(ours);
    theirs.write_all(b"for whom?")?;
    println!("wrong  dropped, and reported: {:?}", wait(&mut poll)?[0]);
    let error = poll.registry().deregister(&copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    println!("       deregister with the copy: {error}");

    let (mut poll, ours, mut theirs) = watched_pair(Interest::READABLE)?;
    let _copy = ours.try_clone()?;
    poll.registry().deregister(&ours)?;
    drop(ours);
    theirs.write_all(b"for nobody")?;
    let events = wait(&mut poll)?;
    assert!(events.is_empty());
    println!("right  deregistered, then dropped: no event in 50 ms");
    Ok(())
}

const AT_ONCE: &str = "slot 1 goes to a newcomer at once, and client 1's event throws him out";
const AFTER: &str = "slot 1 goes to a newcomer after this batch: he stays";
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}

fn watched_pair(interest: Interest) -> io::Result<(Poll, UnixStream, UnixStream)> {
    let (poll, (ours, theirs)) = (Poll::new()?, pair()?);
    poll.registry().register(&ours, 0, interest)?;
    Ok((poll, ours, theirs))
}

fn wait(poll: &mut Poll) -> io::Result<Events> {
    let mut events = Events::with_capacity(10);
    poll.poll(&mut events, Some(Duration::from_millis(50)))?;
    Ok(events)
}
