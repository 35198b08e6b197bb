//! The kernel's rules: how a registration gets on the ready list, in which order, and what takes it
//! off.

use super::common::*;
use crate::ffi::{EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP};
use crate::{Events, Poll, Token, Waker};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

const EDGE: u32 = EPOLLIN | EPOLLET;

/// Three socket pairs, registered with their index as token.
struct Three {
    poll: Poll,
    pairs: [(UnixStream, UnixStream); 3],
}

impl Three {
    fn new(interest: u32) -> Three {
        let (poll, pairs) = (Poll::new().unwrap(), [(); 3].map(|()| unix_pair()));
        for (token, (ours, _)) in pairs.iter().enumerate() {
            poll.registry().register(ours, token, interest).unwrap();
        }
        Three { poll, pairs }
    }

    /// Makes the sources readable, in this order.
    fn write_to(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.pairs[*token].1.write_all(b"a").unwrap();
        }
    }

    /// Polls with room for `capacity` events and returns the tokens in the order of the report.
    fn poll(&mut self, capacity: usize) -> Vec<Token> {
        let mut events = Events::with_capacity(capacity);
        self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().map(|event| event.token()).collect()
    }
}

#[test]
fn events_come_in_the_order_of_the_wakeups() {
    let mut three = Three::new(EDGE);
    three.write_to(&[2, 0, 1]);
    assert_eq!(three.poll(10), [2, 0, 1]);
}

#[test]
fn a_registration_is_on_the_ready_list_once_and_keeps_its_place() {
    let mut three = Three::new(EDGE);
    three.write_to(&[2, 0, 2, 2, 1]);
    assert_eq!(three.poll(10), [2, 0, 1]);
}

#[test]
fn what_does_not_fit_stays_at_the_head_of_the_ready_list() {
    let mut three = Three::new(EDGE);
    three.write_to(&[0, 1, 2]);
    assert_eq!(three.poll(1), [0]);
    three.write_to(&[0]);
    assert_eq!(three.poll(10), [1, 2, 0], "the new edge is behind them");
}

#[test]
fn level_triggered_goes_back_to_the_tail_of_the_ready_list() {
    let mut three = Three::new(EPOLLIN);
    three.write_to(&[0, 1, 2]);
    assert_eq!(three.poll(2), [0, 1]);
    assert_eq!(three.poll(2), [2, 0]);
    assert_eq!(three.poll(2), [1, 2]);
}

#[test]
fn the_source_is_asked_at_the_poll_so_a_report_is_newer_than_its_wakeup() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EDGE | EPOLLRDHUP);
    theirs.write_all(b"a").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLRDHUP);
}

#[test]
fn a_source_that_is_not_ready_at_the_poll_leaves_the_ready_list_without_an_event() {
    for interest in [EPOLLIN, EDGE] {
        let mut three = Three::new(interest);
        three.write_to(&[0, 1]);
        assert_eq!(drain(&mut three.pairs[0].0), 1);
        assert_eq!(three.poll(10), [1]);
    }
}

#[test]
fn a_wakeup_outside_the_interest_is_ignored() {
    let mut three = Three::new(EPOLLOUT | EPOLLET);
    assert_eq!(three.poll(10), [0, 1, 2]);
    three.write_to(&[0, 1, 2]);
    assert_eq!(three.poll(10), [], "EPOLLIN is not in the interest");
    let (ours, mut theirs) = tcp_pair();
    let mut poll = queue_with(&ours, EPOLLOUT | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
    theirs.write_all(b"a").unwrap();
    await_bits(&ours, EPOLLIN);
    assert_eq!(ready_bits(&mut poll), 0, "on TCP neither");
}

#[test]
fn a_wakeup_that_names_no_bits_counts_for_every_interest() {
    let mut three = Three::new(EPOLLOUT | EPOLLET);
    assert_eq!(three.poll(10), [0, 1, 2]);
    three.pairs[1].1.shutdown(Shutdown::Write).unwrap();
    assert_eq!(three.poll(10), [1], "it reports EPOLLOUT again");
    let (ours, theirs) = tcp_pair();
    let mut poll = queue_with(&ours, EPOLLOUT | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
    theirs.shutdown(Shutdown::Write).unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLOUT, "on TCP too");
}

/// Returns how often the thread with this `status` in /proc has gone to sleep.
fn sleeps(status: &Path) -> u64 {
    let status = fs::read_to_string(status).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// A half-close wakes the thread, but the source is full, and it is asked only whether there is room.
#[test]
fn a_wakeup_without_anything_to_report_does_not_end_a_poll() {
    let (mut ours, theirs) = unix_pair();
    fill(&mut ours);
    let mut poll = queue_with(&ours, EPOLLOUT);
    let waker = Waker::new(poll.registry(), 9).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            tell.send(stat()).unwrap();
            await_events(&mut poll)
        });
        let stat = told.recv().unwrap();
        await_state(&stat, 'S');
        let status = stat.with_file_name("status");
        let before = sleeps(&status);
        theirs.shutdown(Shutdown::Write).unwrap();
        until("it has been awake", || sleeps(&status) > before);
        waker.wake().unwrap();
        assert_eq!(sorted_tokens(&sleeper.join().unwrap()), [9]);
    });
}

#[test]
fn register_and_reregister_put_a_ready_source_on_the_ready_list() {
    let mut three = Three::new(EDGE);
    three.write_to(&[0, 1, 2]);
    assert_eq!(three.poll(10), [0, 1, 2]);
    assert_eq!(three.poll(10), []);
    let registry = three.poll.registry();
    for token in [1, 0, 2] {
        let source = &three.pairs[token].0;
        registry.reregister(source, token, EDGE).unwrap();
    }
    let duplicate = three.pairs[0].0.try_clone().unwrap();
    registry.register(&duplicate, 3, EDGE).unwrap();
    assert_eq!(three.poll(10), [1, 0, 2, 3]);
}

#[test]
fn deregister_takes_a_registration_off_the_ready_list() {
    let mut three = Three::new(EPOLLIN);
    three.write_to(&[0, 1, 2]);
    let registry = three.poll.registry();
    registry.deregister(&three.pairs[1].0).unwrap();
    assert_eq!(three.poll(10), [0, 2]);
}
