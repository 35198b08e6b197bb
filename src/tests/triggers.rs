//! When a source is reported again: level-triggered, edge-triggered, one-shot.

use super::common::*;
use crate::Interest;
use crate::ffi::{EPOLLET, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLRDHUP};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

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
fn a_level_triggered_write_interest_ends_every_sleep() {
    let (ours, _theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::WRITABLE);
    for _ in 0..3 {
        assert_eq!(ready_bits(&mut poll), EPOLLOUT, "and nothing to read");
    }
    poll.registry()
        .reregister(&ours, 1, Interest::READABLE)
        .unwrap();
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
fn an_edge_triggered_event_carries_all_that_is_ready_not_only_what_is_new() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLOUT | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLOUT);
}

#[test]
fn an_edge_triggered_listener_reports_two_connections_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut counter = queue_with(&listener, EPOLLIN | EPOLLET);
    let _clients = [(); 2].map(|()| {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(await_events(&mut counter)[0].bits(), EPOLLIN);
        client
    });
    let mut poll = queue_with(&listener, EPOLLIN | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLIN, "two connections, one event");
    listener.accept().unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "so accept until WouldBlock");
    listener.accept().expect("the second one has waited");
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
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
