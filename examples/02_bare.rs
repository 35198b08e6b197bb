//! One event with `ffi.rs` alone, and then with `poll.rs`: what the second file adds, and why.
//!
//! ```sh
//! cargo run --example 02_bare
//! ```
//!
//! You see the system calls behind one event, what each of them returns, and what `poll.rs` adds.
//! Then the same event through `poll.rs`.
//!
//! Belongs to the section "The ffi module" in the book's chapter 4. `src/tests/poll.rs` tests the
//! layer, and `src/tests/abi.rs` the layout of the struct that the kernel fills.
//!
//! Needs only `ffi.rs` and `poll.rs`; in a copy, change their paths below.
//!
//! Change next:
//! - Run `strace -e trace=/epoll target/debug/examples/bare` and find each call twice.
//! - Pass `ours.as_raw_fd() + 100` to `epoll_ctl`: the check returns the error. Remove the
//!   check too: the program continues, and `epoll_wait` sleeps for its whole timeout.
//! - Remove the line with `OwnedFd`, call `bare` 100 times, and run it after `ulimit -n 50`:
//!   without an owner, no descriptor is closed, and soon the error is "Too many open files".

// The two files as modules, as in your own program.
#[path = "../src/ffi.rs"]
mod ffi;
#[path = "../src/poll.rs"]
mod poll;

use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

fn bare(ours: &UnixStream) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    let epfd = unsafe { ffi::epoll_create1(ffi::EPOLL_CLOEXEC) };
    if epfd == -1 {
        return Err(io::Error::last_os_error());
    }
    let events = ffi::EPOLLIN;
    let mut event = ffi::Event { events, data: 7 };
    // SAFETY: the kernel reads `event` before the call returns.
    let result = unsafe { ffi::epoll_ctl(epfd, ffi::EPOLL_CTL_ADD, ours.as_raw_fd(), &mut event) };
    if result == -1 {
        return Err(io::Error::last_os_error()); // `epfd` stays open.
    }
    let mut events = Vec::<ffi::Event>::with_capacity(8);
    // SAFETY: the kernel writes at most 8 events.
    let count = unsafe { ffi::epoll_wait(epfd, events.as_mut_ptr(), 8, 1000) };
    if count == -1 {
        return Err(io::Error::last_os_error()); // Also when a signal interrupts the call: EINTR.
    }
    // SAFETY: the kernel has written `count` events.
    unsafe { events.set_len(count as usize) };
    // SAFETY: `epfd` is open, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(epfd) });
    explain(result, count, &events);
    Ok(())
}

fn with_poll(ours: &UnixStream) -> io::Result<()> {
    let mut poll = poll::Poll::new()?;
    poll.registry().register(ours, 7, ffi::EPOLLIN)?;
    let mut events = poll::Events::with_capacity(8);
    poll.poll(&mut events, Some(std::time::Duration::from_secs(1)))?;
    println!("the same through poll.rs: {events:?}");
    Ok(())
}

fn main() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"hello")?;
    bare(&ours)?;
    with_poll(&ours)?;
    println!("\nTakeaway: an event queue is three system calls; poll.rs does what they leave");
    println!("to the caller: close the descriptor, check for errors, set the length, retry.");
    Ok(())
}

fn explain(result: i32, count: i32, events: &[ffi::Event]) {
    let row = |call: &str, returns: &str, adds: &str| println!("{call:14} {returns:12} {adds}");
    row("call", "returns", "what poll.rs adds");
    row(
        "epoll_create1",
        "descriptor",
        "an OwnedFd, which closes it on every path",
    );
    row(
        "epoll_ctl",
        &result.to_string(),
        "AsFd: the descriptor is open; -1 becomes an error",
    );
    row(
        "epoll_wait",
        &count.to_string(),
        "sets the length of the Vec; retries on EINTR",
    );
    row("close", "", "no call needed: drop closes it");
    println!("\nthe kernel has written:   {events:?}");
}
