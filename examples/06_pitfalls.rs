//! Five classic mistakes with epoll: each is made, then corrected.
//!
//! ```sh
//! cargo run --example 06_pitfalls
//! ```
//!
//! You see a reader that misses data, a drain that does not end, a loop that spins, a client that
//! is disconnected by an event for another one, and a source that its duplicate cannot deregister.
//! A sixth mistake has its own lesson, `fair`: draining one fast producer starves the other
//! sources.
//!
//! Book: "The Poll module" and "The main program" in chapter 4. Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next:
//! - 1: give the wrong reader a buffer of 6 bytes. Why is it still wrong?
//! - 3: add `| Interest::EDGE` to the wrong one. How many events are left?
//! - 4: let the peer of client 1 hang up before client 0 sends. Does the mistake show?
//! - 5: register the duplicate too, with token 1, before the descriptor is dropped. What is
//!   reported?

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    println!("1. Edge-triggered: 6 bytes arrive, and the buffer holds 4.");
    wrong_read_once()?;
    right_drain()?;

    println!("\n2. A drain that ends only at an error: the peer has closed its end.");
    wrong_drain_until_error()?;
    right_drain_until_end_of_file()?;

    println!("\n3. Level-triggered, with WRITABLE and nothing to write: the loop spins.");
    wrong_always_writable()?;
    right_writable_when_needed()?;

    println!("\n4. In one batch, client 0 disconnects client 1, which also has an event.");
    wrong_reused_token()?;
    right_unique_tokens()?;

    println!("\n5. The registered descriptor is dropped, but a duplicate is open.");
    wrong_dropped_only()?;
    right_deregistered_first()?;

    println!("\nTakeaway: drain to the end, WRITABLE only if needed, ignore unknown tokens.");
    Ok(())
}

fn wrong_read_once() -> io::Result<()> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE | Interest::EDGE)?;
    theirs.write_all(b"sixsix")?;
    poll_for_50_ms(&mut poll)?;
    let count = ours.read(&mut [0; 4])?;
    let events = poll_for_50_ms(&mut poll)?;
    let (left, events) = (6 - count, events.len());
    println!("wrong  {count} bytes read, {left} left; then {events} events in 50 ms");
    Ok(())
}

fn right_drain() -> io::Result<()> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE | Interest::EDGE)?;
    theirs.write_all(b"sixsix")?;
    poll_for_50_ms(&mut poll)?;
    println!("right  {}", drain(&mut ours)?);
    Ok(())
}

/// Reads until nothing is left to read now. `Ok(0)` and `WouldBlock` both have to end the loop.
fn drain(stream: &mut UnixStream) -> io::Result<String> {
    let mut total = 0;
    let mut buffer = [0; 4];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(format!("{total} bytes, then end of file")),
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(format!("{total} bytes, then WouldBlock"));
            }
            Err(error) => return Err(error),
        }
    }
}

fn wrong_drain_until_error() -> io::Result<()> {
    let (mut poll, mut ours, theirs) = registered_pair(Interest::READABLE | Interest::EDGE)?;
    drop(theirs);
    poll_for_50_ms(&mut poll)?;
    let mut reads = 0;
    while let Ok(count) = ours.read(&mut [0; 4]) {
        reads += 1;
        if reads == 1000 {
            println!("wrong  read {reads} returns {count} bytes, and so does every later one");
            break; // The wrong loop has no such line, and never ends.
        }
    }
    Ok(())
}

fn right_drain_until_end_of_file() -> io::Result<()> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE | Interest::EDGE)?;
    theirs.write_all(b"sixsix")?;
    drop(theirs);
    poll_for_50_ms(&mut poll)?;
    println!("right  {}", drain(&mut ours)?);
    Ok(())
}

fn wrong_always_writable() -> io::Result<()> {
    let both = Interest::READABLE | Interest::WRITABLE;
    let (mut poll, _ours, _theirs) = registered_pair(both)?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < TIMEOUT {
        count += poll_for_50_ms(&mut poll)?.len();
    }
    println!("wrong  {count} events in 50 ms, with nothing to do");
    Ok(())
}

