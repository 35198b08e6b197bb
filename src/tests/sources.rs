//! Kinds of files that can be sources. Child processes, signals and standard input are in
//! `children.rs`.

use super::common::*;
use crate::Interest;
use crate::ffi::{EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN};
use std::ffi::{CString, c_long};
use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

/// Asserts that there is nothing before `act`, and EPOLLIN after it.
fn becomes_readable(source: &impl AsFd, act: impl FnOnce()) {
    let mut poll = queue_with(source, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    act();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
}

#[test]
fn a_tcp_stream_becomes_readable() {
    let (ours, mut theirs) = tcp_pair();
    becomes_readable(&ours, || theirs.write_all(b"a").unwrap());
}

#[test]
fn a_udp_socket_becomes_readable() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    becomes_readable(&ours, || {
        theirs.send_to(b"a", ours.local_addr().unwrap()).unwrap();
    });
}

#[test]
fn a_unix_stream_becomes_readable() {
    let (ours, mut theirs) = unix_pair();
    becomes_readable(&ours, || theirs.write_all(b"a").unwrap());
}

#[test]
fn a_unix_datagram_socket_becomes_readable() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    becomes_readable(&ours, || {
        theirs.send(b"a").unwrap();
    });
}

#[test]
fn a_pipe_becomes_readable() {
    let (reader, mut writer) = pipe();
    becomes_readable(&reader, || writer.write_all(b"a").unwrap());
}

#[test]
fn an_eventfd_becomes_readable() {
    // SAFETY: no pointer.
    let eventfd = owned_fd(unsafe { crate::ffi::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) });
    let eventfd = File::from(eventfd);
    becomes_readable(&eventfd, || {
        (&eventfd).write_all(&3_u64.to_ne_bytes()).unwrap()
    });
    let mut counter = [0; 8];
    (&eventfd).read_exact(&mut counter).unwrap();
    assert_eq!(u64::from_ne_bytes(counter), 3);
}

#[test]
fn a_timerfd_becomes_readable() {
    const CLOCK_MONOTONIC: i32 = 1;
    // SAFETY: no pointer.
    let timer = owned_fd(unsafe { c::timerfd_create(CLOCK_MONOTONIC, CLOEXEC) });
    becomes_readable(&timer, || {
        let once_in_a_millisecond: [c_long; 4] = [0, 0, 0, 1_000_000];
        let new = once_in_a_millisecond.as_ptr();
        // SAFETY: `new` is a `struct itimerspec`; the old one is not asked for.
        let set = unsafe { c::timerfd_settime(timer.as_raw_fd(), 0, new, std::ptr::null_mut()) };
        assert_eq!(set, 0);
    });
    let mut expirations = [0; 8];
    File::from(timer).read_exact(&mut expirations).unwrap();
    assert_eq!(u64::from_ne_bytes(expirations), 1);
}

#[test]
fn an_inotify_watch_becomes_readable() {
    const IN_CREATE: u32 = 0x100;
    let directory = std::env::temp_dir().join(format!("epollet-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
    // SAFETY: no pointer; then a path that ends in a zero byte.
    let inotify = owned_fd(unsafe { c::inotify_init1(CLOEXEC) });
    assert!(unsafe { c::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), IN_CREATE) } >= 0);
    becomes_readable(&inotify, || {
        File::create(directory.join("new")).unwrap();
    });
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_terminal_becomes_readable() {
    let (mut keyboard, terminal) = pseudoterminal();
    // A terminal hands over whole lines.
    becomes_readable(&terminal, || keyboard.write_all(b"hello\n").unwrap());
}
