//! What causes a new edge, by kind of source: the rows of a table in the guide.
//!
//! A test is a row of the table; a call of `cell` is a cell of it. Each source is registered with
//! `READABLE | WRITABLE | EDGE`.

use super::common::*;
use crate::ffi::{
    self, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
};
use crate::{Events, Interest, Poll};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::raw::{c_int, c_long, c_uint};
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

// The columns of the table.
const NEW_INPUT: &str = "new input while old is unread";
const PARTIAL_READ: &str = "we read a part";
const READ_LETS_MORE_IN: &str = "we read a part, and more was waiting for room";
const OUR_WRITE: &str = "we write";
const PEER_READS: &str = "the peer reads a little";
const PEER_DRAINS: &str = "the peer drains our full buffer";

const NONE: u32 = 0;
const IN: u32 = EPOLLIN;
const OUT: u32 = EPOLLOUT;

/// Registers `source` and takes the first report, which tells what was ready before. Then acts and
/// compares what the next poll reports.
#[track_caller]
fn cell(column: &str, source: &impl AsFd, act: impl FnOnce(), expected: u32) {
    let all = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
    let mut poll = queue_with(source, all);
    ready_now(&mut poll);
    act();
    let reported = match expected {
        NONE => ready_bits(&mut poll),
        _ => await_events(&mut poll)[0].bits(),
    };
    let (reported, expected) = (Interest::from(reported), Interest::from(expected));
    assert_eq!(reported, expected, "{column}");
}

fn write(mut sink: impl Write, bytes: &[u8]) {
    sink.write_all(bytes).unwrap();
}

fn read(mut source: impl Read, count: usize) {
    source.read_exact(&mut vec![0; count]).unwrap();
}

#[test]
fn the_read_end_of_a_pipe_has_an_edge_for_each_write() {
    let (ours, theirs) = pipe();
    write(&theirs, b"ab");
    cell(NEW_INPUT, &ours, || write(&theirs, b"c"), IN);
    cell(PARTIAL_READ, &ours, || read(&ours, 1), NONE);
}

/// Returns the number of bytes that fit in a pipe.
fn capacity(pipe: &File) -> usize {
    const F_GETPIPE_SZ: i32 = 1032;
    // SAFETY: no pointer.
    let capacity = unsafe { c::fcntl(pipe.as_raw_fd(), F_GETPIPE_SZ) };
    usize::try_from(capacity).unwrap()
}

#[test]
fn a_pipe_has_no_edge_while_its_writer_sleeps_in_one_large_write() {
    let (ours, theirs) = pipe();
    let capacity = capacity(&ours);
    let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let mut theirs = File::options().write(true).open(path).unwrap(); // This one is blocking.
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        tell.send(stat()).unwrap();
        theirs.write_all(&vec![0; capacity * 2])
    });
    let writer = told.recv().unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    await_state(&writer, 'S');
    ready_now(&mut poll);
    read(&ours, capacity / 2);
    await_state(&writer, 'S');
    assert_eq!(ready_bits(&mut poll), 0, "the pipe is full again");
    read(&ours, capacity);
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
}

#[test]
fn the_write_end_of_a_pipe_has_an_edge_when_a_full_pipe_gets_room() {
    let (theirs, ours) = pipe();
    cell(OUR_WRITE, &ours, || write(&ours, b"ab"), NONE);
    cell(PEER_READS, &ours, || read(&theirs, 1), NONE);
    drain(&mut &theirs);
    fill(&mut &ours);
    let page = capacity(&ours) / 16; // A pipe has 16 pages.
    let read_almost_a_page = || read(&theirs, page - 1);
    cell(
        "the first page is not free",
        &ours,
        read_almost_a_page,
        NONE,
    );
    cell("it is free", &ours, || read(&theirs, 1), OUT);
    fill(&mut &ours);
    let drain_theirs = || assert!(drain(&mut &theirs) > 0);
    cell(PEER_DRAINS, &ours, drain_theirs, OUT);
}

#[test]
fn a_tcp_stream_has_an_edge_for_input_and_when_a_full_buffer_gets_room() {
    let (ours, theirs) = tcp_pair();
    write(&theirs, b"ab");
    await_bits(&ours, IN);
    cell(NEW_INPUT, &ours, || write(&theirs, b"c"), IN | OUT);
    cell(PARTIAL_READ, &ours, || read(&ours, 1), NONE);
    let write_until_it_arrives = || {
        write(&ours, b"ab");
        await_bits(&theirs, IN);
    };
    cell(OUR_WRITE, &ours, write_until_it_arrives, NONE);
    cell(PEER_READS, &ours, || read(&theirs, 1), NONE);
    fill(&mut &ours);
    // The buffers hold more than one drain finds: TCP moves the rest on while the peer reads.
    let drain_theirs = || while drain(&mut &theirs) > 0 {};
    cell(PEER_DRAINS, &ours, drain_theirs, IN | OUT);
    let filled = fill(&mut &theirs);
    let read_half = || read(&ours, filled / 2);
    cell(READ_LETS_MORE_IN, &ours, read_half, IN | OUT);
}

