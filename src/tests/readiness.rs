//! Which bits say what about a source.

use super::common::*;
use crate::ffi::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use crate::{Interest, Poll};
use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

const ALL: u32 = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;

#[test]
fn a_connected_socket_with_nothing_to_read_is_writable() {
    let (ours, _theirs) = unix_pair();
    assert_eq!(ready_bits(&mut queue_with(&ours, ALL)), EPOLLOUT);
}

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
fn writable_comes_back_as_an_edge() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::WRITABLE | Interest::EDGE);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
    assert_eq!(
        ready_bits(&mut poll),
        0,
        "still writable, but there is no new edge"
    );
    fill(&mut ours);
    drain(&mut theirs);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT);
}

#[test]
fn a_connection_that_waits_makes_a_listener_readable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut poll = queue_with(&listener, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
}

#[test]
fn a_half_close_gives_rdhup_with_data_still_to_read() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"last words").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    await_bits(&ours, EPOLLRDHUP);
    let event = await_events(&mut queue_with(&ours, ALL))[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    assert!(event.is_read_closed() && !event.is_write_closed());
    assert_eq!(drain(&mut ours), 10);
    ours.write_all(b"an answer all the same").unwrap();
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
fn a_closed_peer_of_a_socket_pair_gives_hup() {
    let (ours, theirs) = unix_pair();
    drop(theirs);
    assert_eq!(
        ready_bits(&mut queue_with(&ours, EPOLLIN)),
        EPOLLIN | EPOLLHUP
    );
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
    let event = await_events(&mut queue_with(&ours, Interest::READABLE))[0];
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
fn hang_up_and_error_are_reported_without_interest() {
    let (ours, theirs) = unix_pair();
    let mut poll = queue_with(&ours, 0);
    assert_eq!(ready_bits(&mut poll), 0);
    drop(theirs);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
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
fn a_socket_before_its_connect_is_hung_up_and_writable() {
    assert_eq!(
        ready_bits(&mut queue_with(&tcp_socket(), EPOLLIN | EPOLLOUT)),
        EPOLLOUT | EPOLLHUP
    );
}

#[test]
fn the_writer_of_a_pipe_gone_is_hup() {
    let (reader, writer) = pipe();
    let mut poll = queue_with(&reader, EPOLLIN);
    drop(writer);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
}

#[test]
fn data_in_a_pipe_whose_writer_is_gone_is_reported_with_the_hup() {
    let (mut reader, mut writer) = pipe();
    let mut poll = queue_with(&reader, EPOLLIN);
    writer.write_all(b"left behind").unwrap();
    drop(writer);
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLHUP);
    assert_eq!(drain(&mut reader), 11);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
}

#[test]
fn the_reader_of_a_pipe_gone_is_err() {
    let (reader, mut writer) = pipe();
    let mut poll = queue_with(&writer, EPOLLOUT);
    drop(reader);
    let event = ready_now(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLERR);
    assert!(event.is_write_closed());
    assert_eq!(
        writer.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}

#[test]
fn the_reader_of_a_full_pipe_gone_is_err_alone() {
    let (reader, mut writer) = pipe();
    let mut poll = queue_with(&writer, EPOLLOUT);
    fill(&mut writer);
    assert_eq!(ready_bits(&mut poll), 0);
    drop(reader);
    let event = ready_now(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLERR);
    assert!(event.is_write_closed());
}

#[test]
fn out_of_band_data_is_priority() {
    const MSG_OOB: i32 = 1;
    let (ours, theirs) = tcp_pair();
    // SAFETY: one byte is there.
    let sent = unsafe {
        c::send(
            theirs.as_raw_fd(),
            b"!".as_ptr() as *const c_void,
            1,
            MSG_OOB,
        )
    };
    assert_eq!(sent, 1);
    let event = await_events(&mut queue_with(&ours, Interest::PRIORITY))[0];
    assert_eq!(event.bits(), EPOLLPRI);
    assert!(event.is_priority() && event.is_readable());
}

#[test]
fn an_empty_datagram_is_something_to_read() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.send_to(b"", ours.local_addr().unwrap()).unwrap();
    assert_eq!(
        await_events(&mut queue_with(&ours, EPOLLIN))[0].bits(),
        EPOLLIN
    );
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 0);
}

/// The ICMP message "port unreachable" reaches a socket that is connected to that port. It does not
/// close anything: the error is taken once.
#[test]
fn an_icmp_error_is_err_on_a_connected_udp_socket() {
    // Being connected elsewhere, this socket keeps the port from others and takes no datagram.
    let unreachable = UdpSocket::bind("127.0.0.1:0").unwrap();
    unreachable.connect("127.0.0.1:9").unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(unreachable.local_addr().unwrap()).unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    ours.send(b"a").unwrap();
    let event = await_events(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLERR);
    assert!(!event.is_readable(), "so read on errors, too");
    let error = ours.recv(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn readable_and_writable_come_in_one_event() {
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"a").unwrap();
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&ours, 9, Interest::READABLE | Interest::WRITABLE)
        .unwrap();
    let events = ready_now(&mut poll);
    assert_eq!(sorted_tokens(&events), [9]);
    assert!(events[0].is_readable() && events[0].is_writable());
}
