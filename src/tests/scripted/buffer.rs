//! The buffer that `epoll_wait` fills: contents, length, capacity.

use super::super::common::{EBADF, EINVAL};
use super::ffi::{Answer, Call, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, play};
use super::poll::Events;
use super::{new_poll, one_event};
use std::ffi::c_int;
use std::io::{ErrorKind, Result};

#[test]
fn the_events_are_those_that_the_kernel_wrote() {
    let written = vec![
        (EPOLLIN | EPOLLRDHUP, 0),
        (EPOLLOUT, 1),
        (EPOLLHUP, usize::MAX as u64),
    ];
    let mut events = Events::with_capacity(4);
    let (_, result) = max_events(&mut events, Answer::Events(written));
    result.unwrap();
    let tokens: Vec<usize> = events.iter().map(|event| event.token()).collect();
    let bits: Vec<u32> = events.iter().map(|event| event.bits()).collect();
    assert_eq!(tokens, [0, 1, usize::MAX]);
    assert_eq!(bits, [EPOLLIN | EPOLLRDHUP, EPOLLOUT, EPOLLHUP]);
}

#[test]
fn each_call_clears_the_events_even_one_that_fails() {
    let mut poll = new_poll();
    let mut events = Events::with_capacity(4);
    let two = || Answer::Events(vec![(EPOLLIN, 1), (EPOLLIN, 2)]);
    for (answer, left) in [
        (Answer::Zero, 0),
        (one_event(), 1),
        (Answer::Error(EBADF), 0),
    ] {
        play([two()], || poll.poll(&mut events, None)).0.unwrap();
        assert_eq!(events.len(), 2);
        let _ = play([answer], || poll.poll(&mut events, None));
        assert_eq!(events.len(), left);
    }
}

/// Returns the `maxevents` of one `poll` with `events`, and its result.
fn max_events(events: &mut Events, answer: Answer) -> (c_int, Result<()>) {
    let mut poll = new_poll();
    let (result, calls) = play([answer], || poll.poll(events, None));
    match calls[..] {
        [Call::EpollWait { maxevents, .. }] => (maxevents, result),
        _ => panic!("{calls:?}"),
    }
}

#[test]
fn the_capacity_is_the_most_that_the_kernel_writes() {
    for capacity in [1, 7, 64, 5000] {
        let mut events = Events::with_capacity(capacity);
        let full = vec![(EPOLLIN, 1); capacity];
        let (maxevents, result) = max_events(&mut events, Answer::Events(full));
        result.unwrap();
        assert_eq!((maxevents as usize, events.len()), (capacity, capacity));
    }
}

/// The kernel takes from 1 to `i32::MAX / size_of::<Event>()` events. Whatever part of a greater
/// capacity fits in an int: it is never more than there is room for.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_capacity_beyond_an_int_is_less_room_or_invalid_input() {
    for (capacity, expected) in [
        (1 << 31, i32::MIN),
        ((1 << 32) - 1, -1),
        (1 << 32, 0),
        ((1 << 32) + 5, 5),
    ] {
        let nowhere = std::ptr::NonNull::dangling().as_ptr();
        // SAFETY: without elements, nothing reads, writes or frees the memory that is not there.
        let mut events =
            std::mem::ManuallyDrop::new(unsafe { Events::from_raw_parts(nowhere, 0, capacity) });
        let answer = if expected > 0 {
            Answer::Zero
        } else {
            Answer::Error(EINVAL)
        };
        let (maxevents, result) = max_events(&mut events, answer);
        assert_eq!(maxevents, expected);
        match result {
            Ok(()) => assert!(expected > 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        }
    }
}
