//! `Poll::poll` itself: tokens, capacity, timeouts. Signals are in `children.rs` and `scripted`.

use super::common::*;
use crate::ffi::EPOLLIN;
use crate::{Events, Poll, Waker};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Fails if the layout of `Event` is wrong: the kernel writes one event after the other.
#[test]
fn five_sources_ready_at_once_come_with_their_own_tokens() {
    let chosen = [usize::MIN, 1, 0x1234_5678, usize::MAX - 1, usize::MAX];
    let mut poll = Poll::new().unwrap();
    let _pairs: Vec<_> = chosen.map(|token| ready_source(&poll, token)).into();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), chosen);
}

fn ready_source(poll: &Poll, token: usize) -> (UnixStream, UnixStream) {
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"a").unwrap();
    poll.registry().register(&ours, token, EPOLLIN).unwrap();
    (ours, theirs)
}

#[test]
fn a_capacity_of_zero_is_invalid_input_and_says_what_to_do() {
    for timeout in [None, Some(Duration::ZERO), Some(Duration::from_nanos(1))] {
        let mut poll = Poll::new().unwrap();
        let error = within_limit(move || poll.poll(&mut Events::new(), timeout)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error.to_string().contains("Events::with_capacity(64)"),
            "{error}"
        );
    }
}

#[test]
fn a_timeout_never_ends_early() {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1);
    for nanos in [
        1, 50_000, 999_999, 1_000_000, 1_000_001, 2_500_000, 20_000_000,
    ] {
        let timeout = Duration::from_nanos(nanos);
        let start = Instant::now();
        poll.poll(&mut events, Some(timeout)).unwrap();
        assert!(
            start.elapsed() >= timeout,
            "{:?} of {timeout:?}",
            start.elapsed()
        );
        assert!(events.is_empty());
    }
}

#[test]
fn an_event_ends_a_wait_of_any_length() {
    let most = Duration::from_millis(i32::MAX as u64);
    for timeout in [
        None,
        Some(most),
        Some(most + Duration::from_nanos(1)),
        Some(Duration::MAX),
    ] {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), 7).unwrap();
        let events = within_limit(move || {
            thread::scope(|scope| {
                scope.spawn(|| waker.wake().unwrap());
                let mut events = Events::with_capacity(1);
                poll.poll(&mut events, timeout).unwrap();
                events
            })
        });
        assert_eq!(sorted_tokens(&events), [7], "{timeout:?}");
    }
}