/// Returns the number of bytes that a socket's send buffer holds, and how many it may hold, as the
/// kernel counts them.
fn send_buffer(stream: &TcpStream) -> (u32, u32) {
    const SOL_SOCKET: c_int = 1;
    const SO_MEMINFO: c_int = 55;
    let (fd, mut counts) = (stream.as_raw_fd(), [0_u32; 9]);
    let (out, mut len) = (counts.as_mut_ptr().cast(), size_of_val(&counts) as c_uint);
    // SAFETY: the kernel writes at most `len` bytes.
    let found = unsafe { c::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, out, &mut len) };
    assert_eq!(found, 0);
    (counts[5], counts[3]) // SK_MEMINFO_WMEM_QUEUED, SK_MEMINFO_SNDBUF
}

/// Writes until more than four fifths of the send buffer are used. No write is short.
fn fill_in_whole_writes(mut stream: &TcpStream) -> usize {
    let mut total = 0;
    loop {
        let (used, size) = send_buffer(stream);
        if used > size / 5 * 4 {
            return total;
        }
        assert_eq!(stream.write(&[0; 1024]).unwrap(), 1024);
        total += 1024;
    }
}

/// Compares what is reported after `fill_buffer`, which returns the number of bytes, when the peer
/// has read them all.
#[track_caller]
fn room_after(fill_buffer: impl FnOnce(&TcpStream) -> usize, expected: u32) {
    const SO_SNDBUF: i32 = 7;
    let (ours, mut theirs) = tcp_pair();
    set_socket_option(&ours, SO_SNDBUF, &[200_000]); // From now on, its size is fixed.
    let fill_and_have_it_drained = || {
        let mut left = fill_buffer(&ours);
        until("all is confirmed", || {
            left -= drain(&mut theirs);
            left == 0 && send_buffer(&ours).0 == 0
        });
    };
    cell(PEER_DRAINS, &ours, fill_and_have_it_drained, expected);
}

/// A write that finds too little room makes TCP report that there is room again.
#[test]
fn tcp_has_an_edge_for_room_only_after_a_write_that_was_short_or_would_block() {
    const MUCH: usize = 10_000_000; // more than the buffers hold
    let one_short_write = |mut stream: &TcpStream| {
        let written = stream.write(&vec![0; MUCH]).unwrap();
        assert!(written < MUCH);
        written
    };
    room_after(fill_in_whole_writes, NONE);
    room_after(one_short_write, OUT);
    room_after(|mut stream| fill(&mut stream), OUT);
}

/// The writes are whole here: what finds too little room is not a write.
#[test]
fn tcp_has_an_edge_for_room_after_a_register_or_a_report_that_found_too_little() {
    const SO_SNDBUF: i32 = 7;
    for registered_when_full in [true, false] {
        let (ours, mut theirs) = tcp_pair();
        set_socket_option(&ours, SO_SNDBUF, &[200_000]);
        let mut poll = queue_with(&ours, IN | OUT | EPOLLET);
        ready_now(&mut poll);
        let mut left = 0;
        // Until the peer's buffer is full too, some bytes move on, which makes room.
        until("there is too little room", || {
            left += fill_in_whole_writes(&ours);
            if registered_when_full {
                poll = queue_with(&ours, IN | OUT | EPOLLET);
                ready_bits(&mut poll) == NONE
            } else {
                write(&theirs, b"a");
                await_events(&mut poll)[0].bits() == IN
            }
        });
        until("all is confirmed", || {
            left -= drain(&mut theirs);
            left == 0 && send_buffer(&ours).0 == 0
        });
        assert_eq!(await_events(&mut poll)[0].bits() & OUT, OUT);
    }
}

#[test]
fn a_unix_stream_has_an_edge_for_input_and_when_the_peer_has_read_a_whole_write() {
    let (ours, theirs) = unix_pair();
    write(&theirs, b"ab");
    cell(NEW_INPUT, &ours, || write(&theirs, b"c"), IN | OUT);
    cell(PARTIAL_READ, &ours, || read(&ours, 1), NONE);
    cell(OUR_WRITE, &ours, || write(&ours, b"ab"), NONE);
    cell(PEER_READS, &ours, || read(&theirs, 1), NONE);
    cell(
        "the peer reads the rest",
        &ours,
        || read(&theirs, 1),
        IN | OUT,
    );
    let filled = fill(&mut &ours);
    cell("it reads half", &ours, || read(&theirs, filled / 2), NONE);
    let drain_theirs = || assert!(drain(&mut &theirs) > 0);
    cell(PEER_DRAINS, &ours, drain_theirs, IN | OUT);
}

