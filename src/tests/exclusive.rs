//! `EPOLLEXCLUSIVE`: one source in several queues, and which of them report it.

use super::common::*;
use crate::ffi::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT};
use crate::{Interest, Poll, Waker};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

#[test]
fn a_source_on_two_queues_is_reported_by_both() {
    let (ours, mut theirs) = unix_pair();
    let mut polls = [queue_with(&ours, EPOLLIN), queue_with(&ours, EPOLLIN)];
    theirs.write_all(b"a").unwrap();
    assert_eq!(polls.each_mut().map(ready_bits), [EPOLLIN, EPOLLIN]);
}

#[test]
fn exclusive_makes_every_instance_ready_if_no_thread_sleeps_in_one() {
    let (ours, mut theirs) = unix_pair();
    let interest = EPOLLIN | EPOLLEXCLUSIVE;
    let mut polls = [queue_with(&ours, interest), queue_with(&ours, interest)];
    theirs.write_all(b"a").unwrap();
    assert_eq!(polls.each_mut().map(ready_bits), [EPOLLIN, EPOLLIN]);
}

#[test]
fn an_exclusive_source_is_not_reported_by_an_instance_that_was_not_woken() {
    let (ours, mut theirs) = unix_pair();
    let interest = EPOLLIN | EPOLLEXCLUSIVE;
    let [mut first, mut second] = [(); 2].map(|()| queue_with(&ours, interest));
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut first)[0].bits());
        theirs.write_all(b"a").unwrap();
        assert_eq!(sleeper.join().unwrap(), EPOLLIN);
    });
    assert_eq!(ready_bits(&mut second), 0, "though the byte is unread");
    assert_eq!(ready_bits(&mut first), EPOLLIN);
}

/// A listener is registered with the queues of two threads, which sleep when one client connects.
/// Each thread ends with what its first `poll` reports. Returns how many of them are the listener;
/// a thread that sleeps on is woken, once the other has ended.
fn threads_that_a_client_wakes(interest: u32) -> usize {
    const WAKER: usize = 9;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut queues = [0, 1].map(|_| queue_with(&listener, interest));
    let wakers = [0, 1].map(|i| Waker::new(queues[i].registry(), WAKER).unwrap());
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for queue in &mut queues {
            let tell = tell.clone();
            spawn_asleep(scope, move || tell.send(await_events(queue)).unwrap());
        }
        drop(tell);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let first = told.recv().unwrap();
        wakers.iter().for_each(|waker| waker.wake().unwrap());
        let second = told.recv().unwrap();
        let reports = [first, second].concat();
        reports
            .iter()
            .filter(|event| event.token() != WAKER)
            .count()
    })
}

#[test]
fn one_client_wakes_every_thread_without_exclusive_and_one_with_it() {
    assert_eq!(threads_that_a_client_wakes(EPOLLIN), 2);
    assert_eq!(threads_that_a_client_wakes(EPOLLIN | EPOLLEXCLUSIVE), 1);
}

#[test]
fn exclusive_does_not_balance_between_two_idle_instances() {
    const CONNECTIONS: usize = 10;
    const STOP: usize = 2;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (tell, told) = mpsc::channel();
    let (mut stats, mut wakers) = (Vec::new(), Vec::new()); // A waker has to outlive the loop.
    thread::scope(|scope| {
        for worker in 0..2 {
            let (tell, listener) = (tell.clone(), &listener);
            let (tell_stat, told_stat) = mpsc::channel();
            let mut poll = queue_with(listener, EPOLLIN | EPOLLEXCLUSIVE);
            wakers.push(Waker::new(poll.registry(), STOP).unwrap());
            scope.spawn(move || {
                tell_stat.send(stat()).unwrap();
                while await_events(&mut poll)[0].token() != STOP {
                    tell.send((worker, listener.accept().is_ok())).unwrap();
                }
            });
            stats.push(told_stat.recv().unwrap());
        }
        let mut woken = Vec::new();
        for _ in 0..CONNECTIONS {
            stats.iter().for_each(|stat| await_state(stat, 'S'));
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            woken.push(told.recv_timeout(LONG).unwrap());
        }
        stats.iter().for_each(|stat| await_state(stat, 'S'));
        woken.extend(told.try_iter());
        wakers.iter().for_each(|waker| waker.wake().unwrap());
        let (worker, _) = woken[0];
        assert_eq!(woken, [(worker, true); CONNECTIONS], "always the same");
    });
}

#[test]
fn a_close_wakes_every_thread_with_exclusive_too() {
    let (ours, theirs) = unix_pair();
    let polls: Vec<Poll> = (0..3)
        .map(|_| queue_with(&ours, EPOLLIN | EPOLLEXCLUSIVE))
        .collect();
    thread::scope(|scope| {
        let sleepers: Vec<_> = polls
            .into_iter()
            .map(|mut poll| spawn_asleep(scope, move || await_events(&mut poll).len()))
            .collect();
        drop(theirs);
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), 1);
        }
    });
}

#[test]
fn exclusive_goes_with_in_out_err_hup_and_edge_but_not_with_rdhup_pri_or_one_shot() {
    let (ours, _theirs) = unix_pair();
    let poll = Poll::new().unwrap();
    for refused in [Interest::READABLE, Interest::PRIORITY, Interest::ONESHOT] {
        let error = poll
            .registry()
            .register(&ours, 1, refused | EPOLLEXCLUSIVE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{refused:?}");
    }
    let taken = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLET | EPOLLEXCLUSIVE;
    poll.registry().register(&ours, 1, taken).unwrap();
    for changed in [taken, EPOLLIN] {
        let error = poll.registry().reregister(&ours, 1, changed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "it stays as it is");
    }
}

#[test]
fn a_queue_as_an_exclusive_source_is_einval() {
    let (outer, inner) = (Poll::new().unwrap(), Poll::new().unwrap());
    let exclusive = EPOLLIN | EPOLLEXCLUSIVE;
    assert_eq!(
        os_code(outer.registry().register(&inner, 1, exclusive)),
        EINVAL
    );
}

#[test]
fn an_exclusive_source_is_reported_by_an_instance_registered_before_the_one_that_sleeps() {
    let (ours, mut theirs) = unix_pair();
    let interest = EPOLLIN | EPOLLEXCLUSIVE;
    let [mut busy, mut idle] = [(); 2].map(|()| queue_with(&ours, interest));
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut idle)[0].bits());
        theirs.write_all(b"a").unwrap();
        assert_eq!(sleeper.join().unwrap(), EPOLLIN);
    });
    assert_eq!(ready_bits(&mut busy), EPOLLIN);
}
