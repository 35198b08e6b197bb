//! One event with `ffi.rs` alone, and then with `poll.rs`: what the second file adds, and why.
//!
//! ```sh
//! cargo run -q --example 02_bare
//! ```
//!
//! You see the system calls behind one event, what each of them returns, and what `poll.rs` adds.
//! Then the same event through `poll.rs`.
//!
//! Comes after `01_steps`. Book: chapter 4, "The ffi module". In a copy, change the paths of the
//! two files.
//!
//! Change next (the answers are at the end of the file):
//! 1. Run `strace -e trace=/epoll target/debug/examples/02_bare`. Which calls do you see twice?
//! 2. Pass `ours.as_raw_fd() + 100` to `epoll_ctl`. Then remove the check of its result, too.
//! 3. Remove the line with `OwnedFd`. How many descriptors does a program leak that way?

// The two files as modules, as in your own program.
#[path = "../src/ffi.rs"]
mod ffi;
#[path = "../src/poll.rs"]
mod poll;

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::{fs, process, time::Duration};

fn bare(ours: &UnixStream) -> io::Result<Vec<ffi::Event>> {
    // Close-on-exec: a program that a child process executes does not inherit the descriptor.
    // SAFETY: the call takes no pointer.
    let epfd = unsafe { ffi::epoll_create1(ffi::EPOLL_CLOEXEC) };
    if epfd == -1 {
        return Err(io::Error::last_os_error());
    }
    row("epoll_create1", epfd, "an OwnedFd, which always closes it");

    let events = ffi::EPOLLIN;
    let mut event = ffi::Event { events, data: 7 };
    // SAFETY: the kernel reads `event` before the call returns.
    let result = unsafe { ffi::epoll_ctl(epfd, ffi::EPOLL_CTL_ADD, ours.as_raw_fd(), &mut event) };
    if result == -1 {
        return Err(io::Error::last_os_error()); // `epfd` stays open.
    }
    row("epoll_ctl", result, "open descriptors only; checks for -1");

    let mut events = Vec::<ffi::Event>::with_capacity(8);
    // SAFETY: the kernel writes at most 8 events.
    let count = unsafe { ffi::epoll_wait(epfd, events.as_mut_ptr(), 8, 1000) };
    if count == -1 {
        return Err(io::Error::last_os_error()); // Also if a signal interrupts the call: EINTR.
    }
    // SAFETY: the kernel has written `count` events.
    unsafe { events.set_len(count as usize) };
    row("epoll_wait", count, "sets the length; retries on EINTR");

    // SAFETY: `epfd` is open, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(epfd) });
    Ok(events)
}

fn with_poll(ours: &UnixStream) -> io::Result<Vec<ffi::Event>> {
    let mut poll = poll::Poll::new()?;
    poll.registry().register(ours, 7, ffi::EPOLLIN)?;
    let mut events = poll::Events::with_capacity(8);
    poll.poll(&mut events, Some(Duration::from_secs(1)))?;
    Ok(events)
}

fn main() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"hello")?;

    row("call", "returns", "what poll.rs adds");
    let before = open_descriptors()?;
    let bare = format!("{:?}", bare(&ours)?);
    let left_open = open_descriptors()? - before;
    row("close", "", "no call needed: drop closes it");
    let with_poll = format!("{:?}", with_poll(&ours)?);
    say(format!("\nwith ffi.rs alone:  {bare}"));
    say(format!("through poll.rs:    {with_poll}\n"));

    if bare != with_poll {
        say("Takeaway: the bare calls got other events than poll.rs, and no error: they ask");
        say("for something else, or a call has failed and its result is not checked.");
    } else if left_open > 0 {
        say("Takeaway: a descriptor without an owner stays open; the bare calls have left");
        say(format!("{left_open} behind."));
    } else {
        say("Takeaway: an event queue is three system calls; poll.rs does what they leave");
        say("to the caller: close the descriptor, check for errors, set the length, retry.");
    }
    Ok(())
}

fn open_descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn row(call: &str, returns: impl Display, adds: &str) {
    say(format!("{call:14} {returns:8} {adds}"));
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. epoll_create1, epoll_ctl and epoll_wait (some systems: epoll_pwait), once from each function,
//    with the same arguments.
// 2. With the check, the lesson ends with EBADF, "Bad file descriptor". Without it, the program
//    continues: `epoll_wait` sleeps for its whole second and returns 0.
// 3. One for each queue: call `bare` 100 times after `ulimit -n 50`, and after about 45 of them it
//    returns "Too many open files".