#[test]
fn a_udp_socket_has_an_edge_for_each_datagram_in_or_out() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let send = |from: &UdpSocket| assert_eq!(from.send(b"a").unwrap(), 1);
    let receive = |at: &UdpSocket| assert_eq!(at.recv(&mut [0]).unwrap(), 1);
    send(&theirs);
    await_bits(&ours, IN);
    cell(NEW_INPUT, &ours, || send(&theirs), IN | OUT);
    cell(PARTIAL_READ, &ours, || receive(&ours), NONE);
    cell(OUR_WRITE, &ours, || send(&ours), IN | OUT);
    cell(PEER_READS, &ours, || receive(&theirs), NONE);
}

#[test]
fn a_listener_has_an_edge_for_each_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut clients = vec![connect()];
    await_bits(&listener, IN);
    cell(NEW_INPUT, &listener, || clients.push(connect()), IN);
    let accept_one = || drop(listener.accept().unwrap());
    cell(PARTIAL_READ, &listener, accept_one, NONE);
}

#[test]
fn a_terminal_has_an_edge_for_each_line_and_when_its_output_moves() {
    let (theirs, ours) = pseudoterminal();
    write(&theirs, b"one\n"); // A terminal becomes readable when a line is complete.
    await_bits(&ours, IN);
    cell(NEW_INPUT, &ours, || write(&theirs, b"two\n"), IN | OUT);
    cell(PARTIAL_READ, &ours, || read(&ours, 1), NONE);
    drain(&mut &theirs);
    let type_half_a_line = || {
        write(&theirs, b"half");
        await_bits(&theirs, IN); // its echo
    };
    cell("half a line", &ours, type_half_a_line, NONE);
    cell(OUR_WRITE, &ours, || write(&ours, b"ab"), IN | OUT);
    await_bits(&theirs, IN);
    cell(PEER_READS, &ours, || read(&theirs, 1), IN | OUT);
    drain(&mut &theirs);
    write(&ours, &[b'a'; 200]);
    await_bits(&theirs, IN);
    cell("the peer leaves 199", &ours, || read(&theirs, 1), NONE);
    cell("the peer leaves 99", &ours, || read(&theirs, 100), IN | OUT);
    fill(&mut &ours);
    let drain_theirs = || while drain(&mut &theirs) > 0 {};
    cell(PEER_DRAINS, &ours, drain_theirs, IN | OUT);
}

#[test]
fn a_pseudoterminal_master_has_an_edge_for_output_and_when_its_input_moves() {
    let (ours, theirs) = pseudoterminal();
    write(&theirs, b"one");
    await_bits(&ours, IN);
    cell(NEW_INPUT, &ours, || write(&theirs, b"two"), IN | OUT);
    cell(PARTIAL_READ, &ours, || read(&ours, 1), NONE);
    cell(OUR_WRITE, &ours, || write(&ours, b"ab\n"), IN | OUT);
    await_bits(&theirs, IN);
    cell(PEER_READS, &ours, || read(&theirs, 1), IN | OUT);
    while (&ours).write(b"a line\n").is_ok() {}
    let drain_theirs = || while drain(&mut &theirs) > 0 {};
    cell(PEER_DRAINS, &ours, drain_theirs, IN | OUT);
    fill(&mut &theirs);
    let read_what_fits = || read(&ours, 4000);
    cell(READ_LETS_MORE_IN, &ours, read_what_fits, IN | OUT);
}

fn eventfd(flags: i32) -> File {
    let flags = flags | EFD_CLOEXEC | EFD_NONBLOCK;
    // SAFETY: no pointer.
    File::from(owned_fd(unsafe { ffi::eventfd(0, flags) }))
}

const EFD_SEMAPHORE: i32 = 1; // A read takes 1 from the counter, not all of it.

#[test]
fn an_eventfd_has_an_edge_for_each_write_and_each_read() {
    let two = 2_u64.to_ne_bytes();
    for (flags, after_a_read) in [(0, OUT), (EFD_SEMAPHORE, IN | OUT)] {
        let ours = eventfd(flags);
        write(&ours, &two);
        cell(NEW_INPUT, &ours, || write(&ours, &two), IN | OUT);
        cell(PARTIAL_READ, &ours, || read(&ours, 8), after_a_read);
    }
}

/// The read is an edge for `OUT`, and its report carries `IN` too.
#[test]
fn a_read_of_an_eventfd_is_an_edge_only_for_an_interest_in_out() {
    let input = Interest::READABLE | Interest::EDGE;
    for (interest, after_a_read) in [(input, NONE), (input | Interest::WRITABLE, IN | OUT)] {
        let ours = eventfd(EFD_SEMAPHORE);
        write(&ours, &3_u64.to_ne_bytes());
        let mut poll = queue_with(&ours, interest);
        assert_eq!(ready_bits(&mut poll) & IN, IN);
        read(&ours, 8);
        assert_eq!(ready_bits(&mut poll), after_a_read, "2 are left");
    }
}

