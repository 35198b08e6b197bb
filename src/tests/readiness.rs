//! Which bits say what about a stream, and what they do not promise.

use super::common::*;
use crate::Interest;
use crate::ffi::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use std::ffi::c_void;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const ALL: u32 = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;

#[test]
fn writable_goes_away_when_the_send_buffer_is_full_and_comes_back_when_the_peer_reads() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::WRITABLE);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
    let sent = fill(&mut ours);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(drain(&mut theirs), sent);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
}

/// The kernel reports a TCP socket as writable when a third of its send buffer is free: a write can
/// succeed earlier, but a loop that waits for the report does not wake for every few bytes.
#[test]
fn a_full_tcp_socket_takes_a_byte_before_it_is_reported_as_writable_again() {
    let (mut ours, mut theirs) = tcp_pair();
    let mut poll = queue_with(&ours, Interest::WRITABLE);
    until("buffers that stay full", || fill(&mut ours) == 0);
    assert_eq!(ready_bits(&mut poll), 0);
    let mut buffer = [0; 1024];
    until("a write that succeeds", || {
        theirs.read_exact(&mut buffer).unwrap();
        let reported = ready_bits(&mut poll);
        let written = ours.write(b"x").is_ok();
        assert_eq!(reported, 0, "not yet");
        written
    });
    until("the report", || {
        drain(&mut theirs);
        ready_bits(&mut poll) == EPOLLOUT
    });
}

#[test]
fn a_readable_source_can_answer_would_block() {
    let (mut ours, mut theirs) = unix_pair();
    let mut other_thread = ours.try_clone().unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    theirs.write_all(b"a").unwrap();
    assert!(ready_now(&mut poll)[0].is_readable());
    assert_eq!(drain(&mut other_thread), 1);
    let read = ours.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
}

#[test]
fn bytes_in_a_buf_reader_are_not_reported() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::READABLE);
    let mut lines = BufReader::new(ours);
    theirs.write_all(b"one\ntwo\n").unwrap();
    assert!(ready_now(&mut poll)[0].is_readable());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    assert_eq!(ready_bits(&mut poll), 0, "though a line is left");
    assert_eq!(lines.buffer(), b"two\n");
}

#[test]
fn an_interest_of_zero_still_reports_a_hang_up_and_an_error() {
    let (ours, theirs) = unix_pair();
    let mut poll = queue_with(&ours, 0);
    drop(theirs);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
    let (reader, writer) = pipe();
    let mut poll = queue_with(&writer, 0);
    drop(reader);
    assert_eq!(ready_bits(&mut poll), EPOLLERR);
}

/// Starts a connect that does not block.
fn connect(socket: &TcpStream, address: SocketAddr) {
    let sockaddr = sockaddr_in(address);
    // SAFETY: the address is 16 bytes long.
    unsafe { c::connect(socket.as_raw_fd(), sockaddr.as_ptr() as *const c_void, 16) };
}

#[test]
fn a_non_blocking_connect_is_writable_when_it_is_established() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = tcp_socket();
    connect(&socket, listener.local_addr().unwrap());
    let event = await_events(&mut queue_with(&socket, Interest::WRITABLE))[0];
    assert_eq!(event.bits(), EPOLLOUT);
    assert!(socket.take_error().unwrap().is_none());
    assert_eq!(socket.peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[test]
fn a_refused_non_blocking_connect_is_writable_with_an_error() {
    let silent = refusing_listener();
    let socket = tcp_socket();
    connect(&socket, silent.local_addr().unwrap());
    let event = await_events(&mut queue_with(&socket, Interest::WRITABLE))[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLERR | EPOLLHUP);
    let error = socket.take_error().unwrap().expect("SO_ERROR is set");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_socket_reported_as_hung_up_before_its_connect_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = tcp_socket();
    let event = ready_now(&mut queue_with(&socket, EPOLLOUT))[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLHUP);
    assert!(event.is_writable() && event.is_read_closed() && event.is_write_closed());
    connect(&socket, listener.local_addr().unwrap());
    await_bits(&socket, EPOLLOUT);
    (&socket).write_all(b"a").unwrap();
}

#[test]
fn a_listener_that_waits_for_connections_has_no_hang_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let interest = Interest::READABLE | Interest::WRITABLE;
    assert_eq!(ready_bits(&mut queue_with(&listener, interest)), 0);
}

