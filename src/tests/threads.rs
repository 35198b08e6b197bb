//! What other threads can do while one sleeps in `poll`; the waker.

use super::common::*;
use crate::ffi::{self, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLRDHUP};
use crate::{Events, Interest, Poll, Token, Waker};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

#[test]
fn a_cloned_registry_registers_while_poll_sleeps() {
    let mut poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"a").unwrap();
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut poll));
        registry.register(&ours, 5, EPOLLIN).unwrap();
        assert_eq!(sorted_tokens(&sleeper.join().unwrap()), [5]);
    });
}

#[test]
fn reregistering_a_ready_source_wakes_a_sleeping_poll() {
    let (ours, _theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    let registry = poll.registry().try_clone().unwrap();
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut poll));
        registry.reregister(&ours, 2, EPOLLOUT).unwrap();
        let events = sleeper.join().unwrap();
        assert_eq!(sorted_tokens(&events), [2]);
        assert_eq!(events[0].bits(), EPOLLOUT);
    });
}

#[test]
fn deregistering_takes_effect_while_poll_sleeps() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    let waker = Waker::new(poll.registry(), 9).unwrap();
    let registry = poll.registry().try_clone().unwrap();
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut poll));
        registry.deregister(&ours).unwrap();
        theirs.write_all(b"a").unwrap();
        waker.wake().unwrap();
        assert_eq!(sorted_tokens(&sleeper.join().unwrap()), [9]);
    });
}

/// A close makes no event. A thread that closes a source of another one has to notify it, for example
/// with a waker.
#[test]
fn closing_a_source_does_not_wake_a_sleeping_poll() {
    let (ours, _theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    let waker = Waker::new(poll.registry(), 9).unwrap();
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut poll));
        drop(ours);
        waker.wake().unwrap();
        assert_eq!(sorted_tokens(&sleeper.join().unwrap()), [9]);
    });
}

/// Asserts that `shut_down` ends a sleep in `poll`.
fn assert_wakes(mut poll: Poll, shut_down: impl FnOnce()) {
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut poll));
        shut_down();
        let event = sleeper.join().unwrap()[0];
        assert_eq!(event.bits(), EPOLLIN | EPOLLRDHUP | EPOLLHUP);
    });
}

/// Unlike a close, a shutdown makes the source ready, and it stays so while it is open.
#[test]
fn shutting_down_a_source_that_stays_open_wakes_a_sleeping_poll() {
    let (tcp, _theirs) = tcp_pair();
    let (unix, _theirs) = unix_pair();
    let shut_down_tcp = || tcp.shutdown(Shutdown::Both).unwrap();
    let shut_down_unix = || unix.shutdown(Shutdown::Both).unwrap();
    assert_wakes(queue_with(&tcp, Interest::READABLE), shut_down_tcp);
    assert_wakes(queue_with(&unix, Interest::READABLE), shut_down_unix);
    // The streams are dropped here, not before the event.
}

/// So a poll that sleeps has nothing to report if it wakes up after the drop.
#[test]
fn dropping_a_source_right_after_its_shutdown_leaves_nothing_to_report() {
    let (tcp, _theirs) = tcp_pair();
    let mut poll = queue_with(&tcp, Interest::READABLE);
    tcp.shutdown(Shutdown::Both).unwrap();
    drop(tcp);
    assert_eq!(ready_bits(&mut poll), 0);
    let (unix, _theirs) = unix_pair();
    let mut poll = queue_with(&unix, Interest::READABLE);
    unix.shutdown(Shutdown::Both).unwrap();
    drop(unix);
    assert_eq!(ready_bits(&mut poll), 0);
}

