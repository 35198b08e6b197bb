//! Non-blocking connects: start several at once, take the first that succeeds, and set a deadline.
//!
//! ```sh
//! cargo run --example 07_connect
//! ```
//!
//! You see the three ways in which a connect ends: it succeeds (`EPOLLOUT`), it is refused
//! (`EPOLLERR` and `EPOLLHUP` as well), or nothing happens and the timeout ends it. Then one of
//! each kind is started at the same time.
//!
//! Book: the exercises "create the socket yourself, so that connect does not block" and "remove
//! the shortcut that sets the socket to blocking again". Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next:
//! - Leave `start_connect` out. What is reported about a socket that has done nothing yet?
//! - Return the stream without checking `take_error`. What does `main` print for the refused one?
//! - Start the next connect only if the previous one has not finished after 50 ms, as browsers do
//!   (RFC 8305, "Happy Eyeballs"): poll between two starts, with that timeout.

use epollet::{Events, Interest, Poll};
use std::ffi::{c_int, c_uint};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_millis(200);

/// Connects to all addresses at once, and returns the first connection that is established. The
/// other streams are dropped, which ends their attempts.
fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let start = Instant::now();
    say(start, &format!("connect to {addresses:?}"));
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for (token, &address) in addresses.iter().enumerate() {
        let stream = new_stream()?;
        start_connect(&stream, address)?;
        let registry = poll.registry();
        registry.register(&stream, token, Interest::WRITABLE)?;
        streams.push(Some(stream));
    }
    let mut events = Events::with_capacity(addresses.len());
    let mut last_error = ErrorKind::TimedOut.into();
    while streams.iter().any(Option::is_some) {
        poll.poll(&mut events, Some(TIMEOUT.saturating_sub(start.elapsed())))?;
        if events.is_empty() {
            say(start, "no event until the deadline");
            return Err(ErrorKind::TimedOut.into());
        }
        for event in &events {
            // A level-triggered failure would be reported by every poll, so drop the stream.
            let Some(stream) = streams[event.token()].take() else {
                continue;
            };
            say(start, &format!("{event:?}"));
            // The event means that the connect has finished. SO_ERROR tells whether it succeeded.
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
    let listening = listener.local_addr()?;
    let (_full, silent, in_queue) = listener_that_does_not_answer()?;
    // The port of a connected stream is taken, but nothing listens there.
    let refusing = in_queue.local_addr()?;

    println!("{listening} listens.");
    show(connect_first(&[listening]));
    println!("\n{refusing} does not listen.");
    show(connect_first(&[refusing]));
    println!("\n{silent} does not answer.");
    show(connect_first(&[silent]));
    println!("\nAll three at once.");
    show(connect_first(&[silent, refusing, listening]));

    println!("\nTakeaway: EPOLLOUT means that a connect has finished; SO_ERROR tells whether");
    println!("it succeeded.");
    Ok(())
}

fn show(result: io::Result<TcpStream>) {
    match result.and_then(|stream| stream.peer_addr()) {
        Ok(address) => println!("         connected to {address}"),
        Err(error) => println!("         not connected: {error}"),
    }
}

fn say(start: Instant, what: &str) {
    println!("{:.3} s  {what}", start.elapsed().as_secs_f64());
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

/// Makes a non-blocking socket that is not connected. The standard library cannot do that.
fn new_stream() -> io::Result<TcpStream> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { socket(AF_INET, STREAM_NONBLOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// Starts to connect. `EINPROGRESS` is not a failure: an event reports the end of the connect.
fn start_connect(stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
    let IpAddr::V4(ip) = address.ip() else {
        return Err(ErrorKind::Unsupported.into());
    };
    // struct sockaddr_in: family, port, address, padding
    let mut sockaddr_in = [0_u8; 16];
    sockaddr_in[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    sockaddr_in[2..4].copy_from_slice(&address.port().to_be_bytes());
    sockaddr_in[4..8].copy_from_slice(&ip.octets());
    // SAFETY: the kernel reads the 16 bytes before the call returns.
    match check(unsafe { connect(stream.as_raw_fd(), sockaddr_in.as_ptr(), 16) }) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// Turns the -1 of a failed call into the error that it left in `errno`.
fn check(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(result),
    }
}

const AF_INET: c_int = 2;
const STREAM_NONBLOCK_CLOEXEC: c_int = 1 | 0o4000 | 0o2000000;
const EINPROGRESS: c_int = 115;

unsafe extern "C" {
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const u8, len: c_uint) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
}