#[test]
fn after_rdhup_data_can_be_read_and_written() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"last").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    await_bits(&ours, EPOLLRDHUP);
    let event = ready_now(&mut queue_with(&ours, ALL))[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    assert!(event.is_read_closed() && !event.is_write_closed());
    assert_eq!(drain(&mut ours), 4);
    ours.write_all(b"answer").unwrap();
    await_bits(&theirs, EPOLLIN);
    assert_eq!(drain(&mut theirs), 6);
}

#[test]
fn without_rdhup_in_the_interest_a_half_close_is_just_readable() {
    let (mut ours, theirs) = tcp_pair();
    theirs.shutdown(Shutdown::Write).unwrap();
    let event = await_events(&mut queue_with(&ours, EPOLLIN))[0];
    assert_eq!(event.bits(), EPOLLIN);
    assert!(!event.is_read_closed());
    assert_eq!(ours.read(&mut [0]).unwrap(), 0, "the read tells");
}

#[test]
fn rdhup_is_also_our_own_shutdown_and_bytes_can_be_read_after_it() {
    let (mut ours, mut theirs) = tcp_pair();
    ours.shutdown(Shutdown::Read).unwrap();
    let event = ready_now(&mut queue_with(&ours, Interest::READABLE))[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLRDHUP);
    assert!(event.is_read_closed());
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    theirs.write_all(b"late").unwrap();
    let mut received = 0;
    until("the bytes arrive", || {
        received += drain(&mut ours);
        received == 4
    });
}

#[test]
fn both_directions_shut_down_give_hup() {
    let (ours, theirs) = tcp_pair();
    ours.shutdown(Shutdown::Write).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    await_bits(&ours, EPOLLHUP);
    let event = await_events(&mut queue_with(&ours, ALL))[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
    assert!(event.is_read_closed() && event.is_write_closed() && !event.is_error());
}

#[test]
fn the_bits_of_a_closed_unix_stream_depend_on_the_interest() {
    let (ours, theirs) = unix_pair();
    drop(theirs);
    for (interest, expected) in [
        (EPOLLIN | EPOLLRDHUP, EPOLLIN | EPOLLRDHUP | EPOLLHUP),
        (EPOLLIN, EPOLLIN | EPOLLHUP),
        (EPOLLOUT, EPOLLOUT | EPOLLHUP),
        (0, EPOLLHUP),
    ] {
        assert_eq!(ready_bits(&mut queue_with(&ours, interest)), expected);
    }
}

/// So `while let Ok(count) = ours.read(..)` does not end.
#[test]
fn a_read_at_the_end_of_file_returns_zero_again_and_again() {
    let (mut ours, theirs) = unix_pair();
    drop(theirs);
    for _ in 0..3 {
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_reset_gives_err_and_take_error_says_why() {
    let (mut ours, theirs) = tcp_pair();
    ours.write_all(b"never read").unwrap();
    await_bits(&theirs, EPOLLIN);
    drop(theirs); // Closed with something unread: the kernel sends a reset.
    let event = await_events(&mut queue_with(&ours, Interest::READABLE))[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
    assert!(event.is_error() && event.is_read_closed() && event.is_write_closed());
    let error = ours.take_error().unwrap().expect("SO_ERROR is set");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(ours.take_error().unwrap().is_none(), "asking takes it");
}

#[test]
fn data_that_came_before_a_reset_is_read_before_the_error() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"last words").unwrap();
    await_bits(&ours, EPOLLIN);
    reset(theirs);
    await_bits(&ours, EPOLLERR);
    let event = ready_now(&mut queue_with(&ours, Interest::READABLE))[0];
    assert!(event.is_readable() && event.is_error());
    let mut buffer = [0; 100];
    assert_eq!(ours.read(&mut buffer).unwrap(), 10);
    let error = ours.read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(
        ours.read(&mut buffer).unwrap(),
        0,
        "the error is returned once"
    );
}

#[test]
fn a_reset_after_end_of_file_reads_zero_bytes_and_is_reported_again() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"bye").unwrap();
    drop(theirs);
    await_bits(&ours, EPOLLRDHUP);
    ours.write_all(b"late").unwrap(); // The peer answers with a reset.
    await_bits(&ours, EPOLLERR | EPOLLHUP);
    let mut poll = queue_with(&ours, Interest::READABLE);
    assert_eq!(drain(&mut ours), 3, "and then 0 bytes");
    for _ in 0..2 {
        assert_eq!(
            ready_bits(&mut poll),
            EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP
        );
        assert_eq!(ours.read(&mut [0]).unwrap(), 0, "no error");
    }
}

