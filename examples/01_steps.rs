//! 1,000 requests that are answered late: a thread for each, or one thread for all. Then the cost
//! of one wait among more and more idle sources, with `poll(2)` and with epoll.
//!
//! ```sh
//! cargo run --release --example 01_steps
//! ```
//!
//! You see a table with time, memory and context switches. Then bars: `poll(2)` checks every source
//! in each call, and epoll keeps a ready list.
//!
//! Book: the comparison of threads and event queues before chapter 4. Besides `ffi.rs` and
//! `poll.rs` it needs the delay server, so run it here.
//!
//! Change next:
//! - Set `DELAY_MS` to 0. Which is faster when nothing has to wait?
//! - Set `REQUESTS` to 10,000, after `ulimit -n 10100`.
//! - Set `READY` to 10. (epoll then has 10 events to report.)

#[path = "../src/program/delayserver.rs"]
mod delayserver;

use delayserver::DelayServer;
use epollet::{Events, Interest, Poll};
use std::collections::HashMap;
use std::ffi::{c_int, c_long, c_short, c_ulong};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Instant;
use std::{env, fs, thread};

const REQUESTS: usize = 1000;
const DELAY_MS: u64 = 300;
const READY: usize = 1;

/// A thread for each request. Returns the number of answers.
fn by_threads(address: &str, count: usize) -> io::Result<usize> {
    let mut threads = Vec::new();
    for _ in 0..count {
        let address = address.to_owned();
        let thread = thread::Builder::new().spawn(move || {
            let mut answer = Vec::new();
            send_request(&address)?.read_to_end(&mut answer)
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(_) => break, // The system does not allow more threads.
        }
    }
    let mut answers = 0;
    for thread in threads {
        if let Ok(Ok(_length)) = thread.join() {
            answers += 1;
        }
    }
    Ok(answers)
}

/// One thread for all requests. Returns the number of answers.
fn by_epoll(address: &str, count: usize) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    let registry = poll.registry();
    let mut waiting = HashMap::new();
    for token in 0..count {
        let stream = send_request(address)?;
        stream.set_nonblocking(true)?;
        registry.register(&stream, token, Interest::READABLE)?;
        waiting.insert(token, (stream, Vec::new()));
    }
    let mut events = Events::with_capacity(64);
    let mut answers = 0;
    while !waiting.is_empty() {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some((stream, answer)) = waiting.get_mut(&event.token()) else {
                continue;
            };
            match stream.read_to_end(answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => {}
                Ok(_) => answers += 1,
            }
            waiting.remove(&event.token()); // Closes the stream: it leaves the interest list.
        }
    }
    Ok(answers)
}

fn send_request(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /{DELAY_MS}/hello HTTP/1.0\r\n\r\n")?;
    Ok(stream)
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    if let [_, way, address, count] = &args[..] {
        return measure(way, address, count.parse().unwrap_or(0));
    }
    compare_requests()?;
    compare_waits()?;
    println!("\nTakeaway: idle sources do not slow epoll_wait down, and none of them needs");
    println!("a thread.");
    Ok(())
}

/// Measures each way in a child process, so that what the kernel counts belongs to one way alone.
fn compare_requests() -> io::Result<()> {
    let server = DelayServer::bind("127.0.0.1:0")?;
    let address = server.local_addr()?.to_string();
    thread::spawn(move || server.run(io::sink()));
    // A request takes a descriptor in the child process, and one here, in the server.
    let count = REQUESTS
        .min(open_files_limit().saturating_sub(30))
        .to_string();
    println!("{count} requests, each answered after {DELAY_MS} ms\n");
    println!("                 answers   seconds   peak memory   voluntary context switches");
    for way in ["a thread each", "one thread"] {
        let mut child = Command::new(env::current_exe()?);
        child.args([way, &address, &count]).status()?;
    }
    Ok(())
}