/// Returns a timer that expires in a millisecond, and then again after each `interval`.
fn timer(interval: c_long) -> File {
    const CLOCK_MONOTONIC: i32 = 1;
    const TFD_NONBLOCK_CLOEXEC: i32 = 0o2004000;
    // SAFETY: no pointer.
    let timer = owned_fd(unsafe { c::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK_CLOEXEC) });
    let timer = File::from(timer);
    start(&timer, interval);
    await_bits(&timer, IN);
    timer
}

fn start(timer: &File, interval: c_long) {
    let new = [0, interval, 0, 1_000_000];
    // SAFETY: `new` is a `struct itimerspec`; the old one is not asked for.
    let set = unsafe { c::timerfd_settime(timer.as_raw_fd(), 0, new.as_ptr(), ptr::null_mut()) };
    assert_eq!(set, 0);
}

#[test]
fn a_timer_that_expires_once_has_an_edge_for_each_start() {
    let timer = timer(0);
    cell("started again", &timer, || start(&timer, 0), IN);
}

#[test]
fn a_periodic_timer_that_nobody_reads_has_no_second_edge() {
    let mut timer = timer(1_000_000);
    // A second timer, started later, shows that the first has expired several times since.
    let expire_again = || drop(self::timer(0));
    cell(NEW_INPUT, &timer, expire_again, NONE);
    let mut expirations = [0; 8];
    timer.read_exact(&mut expirations).unwrap();
    assert!(
        u64::from_ne_bytes(expirations) >= 2,
        "the counter counts on"
    );
    await_bits(&timer, IN);
    cell("read", &timer, || read(&timer, 8), IN);
    await_bits(&timer, IN);
    let ask_for_the_remaining_time = || {
        let mut current = [0; 4];
        // SAFETY: the kernel writes a `struct itimerspec`.
        let asked = unsafe { c::timerfd_gettime(timer.as_raw_fd(), current.as_mut_ptr()) };
        assert_eq!(asked, 0);
    };
    cell("asked", &timer, ask_for_the_remaining_time, IN);
}

#[test]
fn an_epoll_instance_has_an_edge_for_each_edge_of_its_sources() {
    let ((a, to_a), (b, to_b)) = (unix_pair(), unix_pair());
    let inner = RefCell::new(Poll::new().unwrap());
    for (source, token) in [(&a, 1), (&b, 2)] {
        let inner = inner.borrow();
        inner.registry().register(source, token, IN).unwrap();
    }
    let ours = inner.borrow().registry().try_clone().unwrap();
    write(&to_a, b"a");
    cell(NEW_INPUT, &ours, || write(&to_a, b"a"), IN);
    cell("another source", &ours, || write(&to_b, b"a"), IN);
    let poll_for_one_of_two = || {
        let mut events = Events::with_capacity(1);
        let zero = Some(Duration::ZERO);
        inner.borrow_mut().poll(&mut events, zero).unwrap();
        assert_eq!(events.len(), 1);
    };
    cell(PARTIAL_READ, &ours, poll_for_one_of_two, NONE);
}

#[test]
fn the_end_of_the_input_is_an_edge() {
    const END: &str = "the peer closes";
    let (ours, theirs) = pipe();
    cell(END, &ours, || drop(theirs), EPOLLHUP);
    let (theirs, ours) = pipe();
    cell(END, &ours, || drop(theirs), OUT | ffi::EPOLLERR);
    let (ours, theirs) = tcp_pair();
    cell(END, &ours, || drop(theirs), IN | OUT | EPOLLRDHUP);
    let (ours, theirs) = unix_pair();
    let all = IN | OUT | EPOLLRDHUP;
    let half_close = || theirs.shutdown(Shutdown::Write).unwrap();
    cell("the peer half-closes", &ours, half_close, all);
    cell(END, &ours, || drop(theirs), all | EPOLLHUP);
}

#[test]
fn so_rcvlowat_raises_what_tcp_reports() {
    const SO_RCVLOWAT: i32 = if IS_POWER { 16 } else { 18 };
    let (ours, mut theirs) = tcp_pair();
    set_socket_option(&ours, SO_RCVLOWAT, &[10]);
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"12345").unwrap();
    let mut peeked = [0; 10];
    until("5 bytes arrive", || {
        ours.peek(&mut peeked).is_ok_and(|count| count == 5)
    });
    assert_eq!(ready_bits(&mut poll), 0);
    theirs.write_all(b"67890").unwrap();
    until("10 bytes arrive", || {
        ours.peek(&mut peeked).is_ok_and(|count| count == 10)
    });
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}
