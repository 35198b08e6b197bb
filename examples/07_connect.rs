//! Non-blocking connects: start several at once, take the first that succeeds, and set a deadline.
//!
//! ```sh
//! cargo run -q --example 07_connect
//! ```
//!
//! You see how a connect ends, over IPv4 and IPv6: it succeeds (`EPOLLOUT`), it is refused (also
//! `EPOLLERR` and `EPOLLHUP`), or nothing happens and the deadline ends it. Then connects of all
//! kinds are started at the same time, as a client does with the addresses of a name. A name lookup
//! blocks too; in `14_workers` a thread does it.
//!
//! Comes after `06_pitfalls`. Book: chapter 4, "The main program", and the older book's exercise to
//! create the socket yourself, so that connect does not block. Exercise that follows:
//! 05_one_blocks_all (`cargo run -q --example exercises 05`). Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next (the answers are at the end of the file):
//! 1. Leave `connect` out: `let result = 0;`. What does a socket report that has done nothing yet?
//! 2. Return the stream without checking `take_error`.

use epollet::{Events, Interest, Poll};
use std::collections::HashMap;
use std::ffi::{c_int, c_uint};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_millis(200);

/// Connects to all addresses at once, and returns the first connection that is established. The
/// other streams are dropped, which ends their attempts.
fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let start = Instant::now();
    let mut poll = Poll::new()?;
    let mut streams = HashMap::new();
    let mut last_error = ErrorKind::AddrNotAvailable.into();
    for (token, address) in addresses.iter().enumerate() {
        match start_connect(address) {
            Ok(stream) => {
                poll.registry()
                    .register(&stream, token, Interest::WRITABLE)?;
                streams.insert(token, stream);
            }
            Err(error) => last_error = error, // for example, no route to IPv6 addresses
        }
    }
    let mut events = Events::with_capacity(8);
    while !streams.is_empty() {
        poll.poll(&mut events, Some(TIMEOUT.saturating_sub(start.elapsed())))?;
        if events.is_empty() {
            say("  no event until the deadline");
            return Err(ErrorKind::TimedOut.into());
        }
        for event in &events {
            // A level-triggered failure would be reported by every poll, so take the stream out.
            let Some(stream) = streams.remove(&event.token()) else {
                continue;
            };
            say(format!("  {event:?}"));
            // The event means that the connect has ended. SO_ERROR tells whether it succeeded.
            match stream.take_error()? {
                None => return Ok(stream),
                Some(error) => last_error = error,
            }
        }
    }
    Err(last_error)
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let listener_6 = TcpListener::bind("[::1]:0");
    let (_full, silent, in_queue) = listener_that_does_not_answer()?;
    let open = listener.local_addr()?;
    let (open_6, state) = match &listener_6 {
        Ok(listener) => (listener.local_addr()?, "listens"),
        Err(_) => (
            (Ipv6Addr::LOCALHOST, open.port()).into(),
            "is not there: no IPv6",
        ),
    };
    // The port of a connected stream is taken, but nothing listens there.
    let closed = in_queue.local_addr()?;

    let ends = [
        try_to_connect(&format!("{open} listens."), &[open]),
        try_to_connect(&format!("{open_6} {state}."), &[open_6]),
        try_to_connect(&format!("{closed} does not listen."), &[closed]),
        try_to_connect(&format!("{silent} does not answer."), &[silent]),
        try_to_connect("Three of them at once.", &[silent, closed, open]),
    ];
    let wrong = ends
        .iter()
        .filter(|end| **end == End::ReturnedButNotConnected)
        .count();
    let connected = ends.iter().filter(|end| **end == End::Connected).count();
    say(if wrong > 0 {
        format!(
            "Takeaway: {wrong} of {} returned streams are not connected: EPOLLOUT does not\n\
             mean that a connect has succeeded.",
            wrong + connected
        )
    } else if connected == 0 {
        "Takeaway: no connect has succeeded, or none was reported in time.".to_owned()
    } else {
        format!(
            "Takeaway: EPOLLOUT means that a connect has ended, and SO_ERROR tells whether\n\
             it succeeded: all {connected} returned streams are connected."
        )
    });
    Ok(())
}

#[derive(PartialEq)]
enum End {
    Failed,
    Connected,
    ReturnedButNotConnected,
}

fn try_to_connect(what: &str, addresses: &[SocketAddr]) -> End {
    say(what);
    let (text, end) = match connect_first(addresses) {
        Ok(stream) => match stream.peer_addr() {
            Ok(address) => (format!("connected to {address}"), End::Connected),
            Err(error) => (format!("returned: {error}"), End::ReturnedButNotConnected),
        },
        Err(error) => (format!("not connected: {error}"), End::Failed),
    };
    say(format!("  {text}\n"));
    end
}

/// Returns a listener whose queue is full, so that the kernel drops further connection requests, as
/// a firewall would; its address; and the stream that fills the queue.
fn listener_that_does_not_answer() -> io::Result<(TcpListener, SocketAddr, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: the call takes no pointer.
    check(unsafe { listen(listener.as_raw_fd(), 0) })?; // room for one connection
    let address = listener.local_addr()?;
    let stream = TcpStream::connect(address)?;
    // Wait until the connection is in the queue.
    let mut poll = Poll::new()?;
    poll.registry().register(&listener, 0, Interest::READABLE)?;
    poll.poll(&mut Events::with_capacity(1), None)?;
    Ok((listener, address, stream))
}

/// Makes a non-blocking socket and starts to connect it. The standard library cannot do that.
fn start_connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let (family, sockaddr) = sockaddr(address);
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { socket(c_int::from(family), STREAM_NONBLOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new, so nothing else owns it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: the kernel reads the bytes before the call returns.
    let result = unsafe { connect(fd, sockaddr.as_ptr(), sockaddr.len() as c_uint) };
    match check(result) {
        // Not a failure: an event reports the end of the connect.
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => Ok(stream),
        result => result.map(|_| stream),
    }
}

/// Returns the address family, and the bytes of a `struct sockaddr_in` or `struct sockaddr_in6`.
fn sockaddr(address: &SocketAddr) -> (u16, Vec<u8>) {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => {
            let padding = [0; 8];
            let parts = [
                &AF_INET.to_ne_bytes()[..],
                &port,
                &v4.ip().octets(),
                &padding,
            ];
            (AF_INET, parts.concat())
        }
        SocketAddr::V6(v6) => {
            let (flow, scope) = (v6.flowinfo().to_ne_bytes(), v6.scope_id().to_ne_bytes());
            let parts = [
                &AF_INET6.to_ne_bytes()[..],
                &port,
                &flow,
                &v6.ip().octets(),
                &scope,
            ];
            (AF_INET6, parts.concat())
        }
    }
}

/// Turns the -1 of a failed call into the error that it left in `errno`.
fn check(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(result),
    }
}

const STREAM_NONBLOCK_CLOEXEC: c_int = 1 | 0o4000 | 0o2000000;
const EINPROGRESS: c_int = 115;

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

unsafe extern "C" {
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const u8, len: c_uint) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
}

// Answers:
// 1. EPOLLOUT | EPOLLHUP, without an error in SO_ERROR. So register a socket after `connect`, not
//    before it: an event could come too early.
// 2. The refused connect is taken for a connection, and wins against the listener: only SO_ERROR
//    tells them apart.