/// The child process.
fn measure(way: &str, address: &str, count: usize) -> io::Result<()> {
    let start = Instant::now();
    let answers = match way {
        "one thread" => by_epoll(address, count)?,
        _ => by_threads(address, count)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    let memory = number_after("VmHWM:", &fs::read_to_string("/proc/self/status")?);
    let switches = voluntary_context_switches()?;
    println!("{way:15} {answers:8} {seconds:9.3} {memory:10} kB {switches:28}");
    Ok(())
}

/// Waits with `poll(2)` and with epoll among idle sources.
fn compare_waits() -> io::Result<()> {
    println!("\none wait, with {READY} ready among N idle sources: the best of 100, in µs\n");
    let mut queue = Poll::new()?;
    let mut pairs = Vec::new();
    let mut sockets = Vec::new();
    let mut poll_fds = Vec::new();
    let mut times = Vec::new();
    for count in [10, 100, 1000, 5000] {
        if count + 2 * READY + 30 > open_files_limit() {
            break;
        }
        while sockets.len() < count + READY {
            let socket = if pairs.len() < READY {
                let (ours, theirs) = UnixDatagram::pair()?;
                theirs.send(b"x")?; // It is not read, so each wait finds it.
                pairs.push(theirs);
                ours
            } else {
                UnixDatagram::unbound()?
            };
            queue
                .registry()
                .register(&socket, sockets.len(), READABLE)?;
            poll_fds.push(PollFd::readable(socket.as_raw_fd()));
            sockets.push(socket);
        }
        let mut events = Events::with_capacity(64);
        let by_epoll = best_of_100(|| queue.poll(&mut events, None))?;
        let by_poll = best_of_100(|| poll_2(&mut poll_fds))?;
        times.push((count, by_poll, by_epoll));
    }
    let longest = times.last().map_or(1.0, |time| time.1);
    let bar = |time: f64| "=".repeat((time / longest * 40.0).ceil() as usize);
    for (count, by_poll, by_epoll) in times {
        println!("{count:5} idle   poll(2) {by_poll:9.2}  |{}", bar(by_poll));
        println!("             epoll   {by_epoll:9.2}  |{}", bar(by_epoll));
    }
    Ok(())
}

/// The same as `POLLIN`: `Interest::READABLE` also has `EPOLLRDHUP`.
const READABLE: u32 = epollet::ffi::EPOLLIN;

/// Returns the shortest of 100 calls, in microseconds.
fn best_of_100(mut wait: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..100 {
        let start = Instant::now();
        wait()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(best)
}

fn open_files_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    number_after("Max open files", &limits)
}

/// Returns the first number after `name`.
fn number_after(name: &str, text: &str) -> usize {
    let rest = text.split(name).nth(1).unwrap_or_default();
    rest.split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap_or(0)
}

/// `struct pollfd`
#[repr(C)]
struct PollFd {
    fd: RawFd,
    events: c_short,
    revents: c_short,
}

impl PollFd {
    fn readable(fd: RawFd) -> PollFd {
        const POLLIN: c_short = 1;
        let (events, revents) = (POLLIN, 0);
        PollFd {
            fd,
            events,
            revents,
        }
    }
}

/// poll(2), without a timeout.
fn poll_2(fds: &mut [PollFd]) -> io::Result<()> {
    // SAFETY: the kernel reads and writes `fds.len()` elements before the call returns.
    match unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, -1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Returns how often the threads of this process have gone to sleep.
fn voluntary_context_switches() -> io::Result<c_long> {
    const RUSAGE_SELF: c_int = 0;
    const RU_NVCSW: usize = 16; // its place in `struct rusage`, counted in longs
    let mut usage = [0 as c_long; 64]; // larger than in any C library
    // SAFETY: the C library writes a `struct rusage`, which is shorter, before the call returns.
    match unsafe { getrusage(RUSAGE_SELF, usage.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(usage[RU_NVCSW]),
    }
}

unsafe extern "C" {
    fn getrusage(who: c_int, usage: *mut c_long) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
}
