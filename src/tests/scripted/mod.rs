//! `poll.rs` on a kernel that plays a script: which calls it makes, and how it handles their
//! results. Here signals, errors and the longest waits take no time.

mod buffer;
mod calls;
mod ffi;
#[path = "../../poll.rs"]
#[allow(clippy::duplicate_mod)] // It is compiled a second time, beside another `ffi`.
mod poll;
mod wait;

use ffi::{Answer, EPOLLIN, play};
use poll::Poll;
use std::fs::File;

/// Returns a queue whose descriptor is not an epoll instance at all.
fn new_poll() -> Poll {
    let (poll, _) = play([descriptor()], Poll::new);
    poll.unwrap()
}

/// Returns an answer with a descriptor that nothing is asked of.
fn descriptor() -> Answer {
    Answer::Descriptor(File::open("/dev/null").unwrap().into())
}

/// Returns an answer with the token 7.
fn one_event() -> Answer {
    Answer::Events(vec![(EPOLLIN, 7)])
}