/// 8 threads, each with tokens of its own, change the interest list through one `&Registry`. The
/// queue is polled meanwhile, until it has reported some hundred events.
#[test]
fn eight_threads_share_one_registry_and_bring_no_foreign_token() {
    const REPORTS: usize = 300;
    let mut poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let work = |worker: usize| {
        let (ours, mut theirs) = unix_pair();
        theirs.write_all(b"a").unwrap();
        let token = 1000 * worker;
        while !done.load(Ordering::Relaxed) && start.elapsed() < LONG {
            registry.register(&ours, token + 1, EPOLLIN).unwrap();
            let twice = registry.register(&ours, token + 3, EPOLLIN).unwrap_err();
            assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
            registry
                .reregister(&ours, token + 2, EPOLLIN | EPOLLOUT)
                .unwrap();
            thread::yield_now(); // for the poll, where threads run one at a time (valgrind)
            registry.deregister(&ours).unwrap();
        }
    };
    let mut seen = 0;
    thread::scope(|scope| {
        for worker in 0..8 {
            let work = &work;
            scope.spawn(move || work(worker));
        }
        while seen < REPORTS {
            for event in await_events(&mut poll) {
                let (worker, kind) = (event.token() / 1000, event.token() % 1000);
                assert!(worker < 8 && (kind == 1 || kind == 2), "{event:?}");
                seen += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
}

/// Two threads sleep in `epoll_wait` of one queue when a byte arrives, which neither reads. Returns
/// the token that the first of them gets, and the token that the second gets after `wake`.
fn tokens_of_two_threads(interest: u32, wake: impl FnOnce(&Waker)) -> [Token; 2] {
    let (ours, mut theirs) = unix_pair();
    let poll = queue_with(&ours, interest);
    let waker = Waker::new(poll.registry(), 2).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (tell, epfd) = (tell.clone(), poll.as_raw_fd());
            spawn_asleep(scope, move || tell.send(one_token(epfd)).unwrap());
        }
        drop(tell);
        theirs.write_all(b"a").unwrap();
        let first = told.recv().unwrap();
        wake(&waker);
        [first, told.recv().unwrap()]
    })
}

/// Makes the call that `poll` makes, with a capacity of 1.
fn one_token(epfd: RawFd) -> Token {
    let mut event = ffi::Event { events: 0, data: 0 };
    // SAFETY: there is room for one event.
    let count = unsafe { ffi::epoll_wait(epfd, &mut event, 1, LONG.as_millis() as i32) };
    assert_eq!(count, 1, "nothing came in {LONG:?}");
    event.token()
}

#[test]
fn one_edge_or_one_shot_is_returned_to_one_of_two_threads_of_one_instance() {
    for mode in [EPOLLET, EPOLLONESHOT] {
        let tokens = tokens_of_two_threads(EPOLLIN | mode, |waker| waker.wake().unwrap());
        assert_eq!(tokens, [1, 2], "the second sleeps until the wake");
    }
}

#[test]
fn one_event_can_wake_two_threads_of_one_instance_if_level_triggered() {
    let tokens = tokens_of_two_threads(EPOLLIN, |_| {});
    assert_eq!(tokens, [1, 1]);
}

#[test]
fn a_waker_ends_the_sleep_of_poll_from_another_thread() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut poll));
        waker.wake().unwrap();
        let event = sleeper.join().unwrap()[0];
        assert_eq!(event.token(), 9);
        assert!(event.is_readable());
    });
}

#[test]
fn wakes_between_two_polls_are_one_event() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    for _ in 0..1000 {
        waker.wake().unwrap();
    }
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [9]);
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
    waker.wake().unwrap();
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [9],
        "the next one is a new edge"
    );
}

#[test]
fn dropping_a_waker_deregisters_it() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    waker.wake().unwrap();
    drop(waker);
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
}

#[test]
fn a_full_waker_would_block_and_has_lost_no_wake() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    let eventfd = waker.as_raw_fd();
    let all_but_one = u64::MAX - 2;
    // SAFETY: the kernel reads 8 bytes.
    let written = unsafe { c::write(eventfd, (&raw const all_but_one).cast(), 8) };
    assert_eq!(written, 8);
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [9]);
    waker.wake().unwrap();
    let full = waker.wake().unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [9]);
    let mut counter = 0_u64;
    // SAFETY: the kernel writes 8 bytes.
    let read = unsafe { c::read(eventfd, (&raw mut counter).cast(), 8) };
    assert_eq!((read, counter), (8, u64::MAX - 1));
    waker.wake().unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [9]);
}

/// Two threads wake each other in turn: one lost wake, and both would sleep forever.
#[test]
fn no_wake_is_lost_in_ten_thousand_hand_overs() {
    const ROUNDS: usize = 10_000;
    let mut polls = [Poll::new().unwrap(), Poll::new().unwrap()];
    let wakers = [0, 1].map(|side: usize| Waker::new(polls[side].registry(), side).unwrap());
    let (left, right) = polls.split_at_mut(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut events = Events::with_capacity(1);
            for _ in 0..ROUNDS {
                left[0].poll(&mut events, Some(LONG)).unwrap();
                assert_eq!(sorted_tokens(&events), [0]);
                wakers[1].wake().unwrap();
            }
        });
        let mut events = Events::with_capacity(1);
        for _ in 0..ROUNDS {
            wakers[0].wake().unwrap();
            right[0].poll(&mut events, Some(LONG)).unwrap();
            assert_eq!(sorted_tokens(&events), [1]);
        }
    });
}
