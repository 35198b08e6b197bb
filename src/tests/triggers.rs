//! When a source is reported again: level-triggered, edge-triggered, one-shot, exclusive.

use super::common::*;
use crate::ffi::{self, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLERR};
use crate::ffi::{EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLRDHUP};
use crate::{Interest, Poll, Waker};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

#[test]
fn level_triggered_reports_until_drained() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"ab").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    ours.read_exact(&mut [0]).unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    ours.read_exact(&mut [0]).unwrap();
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn edge_triggered_reports_a_backlog_once() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"ab").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ready_bits(&mut poll), 0);
    ours.read_exact(&mut [0]).unwrap();
    assert_eq!(
        ready_bits(&mut poll),
        0,
        "one byte is left, but nothing new has come"
    );
    assert_eq!(drain(&mut ours), 1);
}

#[test]
fn edge_triggered_reports_again_when_more_comes_before_the_drain() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    theirs.write_all(b"b").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn edges_between_two_polls_are_one_event() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    for _ in 0..10 {
        theirs.write_all(b"a").unwrap();
    }
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1]);
    assert_eq!(ready_bits(&mut poll), 0);
}

/// The two pictures in the documentation of `Poll`.
#[test]
fn level_and_edge_on_one_source_differ_as_the_documentation_draws_it() {
    let (mut ours, mut theirs) = unix_pair();
    let mut level = queue_with(&ours, EPOLLIN);
    let mut edge = queue_with(&ours, EPOLLIN | EPOLLET);
    let mut twice = || {
        let mut polls = || (ready_bits(&mut level), ready_bits(&mut edge));
        [polls(), polls()]
    };
    theirs.write_all(b"ab").unwrap();
    assert_eq!(
        twice(),
        [(EPOLLIN, EPOLLIN), (EPOLLIN, 0)],
        "2 bytes arrive"
    );
    ours.read_exact(&mut [0]).unwrap();
    assert_eq!(twice(), [(EPOLLIN, 0), (EPOLLIN, 0)], "1 is read");
    theirs.write_all(b"c").unwrap();
    assert_eq!(
        twice(),
        [(EPOLLIN, EPOLLIN), (EPOLLIN, 0)],
        "1 more arrives"
    );
    ours.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(twice(), [(0, 0), (0, 0)], "both are read");
}

#[test]
fn what_is_read_before_the_poll_is_not_reported_not_even_as_an_edge() {
    for interest in [EPOLLIN, EPOLLIN | EPOLLET] {
        let (mut ours, mut theirs) = unix_pair();
        let mut poll = queue_with(&ours, interest);
        theirs.write_all(b"a").unwrap();
        drain(&mut ours);
        assert_eq!(ready_bits(&mut poll), 0);
    }
}

/// So a waker needs no read.
#[test]
fn each_write_to_an_eventfd_is_an_edge_whether_it_is_read_or_not() {
    // SAFETY: the call takes no pointer.
    let eventfd = owned_fd(unsafe { ffi::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) });
    let mut eventfd = File::from(eventfd);
    let mut poll = queue_with(&eventfd, EPOLLIN | EPOLLET);
    for _ in 0..3 {
        eventfd.write_all(&1_u64.to_ne_bytes()).unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        assert_eq!(ready_bits(&mut poll), 0);
    }
    let mut counter = [0; 8];
    eventfd.read_exact(&mut counter).unwrap();
    assert_eq!(u64::from_ne_bytes(counter), 3);
    eventfd.write_all(&1_u64.to_ne_bytes()).unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_short_read_is_enough_for_data_under_edge() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"abc").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(
        ours.read(&mut [0; 100]).unwrap(),
        3,
        "short, so that was all"
    );
    // Nothing is left, and whatever comes from here on is a new edge.
    theirs.write_all(b"d").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_short_read_misses_the_end_of_file_that_came_with_the_data() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"abc").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    await_bits(&ours, EPOLLIN | EPOLLRDHUP);
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLRDHUP | EPOLLET);
    let event = await_events(&mut poll)[0];
    assert_eq!(
        ours.read(&mut [0; 100]).unwrap(),
        3,
        "short, but that was not all"
    );
    assert_eq!(
        ready_bits(&mut poll),
        0,
        "the end of file is not reported again"
    );
    assert!(
        event.is_read_closed(),
        "the first report has said so already"
    );
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 0);
}

#[test]
fn an_edge_triggered_listener_reports_two_connections_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let _clients = [
        TcpStream::connect(address).unwrap(),
        TcpStream::connect(address).unwrap(),
    ];
    await_bits(&listener, EPOLLIN);
    let mut poll = queue_with(&listener, EPOLLIN | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    let _first = listener.accept().unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "so accept until WouldBlock");
    let _second = listener.accept().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn one_shot_reports_once_until_reregistered() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::ONESHOT);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    theirs.write_all(b"b").unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "not even for something new");
    poll.registry()
        .reregister(&ours, 1, Interest::READABLE | Interest::ONESHOT)
        .unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn after_a_one_shot_report_not_even_a_hang_up_is_reported() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLONESHOT);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    drop(theirs);
    assert_eq!(ready_bits(&mut poll), 0);
    poll.registry()
        .reregister(&ours, 1, EPOLLIN | EPOLLONESHOT)
        .unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLHUP);
}

#[test]
fn reregistering_reports_what_is_still_there_once_more_under_edge() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ready_bits(&mut poll), 0);
    poll.registry()
        .reregister(&ours, 1, EPOLLIN | EPOLLET)
        .unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn registering_reports_what_came_before() {
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"a").unwrap();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn an_edge_triggered_event_carries_all_that_is_ready_not_only_what_is_new() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLOUT | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLOUT);
}

/// One source is registered with two queues, and a thread sleeps in `poll` of the first. Returns
/// what the second reports after the source got ready and the first has reported it.
fn second_queue_reports(interest: u32) -> u32 {
    let (ours, mut theirs) = unix_pair();
    let mut first = queue_with(&ours, interest);
    let mut second = queue_with(&ours, interest);
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut first));
        theirs.write_all(b"a").unwrap();
        assert_eq!(sorted_tokens(&sleeper.join().unwrap()), [1]);
    });
    ready_bits(&mut second)
}

#[test]
fn without_exclusive_every_queue_reports() {
    assert_eq!(second_queue_reports(EPOLLIN), EPOLLIN);
}

#[test]
fn exclusive_leaves_the_second_queue_alone_if_the_first_has_a_sleeper() {
    assert_eq!(second_queue_reports(EPOLLIN | EPOLLEXCLUSIVE), 0);
}

#[test]
fn exclusive_reports_to_every_queue_if_no_thread_sleeps() {
    let (ours, mut theirs) = unix_pair();
    let mut first = queue_with(&ours, EPOLLIN | EPOLLEXCLUSIVE);
    let mut second = queue_with(&ours, EPOLLIN | EPOLLEXCLUSIVE);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut first), EPOLLIN);
    assert_eq!(ready_bits(&mut second), EPOLLIN);
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
