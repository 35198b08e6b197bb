//! One port, four event queues on four threads: who wakes up, and who accepts?
//!
//! ```sh
//! cargo run -q --example herd
//! ```
//!
//! You see three ways to share a port. Each digit is the thread that accepted a connection, in the
//! order in which the clients connected. "Sleeps" counts how often the four threads went to sleep.
//! With a shared listener each connection wakes all four (the thundering herd). If nothing is left
//! to accept when a thread wakes up, the kernel puts it back to sleep; "in vain" counts the events
//! after which `accept` returned `WouldBlock`.
//!
//! A tool, not a part of the path. Run it after `14_workers`.
//!
//! Change next (the answers are at the end of the file):
//! 1. Sleep for 3 ms after each accept, like a thread that has work to do.
//! 2. Add `ffi::EPOLLET` to the exclusive listener.
//! 3. Add `ffi::EPOLLRDHUP` to it, as `Interest::READABLE` does.

use epollet::{Events, Poll, ffi};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use std::{fs, process, thread};

const LISTENER: usize = 0;
const STOP: usize = 1;

/// One of the four threads. `stop` becomes readable when it is time to end.
fn serve(
    number: usize,
    share: &Share,
    stop: &UnixStream,
    accepted: Sender<usize>,
) -> io::Result<Counts> {
    let mut poll = Poll::new()?;
    let listener = &share.listeners[number % share.listeners.len()];
    let registry = poll.registry();
    registry.register(listener, LISTENER, share.interest)?;
    registry.register(stop, STOP, ffi::EPOLLIN)?;
    let mut events = Events::with_capacity(2);
    let sleeps_before = sleeps()?;
    let mut in_vain = 0;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == STOP {
                let sleeps = sleeps()? - sleeps_before;
                return Ok(Counts { sleeps, in_vain });
            }
            match listener.accept() {
                Ok(_) => accepted.send(number).unwrap(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => in_vain += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

struct Share {
    name: &'static str,
    listeners: Vec<TcpListener>,
    interest: u32,
}

struct Counts {
    sleeps: u64,
    in_vain: u64,
}

const CLIENTS: usize = 40;

fn main() -> io::Result<()> {
    say(format!(
        "{CLIENTS} connections  who accepts them                          sleeps  in vain"
    ));
    let shared = run(&Share {
        name: "shared",
        listeners: vec![reuseport::listener(0)?],
        interest: ffi::EPOLLIN,
    })?;
    let exclusive = run(&Share {
        name: "exclusive",
        listeners: vec![reuseport::listener(0)?],
        interest: ffi::EPOLLIN | ffi::EPOLLEXCLUSIVE,
    })?;
    let first = reuseport::listener(0)?;
    let port = first.local_addr()?.port();
    let reuseport = run(&Share {
        name: "SO_REUSEPORT",
        listeners: vec![
            first,
            reuseport::listener(port)?,
            reuseport::listener(port)?,
            reuseport::listener(port)?,
        ],
        interest: ffi::EPOLLIN,
    })?;
    say("\nsleeps: how often the four threads went to sleep. Four per connection: all woke");
    say("up, and the kernel put most back to sleep. One per connection: one woke up.");
    say("in vain: events that poll returned, with nothing left to accept.");
    say(format!(
        "\nTakeaway: for each connection, threads go to sleep {shared:.1} times with a shared"
    ));
    say(format!(
        "listener, {exclusive:.1} with EPOLLEXCLUSIVE, and {reuseport:.1} with SO_REUSEPORT."
    ));
    Ok(())
}

/// Returns how often the threads went to sleep for each connection, on average.
fn run(share: &Share) -> io::Result<f64> {
    let address = share.listeners[0].local_addr()?;
    let (stop, end) = UnixStream::pair()?;
    let (sender, accepted) = mpsc::channel();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..4 {
            let (stop, sender) = (&stop, sender.clone());
            let serve = move || serve(number, share, stop, sender);
            threads.push(thread::Builder::new().spawn_scoped(scope, serve)?);
        }
        drop(sender);
        let mut row = format!("{:15} ", share.name);
        for _ in 0..CLIENTS {
            thread::sleep(Duration::from_millis(2)); // Now all of them sleep.
            let _client = TcpStream::connect(address)?;
            let Ok(number) = accepted.recv_timeout(Duration::from_secs(1)) else {
                break; // A thread has failed.
            };
            row += &number.to_string();
        }
        drop(end); // The end of file wakes all of them.
        let (mut sleeps, mut in_vain) = (0, 0);
        for thread in threads {
            let counts = thread.join().expect("it has not panicked")?;
            sleeps += counts.sleeps;
            in_vain += counts.in_vain;
        }
        say(format!("{row}  {sleeps:6}  {in_vain:7}"));
        Ok(sleeps as f64 / CLIENTS as f64)
    })
}

/// Returns how often this thread has given up the processor voluntarily.
fn sleeps() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .ok_or(ErrorKind::InvalidData.into())
}

/// Prints a line. Ends the program if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

mod reuseport {
    use std::ffi::{c_int, c_uint, c_void};
    use std::io;
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, FromRawFd};

    /// Returns a non-blocking listener that shares its port with others of this kind.
    /// (`TcpListener::bind` cannot set the option, which has to be set before the call to `bind`.)
    pub fn listener(port: u16) -> io::Result<TcpListener> {
        const AF_INET: c_int = 2;
        const SOCK_STREAM_NONBLOCK_CLOEXEC: c_int = 0o2004001;
        const SOL_SOCKET: c_int = 1;
        const SO_REUSEPORT: c_int = 15;
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { socket(AF_INET, SOCK_STREAM_NONBLOCK_CLOEXEC, 0) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        let (fd, one) = (listener.as_raw_fd(), 1 as c_int);
        let address = SocketAddress {
            family: AF_INET as u16,
            port: port.to_be_bytes(),
            address: [127, 0, 0, 1],
            zero: [0; 8],
        };
        // SAFETY: the kernel reads an int, and then an address of 16 bytes.
        unsafe {
            check(setsockopt(
                fd,
                SOL_SOCKET,
                SO_REUSEPORT,
                (&raw const one).cast(),
                4,
            ))?;
            check(bind(fd, &address, 16))?;
            check(listen(fd, 128))?;
        }
        Ok(listener)
    }

    fn check(result: c_int) -> io::Result<c_int> {
        match result {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(result),
        }
    }

    /// `struct sockaddr_in`
    #[repr(C)]
    struct SocketAddress {
        family: u16,
        port: [u8; 2],
        address: [u8; 4],
        zero: [u8; 8],
    }

    unsafe extern "C" {
        fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
        fn setsockopt(
            fd: c_int,
            level: c_int,
            name: c_int,
            value: *const c_void,
            size: c_uint,
        ) -> c_int;
        fn bind(fd: c_int, address: *const SocketAddress, size: c_uint) -> c_int;
        fn listen(fd: c_int, backlog: c_int) -> c_int;
    }
}

// Answers:
// 1. The exclusive listener wakes the next thread in line while the first is busy: two take turns.
//    (The sleep after an accept counts as a sleep, too.)
// 2. Still one thread: the order of the waiting threads decides, not the mode.
// 3. The kernel rejects it together with `EPOLLEXCLUSIVE`: EINVAL.
