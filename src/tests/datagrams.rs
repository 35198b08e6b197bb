//! Which bits say what about datagram sockets.

use super::common::*;
use crate::Interest;
use crate::ffi::{EPOLLERR, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

#[test]
fn a_read_of_zero_bytes_from_a_datagram_socket_is_not_the_end_of_file() {
    let (ours, theirs) = udp_pair();
    let mut poll = queue_with(&ours, Interest::READABLE);
    for datagram in [&b""[..], b"more"] {
        theirs.send(datagram).unwrap();
        assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
        assert_eq!(ours.recv(&mut [0; 10]).unwrap(), datagram.len());
    }
}

#[test]
fn a_short_read_of_a_datagram_leaves_the_next_one_unreported() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    for _ in 0..2 {
        theirs.send(b"ab").unwrap();
    }
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ours.recv(&mut [0; 100]).unwrap(), 2);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(ours.recv(&mut [0; 100]).unwrap(), 2);
}

/// The ICMP message "port unreachable" reaches a socket that is connected to that port. It does not
/// close anything: the error is taken once.
#[test]
fn an_icmp_error_is_err_on_a_connected_udp_socket() {
    let (ours, theirs) = udp_pair();
    make_unreachable(&theirs);
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
fn a_udp_socket_can_have_datagrams_after_the_error_that_a_read_returns() {
    let (ours, theirs) = udp_pair();
    theirs.send(b"a").unwrap();
    await_bits(&ours, EPOLLIN);
    make_unreachable(&theirs);
    ours.send(b"a").unwrap();
    await_bits(&ours, EPOLLERR);
    let error = ours.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 1);
}

#[test]
fn a_udp_socket_reported_as_write_closed_sends_again() {
    let (ours, theirs) = udp_pair();
    make_unreachable(&theirs);
    ours.send(b"a").unwrap();
    await_bits(&ours, EPOLLERR);
    let event = ready_now(&mut queue_with(&ours, EPOLLOUT))[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLERR);
    assert!(event.is_write_closed());
    let error = ours.send(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    ours.send(b"again").unwrap();
    await_bits(&theirs, EPOLLIN);
    assert_eq!(theirs.recv(&mut [0; 10]).unwrap(), 5);
}

/// With `IP_RECVERR`, an error is in a queue too. (So are the time stamps and the completions that a
/// socket may be asked to report.)
#[test]
fn epollerr_can_outlast_the_error_that_take_error_returns() {
    const IP_RECVERR: i32 = 11;
    let (ours, theirs) = udp_pair();
    let on = 1_i32.to_ne_bytes();
    // SAFETY: an int has 4 bytes; 0 is the level of IP.
    let set = unsafe { c::setsockopt(ours.as_raw_fd(), 0, IP_RECVERR, on.as_ptr().cast(), 4) };
    assert_eq!(set, 0);
    make_unreachable(&theirs);
    ours.send(b"a").unwrap();
    await_bits(&ours, EPOLLERR);
    assert!(ours.take_error().unwrap().is_some());
    assert!(ours.take_error().unwrap().is_none());
    assert_eq!(ready_bits(&mut queue_with(&ours, 0)), EPOLLERR);
    const MSG_ERRQUEUE: i32 = 0x2000;
    let mut datagram = [0; 10]; // the one that has caused the error
    let (buffer, len) = (datagram.as_mut_ptr().cast(), datagram.len());
    // SAFETY: the kernel writes at most `len` bytes.
    let read = unsafe { c::recv(ours.as_raw_fd(), buffer, len, MSG_ERRQUEUE) };
    assert_eq!(read, 1);
    assert_eq!(ready_bits(&mut queue_with(&ours, 0)), 0);
}

#[test]
fn a_udp_socket_that_is_not_read_loses_datagrams_and_no_call_says_so() {
    let (ours, theirs) = udp_pair();
    let datagram = [0; 1000];
    let mut sent = 0;
    while sent < 10_000 {
        assert_eq!(theirs.send(&datagram).unwrap(), 1000);
        sent += 1;
    }
    let mut received = 0;
    let end = loop {
        match ours.recv(&mut [0; 1000]) {
            Ok(_) => received += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), ErrorKind::WouldBlock);
    assert!(received > 0 && received < sent, "{received} of {sent}");
}

#[test]
fn a_udp_socket_that_is_shut_down_stays_readable_and_a_read_would_block() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(ours.local_addr().unwrap()).unwrap();
    let mut ours = TcpStream::from(OwnedFd::from(ours)); // for its `shutdown`
    ours.set_nonblocking(true).unwrap();
    ours.shutdown(Shutdown::Read).unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    for _ in 0..2 {
        assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLRDHUP);
        assert_eq!(
            ours.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
    ours.write_all(b"to itself").unwrap();
    until("the datagram", || ours.read(&mut [0; 100]).ok() == Some(9));
}

#[test]
fn an_unconnected_unix_datagram_socket_is_writable_though_its_receiver_is_full() {
    let name = format!("epollet-full-{}", std::process::id());
    let receiver = SocketAddr::from_abstract_name(name).unwrap();
    let full = UnixDatagram::bind_addr(&receiver).unwrap();
    let ours = UnixDatagram::unbound().unwrap();
    ours.set_nonblocking(true).unwrap();
    let error = (0..1_000_000).find_map(|_| ours.send_to_addr(b"a", &receiver).err());
    assert_eq!(error.unwrap().kind(), ErrorKind::WouldBlock);
    assert_eq!(ready_bits(&mut queue_with(&ours, EPOLLOUT)), EPOLLOUT);
    ours.connect_addr(&receiver).unwrap();
    assert_eq!(ready_bits(&mut queue_with(&ours, EPOLLOUT)), 0);
    full.recv(&mut [0]).unwrap();
    assert_eq!(ready_bits(&mut queue_with(&ours, EPOLLOUT)), EPOLLOUT);
}
