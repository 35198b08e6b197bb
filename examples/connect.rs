//! A connect that does not block, on a socket of your own; and several at once, to take the first.
//!
//! ```sh
//! cargo run --example connect
//! ```
//!
//! You see how a connect ends: established (`EPOLLOUT`), refused (`EPOLLERR` with it), or not at
//! all, so that a timeout must end it. At last one of each kind is tried at the same time.
//!
//! Belongs to the exercises "create the socket yourself, so that connect does not block" and
//! "remove the set-the-socket-to-blocking-again shortcut", and to the older book's last exercise.
//!
//! Change next: start the next connect only when the one before has not ended in 50 ms, as browsers
//! do (RFC 8305, "Happy Eyeballs"); take host names and IPv6 in; listen on two addresses.

use epollet::{Events, Interest, Poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::raw::{c_int, c_uint};
use std::os::unix::io::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_millis(200);

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let listening = listener.local_addr()?;
    // A listener that accepts nobody, with a queue that one connection fills: the kernel answers
    // no other, as if a firewall dropped them.
    let busy = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: the call takes no pointer.
    check(unsafe { listen(busy.as_raw_fd(), 0) })?;
    let silent = busy.local_addr()?;
    let in_queue = TcpStream::connect(silent)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&busy, 0, Interest::READABLE)?;
    poll.poll(&mut Events::with_capacity(1), None)?; // Now the queue is full.

    // This port is in use, so nobody else can take it; but nobody listens on it.
    let refusing = in_queue.local_addr()?;

    println!("{listening} listens");
    connect_first(&[listening])?;
    println!("\n{refusing} does not listen");
    let error = connect_first(&[refusing]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    println!("\n{silent} does not answer: its queue is full");
    let error = connect_first(&[silent]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);

    println!("\nall three at once");
    let mut stream = connect_first(&[silent, refusing, listening])?;
    assert_eq!(stream.peer_addr()?, listening);
    let _first_lesson = listener.accept()?;
    let (mut peer, address) = listener.accept()?;
    assert_eq!(address, stream.local_addr()?);
    peer.write_all(b"!")?;
    // It stays non-blocking: the queue says when there is something to read.
    poll.registry().register(&stream, 1, Interest::READABLE)?;
    poll.registry().deregister(&busy)?;
    poll.poll(&mut Events::with_capacity(1), None)?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    assert_eq!(&byte, b"!");
    println!("         the first one that is established is taken: its peer's byte arrives");
    Ok(())
}

/// Connects to all addresses at once and returns the first connection that is established. The
/// others are dropped, which ends their attempts.
fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let start = Instant::now();
    let say = |what: String| println!("{:.3} s  {what}", start.elapsed().as_secs_f64());
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for (token, &address) in addresses.iter().enumerate() {
        let stream = start_connect(address)?;
        say(format!("connect to {address}, token {token}: in progress"));
        // Registered after the connect: before it, a socket is reported as hung up.
        poll.registry()
            .register(&stream, token, Interest::WRITABLE)?;
        streams.push(Some(stream));
    }
    let mut events = Events::with_capacity(addresses.len());
    let mut failure = ErrorKind::TimedOut.into();
    while streams.iter().any(Option::is_some) {
        poll.poll(&mut events, Some(TIMEOUT.saturating_sub(start.elapsed())))?;
        if events.is_empty() {
            say(format!("no event in {TIMEOUT:?}: given up"));
            return Err(ErrorKind::TimedOut.into());
        }
        for event in &events {
            // Out of `streams` with it: reported once, it would be reported again and again.
            let stream = streams[event.token()].take().unwrap();
            // The event tells that the connect has ended; SO_ERROR tells how.
            match stream.take_error()? {
                None => {
                    say(format!("{event:?}: established"));
                    return Ok(stream);
                }
                Some(error) => {
                    say(format!("{event:?}"));
                    println!("         {error}");
                    failure = error;
                }
            }
        }
    }
    Err(failure)
}

/// Starts to connect and does not wait for the end: `EINPROGRESS` is no error here.
fn start_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => return Err(ErrorKind::Unsupported.into()),
    };
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { socket(AF_INET, KIND, 0) })?;
    // SAFETY: the descriptor is new, so nobody else will close it.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let mut sockaddr_in = [0_u8; 16];
    sockaddr_in[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    sockaddr_in[2..4].copy_from_slice(&address.port().to_be_bytes());
    sockaddr_in[4..8].copy_from_slice(&ip);
    // SAFETY: the kernel reads the 16 bytes of a `struct sockaddr_in` before it returns.
    match check(unsafe { connect(fd, sockaddr_in.as_ptr(), 16) }) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(stream),
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(result),
    }
}

const AF_INET: c_int = 2;
const KIND: c_int = 1 | 0o4000 | 0o2000000; // SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC
const EINPROGRESS: c_int = 115;

unsafe extern "C" {
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const u8, len: c_uint) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
}
