//! **epollet** is an event queue built on Linux's epoll, with an API like [mio]'s, in two files
//! that are meant to be read, run and copied. One thread waits for many sources at once, and the
//! kernel reports which of them are ready:
//!
//! ```
//! use epollet::{Events, Interest, Poll};
//! use std::io::Write;
//! use std::os::unix::net::UnixStream;
//!
//! let (left, _far_left) = UnixStream::pair()?;
//! let (right, mut far_right) = UnixStream::pair()?;
//!
//! let mut poll = Poll::new()?;
//! poll.registry().register(&left, 1, Interest::READABLE)?;
//! poll.registry().register(&right, 2, Interest::READABLE)?;
//!
//! far_right.write_all(b"hello")?;
//! let mut events = Events::with_capacity(64);
//! poll.poll(&mut events, None)?; // sleeps until one of them is ready
//! assert_eq!(events.len(), 1);
//! assert_eq!(events[0].token(), 2);
//! assert!(events[0].is_readable());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! This is not for production: it supports only Linux and Android, and it has no runtime and no
//! `async`. For production, use [mio] or [tokio]. Once you know this crate, you can read their
//! source.
//!
//! # Map
//!
//! | module | what it is |
//! |---|---|
//! | [`ffi`] | file 1: the system calls and constants under the kernel's names, and [`Event`] |
//! | [`poll`] | file 2: [`Poll`], [`Registry`], [`Interest`], [`Waker`] |
//! | [`guide`] | questions and answers, the terms, the kernel's rules, and what each kind of source does |
//!
//! `src/main.rs` is the program that `cargo run` starts, and `examples/` has the lessons.
//! To build on this, copy `ffi.rs` and `poll.rs` into your `src` and write `mod ffi; mod poll;`.
//!
//! # Two more examples
//!
//! Drain an edge-triggered source: read until `WouldBlock` or end of file.
//!
//! ```
//! use epollet::{Events, Interest, Poll};
//! use std::io::{ErrorKind, Read, Write};
//! use std::os::unix::net::UnixStream;
//!
//! let (mut ours, mut theirs) = UnixStream::pair()?;
//! ours.set_nonblocking(true)?;
//! let mut poll = Poll::new()?;
//! poll.registry().register(&ours, 7, Interest::READABLE | Interest::EDGE)?;
//!
//! theirs.write_all(b"hello")?;
//! let mut events = Events::with_capacity(64);
//! poll.poll(&mut events, None)?;
//!
//! let mut received = Vec::new();
//! let mut buffer = [0; 2];
//! loop {
//!     match ours.read(&mut buffer) {
//!         Ok(0) => break, // end of file
//!         Ok(count) => received.extend_from_slice(&buffer[..count]),
//!         Err(error) if error.kind() == ErrorKind::WouldBlock => break, // drained
//!         Err(error) => return Err(error),
//!     }
//! }
//! assert_eq!(received, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Another thread wakes the loop:
//!
//! ```
//! use epollet::{Events, Poll, Waker};
//! use std::sync::Arc;
//! use std::thread;
//!
//! let mut poll = Poll::new()?;
//! let waker = Arc::new(Waker::new(poll.registry(), 9)?); // lives as long as the loop
//!
//! let theirs = Arc::clone(&waker);
//! let worker = thread::spawn(move || theirs.wake());
//!
//! let mut events = Events::with_capacity(64);
//! poll.poll(&mut events, None)?; // sleeps until the worker wakes it
//! assert_eq!(events[0].token(), 9);
//! worker.join().unwrap()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! [mio]: https://docs.rs/mio
//! [tokio]: https://docs.rs/tokio

pub mod ffi;
pub mod guide;
pub mod poll;

#[doc(inline)]
pub use ffi::Event;
#[doc(inline)]
pub use poll::{Events, Interest, Poll, Registry, Token, Waker};

#[cfg(test)]
extern crate self as epollet; // The tests' helpers are used inside and outside this crate.
#[cfg(test)]
mod tests;

/// The README's program runs as a test. In it, `mod ffi;` finds the file next to this one, as in a
/// copy.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
