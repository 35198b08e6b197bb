//! Short ways to ask a queue what it reports.

use super::wait::{LONG, until};
use epollet::{Event, Events, Interest, Poll, Token};
use std::os::fd::AsFd;
use std::time::Duration;

/// Returns a queue with `source` registered under token 1.
pub fn queue_with(source: &(impl AsFd + ?Sized), interest: impl Into<Interest>) -> Poll {
    let poll = Poll::new().unwrap();
    poll.registry().register(source, 1, interest).unwrap();
    poll
}

/// Returns the events that are there now, without waiting.
pub fn ready_now(poll: &mut Poll) -> Events {
    let mut events = Events::with_capacity(64);
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    events
}

/// Returns the bits that are there now for a queue with one source; 0 without an event.
pub fn ready_bits(poll: &mut Poll) -> u32 {
    match ready_now(poll)[..] {
        [] => 0,
        [event] => event.bits(),
        ref events => panic!("one source, but {events:?}"),
    }
}

/// Waits for events and returns them, at least one.
pub fn await_events(poll: &mut Poll) -> Events {
    let mut events = Events::with_capacity(64);
    poll.poll(&mut events, Some(LONG)).unwrap();
    assert!(!events.is_empty(), "nothing came in {LONG:?}");
    events
}

/// Waits until `source` is ready for all of `wanted`.
pub fn await_bits(source: &impl AsFd, wanted: u32) {
    let mut poll = queue_with(source, wanted);
    let what = format!("{:?}", Interest::from(wanted));
    until(&what, || ready_bits(&mut poll) & wanted == wanted);
}

/// Returns the tokens of `events` in ascending order.
pub fn sorted_tokens(events: &[Event]) -> Vec<Token> {
    let mut tokens: Vec<Token> = events.iter().map(|event| event.token()).collect();
    tokens.sort_unstable();
    tokens
}
