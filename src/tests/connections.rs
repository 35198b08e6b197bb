//! What a server meets: connections that are accepted, closed, reset, half-closed, and peers that
//! vanish.

use super::common::*;
use crate::ffi::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};
use crate::{Interest, Poll};
use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread;

const IPPROTO_TCP: c_int = 6;

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

fn set_tcp_option(stream: &TcpStream, name: c_int, value: c_int) {
    let value = (&raw const value).cast();
    // SAFETY: the value is an int, which has 4 bytes.
    let set = unsafe { c::setsockopt(stream.as_raw_fd(), IPPROTO_TCP, name, value, 4) };
    assert_eq!(set, 0);
}

/// Asks an idle peer after `idle` seconds, and gives it a second to answer.
fn set_keepalive(stream: &TcpStream, idle: c_int) {
    const SO_KEEPALIVE: c_int = 9;
    const TCP_KEEPIDLE: c_int = 4;
    const TCP_KEEPINTVL: c_int = 5;
    const TCP_KEEPCNT: c_int = 6;
    set_socket_option(stream, SO_KEEPALIVE, &[1]);
    for (name, value) in [(TCP_KEEPIDLE, idle), (TCP_KEEPINTVL, 1), (TCP_KEEPCNT, 1)] {
        set_tcp_option(stream, name, value);
    }
}

/// From now on, nothing that is sent to this socket arrives, as if its cable were unplugged.
fn unplug(stream: &TcpStream) {
    const SO_ATTACH_FILTER: c_int = 26;
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const [u16; 4],
    }
    let keep_no_byte = [[6, 0, 0, 0]]; // BPF_RET | BPF_K, 0
    let program = Program {
        len: 1,
        filter: keep_no_byte.as_ptr(),
    };
    let (value, len) = (&raw const program, size_of::<Program>() as c_uint);
    // SAFETY: the kernel reads the program, which has one instruction.
    let set = unsafe { c::setsockopt(stream.as_raw_fd(), 1, SO_ATTACH_FILTER, value.cast(), len) };
    assert_eq!(set, 0);
}

/// The state of a connection as `TCP_INFO` says it: 8 is CLOSE_WAIT.
fn tcp_state(stream: &TcpStream) -> u8 {
    const TCP_INFO: c_int = 11;
    let mut state = 0_u8;
    let mut len = 1;
    // SAFETY: the kernel writes one byte.
    let found = unsafe {
        c::getsockopt(
            stream.as_raw_fd(),
            IPPROTO_TCP,
            TCP_INFO,
            (&raw mut state).cast(),
            &mut len,
        )
    };
    assert_eq!(found, 0);
    state
}

/// The number of bytes that a read would return now.
pub fn bytes_ready(source: &impl AsRawFd) -> usize {
    const FIONREAD: c_ulong = if IS_POWER { 0x4004_667F } else { 0x541B };
    let mut count = -1;
    // SAFETY: the kernel writes an int.
    assert_eq!(
        unsafe { ioctl(source.as_raw_fd(), FIONREAD, &raw mut count) },
        0
    );
    count as usize
}

/// The number of bytes that were sent and that the peer has not confirmed.
fn bytes_unconfirmed(stream: &TcpStream) -> usize {
    const SIOCOUTQ: c_ulong = if IS_POWER { 0x4004_7473 } else { 0x5411 };
    let mut count = -1;
    // SAFETY: the kernel writes an int.
    let asked = unsafe { ioctl(stream.as_raw_fd(), SIOCOUTQ, &raw mut count) };
    assert_eq!(asked, 0);
    count as usize
}

fn is_non_blocking(source: &impl AsRawFd) -> bool {
    const F_GETFL: c_int = 3;
    // SAFETY: no pointer.
    unsafe { c::fcntl(source.as_raw_fd(), F_GETFL) & NONBLOCK != 0 }
}

#[test]
fn an_accepted_connection_is_blocking_even_if_its_listener_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    await_bits(&listener, EPOLLIN);
    let (stream, _) = listener.accept().unwrap();
    assert!(is_non_blocking(&listener));
    assert!(!is_non_blocking(&stream));
}

