//! Exercise 12, after the lesson 17_two_backends.
//!
//! `PollQueue` is an event queue over `poll(2)`. A program should not notice
//! whether it runs on this queue or on epoll. The table compares the two: in
//! each line, both columns should be the same.
//!
//! An edge is reported again and again, and a registration from another thread
//! does not reach a poll that sleeps.
//!
//! Change `PollQueue`, and what it is made of. By hand, in
//! `examples/exercises/mine`: `cargo run --bin 12_second_backend`.

use epollet::{Events, Interest, Poll, Registry, Token};
use std::ffi::{c_int, c_short, c_ulong};
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone)]
struct Entry {
    fd: RawFd,
    token: Token,
    interest: Interest,
}

#[derive(Default)]
struct PollQueue {
    list: Mutex<Vec<Entry>>,
}

impl PollQueue {
    fn new() -> Result<PollQueue> {
        Ok(PollQueue::default())
    }
}

impl Queue for PollQueue {
    fn register(&self, source: &UnixStream, token: Token, interest: Interest) -> Result<()> {
        let fd = source.as_raw_fd();
        self.list.lock().unwrap().push(Entry {
            fd,
            token,
            interest,
        });
        Ok(())
    }

    fn drained(&self, _source: &UnixStream) {}

    fn poll(&self, timeout: Duration) -> Result<Vec<Token>> {
        let list = self.list.lock().unwrap().clone();
        let mut entries: Vec<PollFd> = list.iter().map(PollFd::new).collect();
        poll_2(&mut entries, timeout)?;
        let pairs = list.iter().zip(entries);
        let ready = pairs.filter(|(_, entry)| entry.revents != 0);
        Ok(ready.map(|(entry, _)| entry.token).collect())
    }
}

/// `struct pollfd`
#[repr(C)]
struct PollFd {
    fd: RawFd,
    events: c_short,
    revents: c_short,
}

impl PollFd {
    fn new(entry: &Entry) -> PollFd {
        PollFd {
            fd: entry.fd,
            events: entry.interest.bits() as c_short, // The same bits, but EDGE is not among them.
            revents: 0,
        }
    }
}

// What follows compares the two, and stays as it is.

/// The timeouts of all calls of `poll_2` in a scene.
static TIMEOUTS: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

fn poll_2(list: &mut [PollFd], timeout: Duration) -> Result<()> {
    let millis = timeout.as_micros().div_ceil(1000) as c_int;
    TIMEOUTS.lock().unwrap().push(millis);
    // SAFETY: the kernel reads and writes `list.len()` elements before the call returns.
    match unsafe { poll(list.as_mut_ptr(), list.len() as c_ulong, millis) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}

unsafe extern "C" {
    fn poll(list: *mut PollFd, length: c_ulong, timeout: c_int) -> c_int;
}

/// What both have in common: the abstraction.
trait Queue: Sync {
    fn register(&self, source: &UnixStream, token: Token, interest: Interest) -> Result<()>;
    /// The program says that a read of the source has returned `WouldBlock`.
    fn drained(&self, source: &UnixStream);
    fn poll(&self, timeout: Duration) -> Result<Vec<Token>>;
}

struct EpollQueue(Mutex<Poll>, Registry);

impl Queue for EpollQueue {
    fn register(&self, source: &UnixStream, token: Token, interest: Interest) -> Result<()> {
        self.1.register(source, token, interest)
    }

    fn drained(&self, _source: &UnixStream) {}

    fn poll(&self, timeout: Duration) -> Result<Vec<Token>> {
        let mut events = Events::with_capacity(64);
        self.0.lock().unwrap().poll(&mut events, Some(timeout))?;
        Ok(events.iter().map(|event| event.token()).collect())
    }
}

fn main() -> Result<()> {
    let scenes: [(&str, Scene); 4] = [
        ("level, nothing is read", |queue| {
            edge_or_level(queue, Interest::READABLE)
        }),
        ("edge, then drained, then more", |queue| {
            edge_or_level(queue, Interest::READABLE | Interest::EDGE)
        }),
        ("a ready source is registered meanwhile", |queue| {
            meanwhile(queue, true, Duration::from_millis(1500))
        }),
        ("a quiet source is registered meanwhile", |queue| {
            meanwhile(queue, false, Duration::from_millis(400))
        }),
    ];
    let title = "reported (-: nothing)";
    println!("{title:40} | epoll      | poll(2)");
    for (name, scene) in scenes {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let epoll = scene(&EpollQueue(Mutex::new(poll), registry))?;
        println!("{name:40} | {epoll:10} | {}", scene(&PollQueue::new()?)?);
    }
    Ok(())
}

type Scene = fn(&dyn Queue) -> Result<String>;

/// Polls twice, then drains, writes once more and polls twice.
fn edge_or_level(queue: &dyn Queue, interest: Interest) -> Result<String> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    queue.register(&ours, 1, interest)?;
    let mut reported = Vec::new();
    for _ in 0..2 {
        theirs.write_all(b"hello")?;
        for _ in 0..2 {
            let count = queue.poll(Duration::ZERO)?.len();
            reported.push(if count > 0 { "1" } else { "-" });
        }
        while ours.read(&mut [0; 64]).is_ok() {}
        queue.drained(&ours);
    }
    Ok(reported.join(" "))
}

/// Registers a source in another thread while this one sleeps.
fn meanwhile(queue: &dyn Queue, is_ready: bool, timeout: Duration) -> Result<String> {
    let (ours, mut theirs) = UnixStream::pair()?;
    if is_ready {
        theirs.write_all(b"hello")?;
    }
    let begins = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !begins.load(SeqCst) {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(200));
            queue.register(&ours, 1, Interest::READABLE).unwrap();
        });
        begins.store(true, SeqCst);
        TIMEOUTS.lock().unwrap().clear();
        let start = Instant::now();
        let count = queue.poll(timeout)?.len();
        let timeouts = std::mem::take(&mut *TIMEOUTS.lock().unwrap());
        let enough = timeout.as_millis() as c_int * 3 / 4;
        let note = if count == 0 && start.elapsed() < timeout {
            " (ends too early)"
        } else if timeouts.len() > 3 {
            " (spins)"
        } else if timeouts.first().is_some_and(|first| *first < enough) {
            " (wakes up in vain)"
        } else if timeouts.len() > 1 && timeouts.last() >= timeouts.first() {
            " (full timeout again)"
        } else {
            ""
        };
        let reported = if count > 0 { "1" } else { "-" };
        Ok(format!("{reported}{note}"))
    })
}
