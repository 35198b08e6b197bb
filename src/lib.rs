//! **epollet** is an event queue on Linux's epoll in the shape of [mio], small enough to read in one
//! sitting: one thread waits for many sources at once, and the kernel says which of them are ready.
//!
//! It is for reading, running and copying. It is not for production: no other system, no runtime,
//! no `async` (take [mio] or [tokio] for those; after this crate you can read their source).
//!
//! | module | what it is |
//! |---|---|
//! | [`ffi`] | the system calls and constants as the kernel has them, and [`Event`], which the kernel fills |
//! | [`poll`] | the queue: [`Poll`], [`Registry`], [`Interest`], [`Waker`] |
//! | [`delayserver`] | a server that answers late, so that there is something to wait for; itself a program on [`Poll`] |
//!
//! `src/main.rs` is the program that `cargo run` starts. To build on this, copy `ffi.rs` and
//! `poll.rs` into your `src` and write `mod ffi; mod poll;`: they need nothing else.
//!
//! # One thing, many names
//!
//! | the book | here | Linux | mio | kqueue (macOS, BSD) | IOCP (Windows) |
//! |---|---|---|---|---|---|
//! | `Poll::new` | [`Poll::new`] | `epoll_create1` | `Poll::new` | `kqueue` | `CreateIoCompletionPort` |
//! | `Poll::registry` | [`Poll::registry`] | | `Poll::registry` | | |
//! | `Registry::register` | [`Registry::register`] | `epoll_ctl`, `EPOLL_CTL_ADD` | `Registry::register` | `kevent`, `EV_ADD` | associate the handle, then start the read itself, with a buffer |
//! | (closing) | [`Registry::deregister`] | `epoll_ctl`, `EPOLL_CTL_DEL` | `Registry::deregister` | `kevent`, `EV_DELETE` | close the handle |
//! | `Poll::poll` | [`Poll::poll`] | `epoll_wait`, `epoll_pwait2` | `Poll::poll` | `kevent` with an event list | `GetQueuedCompletionStatusEx` |
//! | `Event` | [`Event`] | `struct epoll_event` | `event::Event` | `struct kevent` | `OVERLAPPED_ENTRY` |
//! | `Event::token` | [`Event::token`] | `epoll_event.data` | `Event::token` | `udata` | completion key |
//! | `Registrator` (the older book) | [`Registry::try_clone`] | `dup` | `Registry::try_clone` | | |
//! | `Reactor`, `Executor` (the older book) | `examples/reactor.rs` | | tokio's runtime, on top of it | | |
//! | `close_loop` (the older book) | [`Waker::wake`] | `eventfd` | `Waker::wake` | `EVFILT_USER` | `PostQueuedCompletionStatus` |
//! | `usize` as token | [`Token`] is `usize` | 64 bits | `Token(usize)` | a pointer | a pointer |
//! | `EPOLLET` for edges | level, unless [`Interest::EDGE`] | level, unless `EPOLLET` | edges always | level, unless `EV_CLEAR` | |
//! | readiness: "read now" | readiness | readiness | readiness | readiness | completion: "your read is done" |
//!
//! [mio]: https://docs.rs/mio
//! [tokio]: https://docs.rs/tokio

/// Not part of the API: a second program on the queue, public for the examples alone.
#[doc(hidden)]
pub mod delayserver;
pub mod ffi;
pub mod poll;

pub use ffi::Event;
pub use poll::{Events, Interest, Poll, Registry, Token, Waker};

#[cfg(test)]
extern crate self as epollet; // The tests' helpers serve inside and outside of this crate.
#[cfg(test)]
mod tests;

/// The README's programs run as tests: in one of them `mod ffi;` finds the file beside this one, as
/// in a copy.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