#[test]
fn data_that_came_before_a_reset_is_read_after_take_error() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"bye").unwrap();
    await_bits(&ours, EPOLLIN);
    reset(theirs);
    await_bits(&ours, EPOLLERR);
    assert!(ours.take_error().unwrap().is_some());
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 3);
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn data_that_came_before_a_reset_is_read_after_a_write_has_taken_the_error() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"bye").unwrap();
    await_bits(&ours, EPOLLIN);
    reset(theirs);
    await_bits(&ours, EPOLLERR);
    let error = ours.write(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(ours.take_error().unwrap().is_none());
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 3);
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
}

const MSG_OOB: i32 = 1;

/// Sends one byte out of band.
fn send_urgent(socket: &TcpStream, byte: u8) {
    let byte = [byte];
    // SAFETY: one byte is there.
    let sent = unsafe { c::send(socket.as_raw_fd(), byte.as_ptr().cast(), 1, MSG_OOB) };
    assert_eq!(sent, 1);
}

/// Receives the byte that was sent out of band.
fn receive_urgent(socket: &TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    // SAFETY: there is room for one byte.
    match unsafe { c::recv(socket.as_raw_fd(), byte.as_mut_ptr().cast(), 1, MSG_OOB) } {
        1 => Ok(byte[0]),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn priority_data_counts_as_readable_and_a_plain_read_would_block() {
    let (mut ours, theirs) = tcp_pair();
    send_urgent(&theirs, b'!');
    let event = await_events(&mut queue_with(&ours, Interest::PRIORITY))[0];
    assert_eq!(event.bits(), EPOLLPRI);
    assert!(event.is_readable() && event.is_priority());
    assert_eq!(receive_urgent(&ours).unwrap(), b'!');
    let read = ours.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_plain_read_loses_the_out_of_band_byte_even_if_it_would_block() {
    let (mut ours, mut theirs) = tcp_pair();
    send_urgent(&theirs, b'!');
    await_bits(&ours, EPOLLPRI);
    let read = ours.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
    let urgent = receive_urgent(&ours).unwrap_err();
    assert_eq!(urgent.kind(), ErrorKind::InvalidInput);
    send_urgent(&theirs, b'!');
    await_bits(&ours, EPOLLPRI);
    theirs.write_all(b"after").unwrap();
    await_bits(&ours, EPOLLIN);
    assert_eq!(drain(&mut ours), 5, "the bytes behind it");
    assert!(receive_urgent(&ours).is_err());
}

#[test]
fn a_short_read_of_tcp_can_end_at_an_out_of_band_byte() {
    let (mut ours, mut theirs) = tcp_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
    theirs.write_all(b"one").unwrap();
    await_events(&mut poll);
    send_urgent(&theirs, b'!');
    await_events(&mut poll);
    theirs.write_all(b"two").unwrap();
    await_events(&mut poll);
    until("no more edges", || ready_bits(&mut poll) == 0);
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 3, "a short read");
    assert_eq!(ready_bits(&mut poll), 0, "no second event");
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 3);
}

#[test]
fn so_oobinline_leaves_the_out_of_band_byte_in_the_stream() {
    const SO_OOBINLINE: i32 = 10;
    let (mut ours, theirs) = tcp_pair();
    set_socket_option(&ours, SO_OOBINLINE, &[1]);
    send_urgent(&theirs, b'!');
    await_bits(&ours, EPOLLIN);
    let mut byte = [0];
    ours.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
}