#[test]
fn a_connection_that_is_reset_before_accept_is_accepted_and_its_read_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    await_bits(&listener, EPOLLIN);
    reset(client);
    let (mut stream, _) = listener.accept().unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_that_is_half_closed_and_reset_before_accept_reads_as_end_of_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    reset(client);
    await_bits(&listener, EPOLLIN);
    let (mut stream, _) = listener.accept().unwrap();
    await_bits(&stream, EPOLLERR);
    for _ in 0..2 {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    let error = stream.take_error().unwrap().expect("no read returns it");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn closing_a_listener_resets_the_connections_in_its_queue() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    await_bits(&listener, EPOLLIN);
    drop(listener);
    await_bits(&client, EPOLLERR);
    let error = client.take_error().unwrap().expect("SO_ERROR is set");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn an_address_is_in_use_while_a_listener_or_an_outgoing_connection_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    for taken in [address, client.local_addr().unwrap()] {
        let error = TcpListener::bind(taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }
    drop(listener);
    TcpListener::bind(address).expect("a connection of the earlier server does not matter");
    drop(accepted); // The side that closes first keeps the address, at last in TIME_WAIT.
    drop(client);
    TcpListener::bind(address).expect("and neither does TIME_WAIT");
    let (plain, address) = (tcp_socket(), sockaddr_in(address));
    // SAFETY: the address is 16 bytes long.
    let bound = unsafe { c::bind(plain.as_raw_fd(), address.as_ptr().cast(), 16) };
    assert_eq!(bound, -1, "without SO_REUSEADDR");
}

#[test]
fn a_unix_listener_leaves_its_file_behind() {
    let path = std::env::temp_dir().join(format!("epollet-file-{}", std::process::id()));
    drop(UnixListener::bind(&path).unwrap());
    let error = UnixListener::bind(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let error = UnixStream::connect(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    std::fs::remove_file(&path).unwrap();
    UnixListener::bind(&path).unwrap();
    std::fs::remove_file(path).unwrap();
}

/// Returns a non-blocking listener that shares its port. With port 0, the kernel picks one.
fn listener_that_shares(port: u16) -> TcpListener {
    const SO_REUSEPORT: c_int = 15;
    let socket = tcp_socket();
    set_socket_option(&socket, SO_REUSEPORT, &[1]);
    let address = sockaddr_in(([127, 0, 0, 1], port).into());
    // SAFETY: the address is 16 bytes long.
    unsafe {
        let bound = c::bind(socket.as_raw_fd(), address.as_ptr().cast(), 16);
        assert_eq!([bound, c::listen(socket.as_raw_fd(), 128)], [0, 0]);
    }
    TcpListener::from(OwnedFd::from(socket))
}

#[test]
fn so_reuseport_divides_the_clients_and_a_closed_listener_resets_its_own() {
    const CLIENTS: usize = 64;
    let first = listener_that_shares(0);
    let address = first.local_addr().unwrap();
    let second = listener_that_shares(address.port());
    let mut poll = Poll::new().unwrap();
    let clients = [(); CLIENTS].map(|()| TcpStream::connect(address).unwrap());
    for client in &clients {
        let only_errors = Interest::ONESHOT;
        poll.registry().register(client, 1, only_errors).unwrap();
    }
    drop(second);
    let (mut accepted, mut resets) = (0, 0);
    until("each client is accepted or reset", || {
        while first.accept().is_ok() {
            accepted += 1;
        }
        resets += ready_now(&mut poll).len();
        accepted + resets == CLIENTS
    });
    assert!(accepted > 0 && resets > 0, "{accepted}, {resets}");
}

#[test]
fn connects_beyond_the_listen_queue_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: no pointer. A second call changes the length of the queue.
    assert_eq!(unsafe { c::listen(listener.as_raw_fd(), 4) }, 0);
    let address = sockaddr_in(listener.local_addr().unwrap());
    let poll = Poll::new().unwrap();
    let clients: Vec<TcpStream> = (0..8)
        .map(|token| {
            let client = tcp_socket();
            let pointer = address.as_ptr() as *const c_void;
            // SAFETY: the address is 16 bytes long.
            unsafe { c::connect(client.as_raw_fd(), pointer, 16) };
            let interest = Interest::WRITABLE | Interest::ONESHOT;
            poll.registry().register(&client, token, interest).unwrap();
            client
        })
        .collect();
    let mut poll = poll;
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [0, 1, 2, 3, 4],
        "4 and one more"
    );
    drop(clients);
}

#[test]
fn a_unix_connect_to_a_full_listen_queue_would_block_and_no_edge_follows() {
    let path = std::env::temp_dir().join(format!("epollet-backlog-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no pointer.
    assert_eq!(unsafe { c::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect(&path).unwrap();

    let mut address = [0_u8; 110]; // struct sockaddr_un
    let bytes = path.as_os_str().as_encoded_bytes();
    address[..2].copy_from_slice(&1_u16.to_ne_bytes()); // AF_UNIX
    address[2..2 + bytes.len()].copy_from_slice(bytes);
    // SAFETY: no pointer.
    let socket = owned_fd(unsafe { c::socket(1, 1 | NONBLOCK | CLOEXEC, 0) });
    let connect = || {
        // SAFETY: the address is 110 bytes long.
        let done = unsafe { c::connect(socket.as_raw_fd(), address.as_ptr().cast(), 110) };
        match done {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    let mut poll = queue_with(&socket, EPOLLOUT | EPOLLET);
    assert_eq!(connect().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(ready_bits(&mut poll), EPOLLOUT | EPOLLHUP);
    let mut stream = UnixStream::from(socket.try_clone().unwrap());
    assert!(stream.take_error().unwrap().is_none());
    assert_eq!(
        stream.write(b"a").unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    listener.accept().unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "there is room, and no edge");
    connect().expect("so it has to be tried again");
    stream.write_all(b"a").unwrap();
    std::fs::remove_file(path).unwrap();
}

/// One test for two facts, because it takes 3 s.
#[test]
fn a_peer_that_vanished_is_not_reported_without_keepalive_or_while_data_is_not_acknowledged() {
    let pairs = [(); 4].map(|()| tcp_pair());
    let mut poll = Poll::new().unwrap();
    for (token, (ours, theirs)) in pairs.iter().enumerate() {
        unplug(theirs);
        let interest = Interest::READABLE;
        poll.registry().register(ours, token, interest).unwrap();
    }
    let [idle, written, written_with_keepalive, witness] = pairs.each_ref().map(|(ours, _)| ours);
    for mut ours in [written, written_with_keepalive] {
        ours.write_all(b"hello").expect("and nobody gets it");
    }
    set_keepalive(written_with_keepalive, 1);
    set_keepalive(witness, 2); // The others would be reported before it.
    assert_eq!(sorted_tokens(&await_events(&mut poll)), [3]);
    for silent in [idle, written, written_with_keepalive] {
        assert_eq!(tcp_state(silent), 1); // established
    }
    assert_eq!(bytes_unconfirmed(written_with_keepalive), 5);
}

#[test]
fn keepalive_reports_a_peer_that_vanished() {
    let (mut ours, theirs) = tcp_pair();
    set_keepalive(&ours, 1);
    unplug(&theirs);
    let mut poll = queue_with(&ours, Interest::READABLE);
    let event = await_events(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
    let error = ours.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

const TCP_USER_TIMEOUT: c_int = 18;

#[test]
fn tcp_user_timeout_reports_that_nobody_confirms_what_was_sent() {
    let (mut ours, theirs) = tcp_pair();
    set_tcp_option(&ours, TCP_USER_TIMEOUT, 500); // milliseconds
    unplug(&theirs);
    let mut poll = queue_with(&ours, Interest::READABLE);
    ours.write_all(b"hello").unwrap();
    assert!(await_events(&mut poll)[0].is_error());
    let error = ours.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn tcp_user_timeout_ends_a_connection_whose_peer_does_not_read() {
    let (mut ours, theirs) = tcp_pair();
    set_tcp_option(&ours, TCP_USER_TIMEOUT, 100); // milliseconds
    let mut poll = queue_with(&ours, Interest::READABLE);
    fill(&mut ours);
    assert!(await_events(&mut poll)[0].is_error());
    let error = ours.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(bytes_ready(&theirs) > 0, "which has confirmed what fits");
}

#[test]
fn closing_with_unread_input_resets_the_peer_and_loses_what_was_sent() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"a request that is not read").unwrap();
    await_bits(&ours, EPOLLIN);
    let sent = fill(&mut ours);
    drop(ours);
    await_bits(&theirs, EPOLLERR);
    let mut received = Vec::new();
    let error = theirs.read_to_end(&mut received).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(received.len() < sent);
}

#[test]
fn input_that_arrives_after_the_close_resets_the_peer_too() {
    let (mut ours, mut theirs) = tcp_pair();
    let sent = fill(&mut ours);
    drop(ours);
    theirs.write_all(b"a request that comes late").unwrap();
    await_bits(&theirs, EPOLLERR);
    let mut received = Vec::new();
    let error = theirs.read_to_end(&mut received).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(received.len() < sent);
}

#[test]
fn shutting_down_and_reading_to_the_end_before_the_close_loses_nothing() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"a request that is not read").unwrap();
    await_bits(&ours, EPOLLIN);
    let sent = fill(&mut ours);
    ours.shutdown(Shutdown::Write).unwrap();
    theirs.set_nonblocking(false).unwrap();
    theirs.set_read_timeout(Some(LONG)).unwrap();
    let client = thread::spawn(move || {
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        received.len()
    });
    ours.set_nonblocking(false).unwrap();
    ours.set_read_timeout(Some(LONG)).unwrap();
    while ours.read(&mut [0; 100]).unwrap() > 0 {}
    drop(ours);
    assert_eq!(client.join().unwrap(), sent);
}

#[test]
fn after_a_reset_shutdown_and_peer_addr_say_not_connected() {
    let (ours, theirs) = tcp_pair();
    reset(theirs);
    await_bits(&ours, EPOLLHUP);
    let shutdown = ours.shutdown(Shutdown::Both).unwrap_err();
    assert_eq!(shutdown.kind(), ErrorKind::NotConnected);
    assert_eq!(
        ours.peer_addr().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

#[test]
fn the_first_write_after_the_peer_has_closed_succeeds_and_a_later_one_fails() {
    let (mut ours, theirs) = tcp_pair();
    drop(theirs);
    await_bits(&ours, EPOLLRDHUP);
    assert_eq!(ours.write(b"a").unwrap(), 1);
    await_bits(&ours, EPOLLERR | EPOLLHUP);
    let error = ours.write(b"a").unwrap_err().kind();
    assert!(
        matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
        "{error:?}"
    );
    assert_eq!(
        ours.write(b"a").unwrap_err().kind(),
        ErrorKind::BrokenPipe,
        "and no SIGPIPE"
    );
}

#[test]
fn the_first_write_after_a_reset_or_to_a_closed_unix_stream_or_pipe_fails() {
    let (mut ours, theirs) = tcp_pair();
    reset(theirs);
    await_bits(&ours, EPOLLERR);
    let error = ours.write(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (mut ours, theirs) = unix_pair();
    drop(theirs);
    let error = ours.write(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let (reader, mut writer) = pipe();
    drop(reader);
    let error = writer.write(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_connection_that_only_the_peer_has_closed_is_in_close_wait_and_edge_reports_it_once() {
    let (ours, theirs) = tcp_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
    drop(theirs);
    assert!(await_events(&mut poll)[0].is_read_closed());
    assert_eq!(tcp_state(&ours), 8);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn fionread_tells_how_many_bytes_are_ready() {
    let (ours, mut theirs) = unix_pair();
    assert_eq!(bytes_ready(&ours), 0);
    theirs.write_all(b"hello").unwrap();
    assert_eq!(bytes_ready(&ours), 5);
}

#[test]
fn one_large_write_can_be_several_edges() {
    let (mut ours, mut theirs) = unix_pair();
    theirs.set_nonblocking(false).unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
    // Not in a scope: if this test fails, the writer sleeps until `ours` is closed.
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        tell.send(stat()).unwrap();
        theirs.write(&[0; 1_000_000])
    });
    let writer = told.recv().unwrap();
    for _edge in 0..2 {
        await_events(&mut poll);
        await_state(&writer, 'S');
        // All that is there now. Then the writer goes on with the same write.
        ours.read_exact(&mut vec![0; bytes_ready(&ours)]).unwrap();
    }
}

#[test]
fn a_write_by_the_peer_is_no_edge_if_the_receive_buffer_is_full() {
    let (ours, mut theirs) = tcp_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
    const SO_SNDBUF: c_int = 7;
    set_socket_option(&theirs, SO_SNDBUF, &[4096]);
    fill(&mut theirs);
    // Now the peer has room to write, but there is none here.
    set_socket_option(&theirs, SO_SNDBUF, &[200_000]);
    // A buffer that was full can take a little more later, which is an edge. So this repeats until a
    // write finds that nothing arrives.
    until("a write meets a full buffer", || {
        while ready_bits(&mut poll) != 0 {}
        let full = bytes_ready(&ours);
        assert_eq!(theirs.write(&[0; 1000]).unwrap(), 1000);
        let reported = ready_bits(&mut poll);
        let has_arrived = bytes_ready(&ours) > full;
        assert!(has_arrived || reported == 0);
        !has_arrived
    });
}

#[test]
fn a_thread_that_registers_before_it_hands_over_can_lose_the_only_edge() {
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"a").unwrap();
    let mut poll = Poll::new().unwrap();
    let mut sources: Vec<Option<UnixStream>> = vec![None];
    let interest = Interest::READABLE | Interest::EDGE;
    poll.registry().register(&ours, 0, interest).unwrap();
    // The loop gets the event before the source, and ignores it.
    assert!(sources[ready_now(&mut poll)[0].token()].is_none());
    sources[0] = Some(ours);
    assert_eq!(ready_bits(&mut poll), 0, "no second event");
}

#[test]
fn an_owned_fd_that_is_dropped_after_register_has_closed_the_source() {
    let (reader, mut writer) = pipe();
    let mut poll = Poll::new().unwrap();
    let owned = OwnedFd::from(reader);
    poll.registry()
        .register(&{ owned }, 1, Interest::READABLE)
        .unwrap();
    assert_eq!(
        writer.write(b"a").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(ready_bits(&mut poll), 0);
}
