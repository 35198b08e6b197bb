//! A registry on another thread, and the waker.

use super::common::*;
use crate::ffi::{EPOLLIN, EPOLLOUT};
use crate::{Events, Interest, Poll, Waker};
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

#[test]
fn a_cloned_registry_registers_while_poll_sleeps() {
    let mut poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    let (ours, mut theirs) = unix_pair();
    thread::scope(|scope| {
        scope.spawn(|| {
            registry.register(&ours, 5, EPOLLIN).unwrap();
            theirs.write_all(b"a").unwrap();
        });
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, None).unwrap();
        assert_eq!(sorted_tokens(&events), [5]);
    });
}

#[test]
fn a_waker_ends_the_sleep_of_poll_from_another_thread() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| waker.wake().unwrap());
        let event = await_events(&mut poll)[0];
        assert_eq!(event.token(), 9);
        assert!(event.is_readable());
    });
}

#[test]
fn a_wake_before_the_poll_is_not_lost() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    waker.wake().unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [9]);
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
        "and the next one is news again"
    );
}

#[test]
fn wakers_of_one_queue_keep_their_tokens_apart() {
    let mut poll = Poll::new().unwrap();
    let wakers = [3, 4].map(|token| Waker::new(poll.registry(), token).unwrap());
    wakers[1].wake().unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [4]);
    wakers[0].wake().unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [3]);
}

#[test]
fn dropping_a_waker_deregisters_it() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    waker.wake().unwrap();
    drop(waker);
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
}

/// Two threads wake each other in turn: one lost wake, and both would sleep for ever.
#[test]
fn no_wake_is_lost_in_a_hundred_thousand_hand_overs() {
    const ROUNDS: usize = 100_000;
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

/// The `close_loop` of the older book: a loop on a thread of its own, ended from outside.
#[test]
fn a_waker_ends_an_event_loop() {
    const CLOSE: usize = usize::MAX;
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&ours, 0, Interest::READABLE | Interest::EDGE)
        .unwrap();
    let close = Waker::new(poll.registry(), CLOSE).unwrap();
    let (tell, told) = mpsc::channel();
    let event_loop = thread::spawn(move || {
        let mut received = 0;
        let mut events = Events::with_capacity(8);
        loop {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                match event.token() {
                    CLOSE => return received,
                    _ => received += drain(&mut ours),
                }
            }
            tell.send(received).unwrap();
        }
    });
    theirs.write_all(b"hello").unwrap();
    assert_eq!(told.recv().unwrap(), 5);
    close.wake().unwrap();
    assert_eq!(event_loop.join().unwrap(), 5);
}

/// 8 threads, 3 operations a round, each thread with tokens of its own; one queue polls meanwhile.
#[test]
fn a_hundred_thousand_operations_from_eight_threads_bring_no_foreign_token() {
    const ROUNDS: usize = 100_000 / 8 / 3 + 1;
    let mut poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let registry = &registry;
                scope.spawn(move || {
                    let (ours, mut theirs) = unix_pair();
                    theirs.write_all(b"a").unwrap();
                    let token = 1000 * worker;
                    for _ in 0..ROUNDS {
                        registry.register(&ours, token + 1, EPOLLIN).unwrap();
                        let twice = registry.register(&ours, token + 3, EPOLLIN).unwrap_err();
                        assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
                        registry
                            .reregister(&ours, token + 2, EPOLLIN | EPOLLOUT)
                            .unwrap();
                        registry.deregister(&ours).unwrap();
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok));
        });
        let mut seen = 0;
        while !done.load(Ordering::Relaxed) {
            for event in ready_now(&mut poll) {
                let (worker, kind) = (event.token() / 1000, event.token() % 1000);
                assert!(worker < 8 && (kind == 1 || kind == 2), "{event:?}");
                seen += 1;
            }
        }
        assert!(seen > 0, "the queue was polled while they worked");
        assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
    });
}