fn right_writable_when_needed() -> io::Result<()> {
    let (mut poll, mut ours, mut theirs) = registered_pair(Interest::READABLE)?;
    while ours.write(&[0; 4096]).is_ok() {} // until WouldBlock
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().reregister(&ours, 0, both)?;
    let full = poll_for_50_ms(&mut poll)?.len();
    println!("right  WRITABLE is added when a write would block: {full} events in 50 ms");
    drain(&mut theirs)?;
    let room = poll_for_50_ms(&mut poll)?;
    println!("       the peer reads, so there is room: {room:?}");
    Ok(())
}

/// The tokens are indexes into `slots`, and a new client takes a free slot at once.
fn wrong_reused_token() -> io::Result<()> {
    let (events, zero, one) = batch_for_two_clients()?;
    let (new, _peer) = UnixStream::pair()?;
    let mut new = Some(new);
    let mut slots = [Some(zero), Some(one)];
    for event in &events {
        match event.token() {
            0 => slots[1] = new.take(), // Client 0 disconnects client 1; a new client connects.
            token => slots[token] = None, // The peer has hung up.
        }
    }
    let end = match slots[1] {
        Some(_) => "it stays connected",
        None => "the old client's event disconnects it",
    };
    println!("wrong  a new client gets slot 1 at once: {end}");
    Ok(())
}

/// No token is used twice, so an event for a client that is gone matches no client.
fn right_unique_tokens() -> io::Result<()> {
    let (events, zero, one) = batch_for_two_clients()?;
    let (new, _peer) = UnixStream::pair()?;
    let mut new = Some(new);
    let mut clients: HashMap<Token, UnixStream> = HashMap::from([(0, zero), (1, one)]);
    let mut ignored = 0;
    for event in &events {
        if !clients.contains_key(&event.token()) {
            ignored += 1;
        } else if event.token() == 0 {
            clients.remove(&1);
            clients.extend(new.take().map(|stream| (2, stream)));
        } else {
            clients.remove(&event.token());
        }
    }
    let mut tokens: Vec<_> = clients.keys().collect();
    tokens.sort();
    println!("right  no token is used twice: {ignored} event(s) ignored, clients {tokens:?} stay");
    Ok(())
}

fn wrong_dropped_only() -> io::Result<()> {
    let (mut poll, ours, mut theirs) = registered_pair(Interest::READABLE)?;
    let duplicate = ours.try_clone()?;
    drop(ours);
    theirs.write_all(b"hello")?;
    let events = poll_for_50_ms(&mut poll)?;
    println!("wrong  dropped, and still reported: {events:?}");
    match poll.registry().deregister(&duplicate) {
        Ok(()) => println!("       deregistered"),
        Err(error) => println!("       deregister through the duplicate: {error}"),
    }
    Ok(())
}

fn right_deregistered_first() -> io::Result<()> {
    let (mut poll, ours, mut theirs) = registered_pair(Interest::READABLE)?;
    let _duplicate = ours.try_clone()?;
    poll.registry().deregister(&ours)?;
    drop(ours);
    theirs.write_all(b"hello")?;
    let count = poll_for_50_ms(&mut poll)?.len();
    println!("right  deregistered, then dropped: {count} events in 50 ms");
    Ok(())
}

/// Returns one batch: client 0 has sent something, and the peer of client 1 has hung up.
fn batch_for_two_clients() -> io::Result<(Events, UnixStream, UnixStream)> {
    let (mut poll, zero, mut peer_of_zero) = registered_pair(Interest::READABLE)?;
    let (one, peer_of_one) = UnixStream::pair()?;
    poll.registry().register(&one, 1, Interest::READABLE)?;
    peer_of_zero.write_all(b"disconnect 1")?;
    drop(peer_of_one);
    Ok((poll_for_50_ms(&mut poll)?, zero, one))
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
