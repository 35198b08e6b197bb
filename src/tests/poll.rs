//! `Poll::poll` itself: capacity, order, timeouts. Signals are in `children.rs` and `scripted`.

use super::common::*;
use crate::ffi::EPOLLIN;
use crate::{Events, Interest, Poll, Waker};
use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn an_event_comes_with_its_token_and_its_readiness() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&ours, 42, Interest::READABLE)
        .unwrap();
    theirs.write_all(b"hello").unwrap();
    let mut events = Events::with_capacity(10);
    poll.poll(&mut events, None).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].token(), 42);
    assert!(events[0].is_readable() && !events[0].is_writable());
}

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
fn more_ready_sources_than_capacity_take_turns() {
    let mut poll = Poll::new().unwrap();
    let _pairs: Vec<_> = (0..10).map(|token| ready_source(&poll, token)).collect();
    let mut events = Events::with_capacity(3);
    let mut seen = HashSet::new();
    for _ in 0..4 {
        poll.poll(&mut events, None).unwrap();
        assert!((1..=events.capacity()).contains(&events.len()));
        seen.extend(sorted_tokens(&events));
    }
    assert_eq!(
        seen.len(),
        10,
        "level-triggered and never drained, and still all in 4 rounds"
    );
}

#[test]
fn a_capacity_of_one_loses_nothing_under_edge() {
    let mut poll = Poll::new().unwrap();
    let mut pairs: Vec<_> = (0..5).map(|_| unix_pair()).collect();
    for (token, (ours, theirs)) in pairs.iter_mut().enumerate() {
        poll.registry()
            .register(ours, token, Interest::READABLE | Interest::EDGE)
            .unwrap();
        theirs.write_all(b"a").unwrap();
    }
    let mut events = Events::with_capacity(1);
    let mut seen = HashSet::new();
    for _ in 0..5 {
        poll.poll(&mut events, None).unwrap();
        seen.extend(sorted_tokens(&events));
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn a_capacity_of_zero_is_invalid_input_and_says_what_to_do() {
    let mut poll = Poll::new().unwrap();
    for timeout in [None, Some(Duration::ZERO), Some(Duration::from_nanos(1))] {
        let error = poll.poll(&mut Events::new(), timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("with_capacity"), "{error}");
    }
}

#[test]
fn events_are_cleared_at_each_call() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"a").unwrap();
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, None).unwrap();
    poll.poll(&mut events, None).unwrap();
    assert_eq!(sorted_tokens(&events), [1], "once, not twice");
    poll.registry().deregister(&ours).unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert_eq!(sorted_tokens(&events), []);
}

#[test]
fn an_empty_queue_returns_nothing_at_once_with_a_zero_timeout() {
    assert_eq!(sorted_tokens(&ready_now(&mut Poll::new().unwrap())), []);
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
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 7).unwrap();
    let most = i32::MAX as u64;
    for timeout in [
        None,
        Some(Duration::from_millis(most)),
        Some(Duration::from_millis(most + 1)),
        Some(Duration::from_millis(1 << 32)), // 0 in an i32
        Some(Duration::from_millis(most) + Duration::from_nanos(1)),
        Some(Duration::from_millis(u64::MAX)),
        Some(Duration::MAX),
    ] {
        thread::scope(|scope| {
            scope.spawn(|| waker.wake().unwrap());
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, timeout).unwrap();
            assert_eq!(sorted_tokens(&events), [7], "{timeout:?}");
        });
    }
}

#[test]
fn what_is_ready_is_returned_whatever_the_timeout() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"a").unwrap();
    let mut events = Events::with_capacity(1);
    for timeout in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(1),
        Duration::MAX,
    ] {
        poll.poll(&mut events, Some(timeout)).unwrap();
        assert_eq!(sorted_tokens(&events), [1], "{timeout:?}");
    }
}
