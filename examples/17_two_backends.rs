//! One script on two event queues: epoll, and a queue of the same shape over `poll(2)`.
//!
//! ```sh
//! cargo run -q --example 17_two_backends
//! ```
//!
//! You see the token that each poll returns, or `-`. Below each difference you see what mio does on
//! systems where it uses `poll(2)` (its files are in `src/sys/unix`), and what other systems do.
//! Then the time of one wait.
//!
//! Comes after `16_async_await`. Book: chapter 4, "Design and introduction to epoll". Exercise that
//! follows: 12_second_backend (`cargo run -q --example exercises 12`). Needs only `ffi.rs` and
//! `poll.rs`.
//!
//! Change next, and predict the table (the answers are at the end of the file):
//! 1. In `dropped`, register `new` with token 2 before the last poll.
//! 2. In `one_wait`, register the sources with `Interest::WRITABLE`.

use epollet::{Events, Interest, Poll, Registry, Token};
use std::ffi::{c_int, c_short, c_ulong};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{process, thread};

/// What both have in common: the abstraction.
trait Queue: Sized {
    type Handle: Register + Send;
    fn new() -> io::Result<Self>;
    fn handle(&self) -> io::Result<Self::Handle>;
    fn poll(&mut self, timeout: Duration) -> io::Result<Vec<Token>>;
}

trait Register {
    fn register(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()>;
    fn deregister(&self, source: &impl AsFd) -> io::Result<()>;
}

/// An event queue over `poll(2)`: the interest list is here, and not in the kernel.
#[derive(Clone, Default)]
struct PollQueue(Arc<Mutex<InterestList>>);

#[derive(Clone, Default)]
struct InterestList {
    entries: Vec<PollFd>,
    tokens: Vec<Token>, // of the entry with the same index
}

impl Queue for PollQueue {
    type Handle = PollQueue;

    fn new() -> io::Result<PollQueue> {
        Ok(PollQueue::default())
    }

    fn handle(&self) -> io::Result<PollQueue> {
        Ok(self.clone())
    }

    /// Sleeps with a copy of the list, so that other threads can get the lock.
    fn poll(&mut self, timeout: Duration) -> io::Result<Vec<Token>> {
        let mut list = self.0.lock().unwrap().clone();
        poll_2(&mut list.entries, timeout)?;
        let pairs = list.entries.iter().zip(list.tokens);
        let ready = pairs.filter(|(entry, _)| entry.revents != 0);
        Ok(ready.map(|(_, token)| token).collect())
    }
}

impl Register for PollQueue {
    fn register(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let mut list = self.0.lock().unwrap();
        list.entries.push(PollFd {
            fd: source.as_fd().as_raw_fd(),
            events: interest.bits() as c_short, // The same 16 bits. EPOLLET is not among them.
            revents: 0,
        });
        list.tokens.push(token);
        Ok(())
    }

    fn deregister(&self, source: &impl AsFd) -> io::Result<()> {
        let mut list = self.0.lock().unwrap();
        let fd = source.as_fd().as_raw_fd();
        let index = list.entries.iter().position(|entry| entry.fd == fd);
        let index = index.ok_or(ErrorKind::NotFound)?;
        list.entries.swap_remove(index);
        list.tokens.swap_remove(index);
        Ok(())
    }
}

impl Queue for Poll {
    type Handle = Registry;

    fn new() -> io::Result<Poll> {
        Poll::new()
    }

    fn handle(&self) -> io::Result<Registry> {
        self.registry().try_clone()
    }

    fn poll(&mut self, timeout: Duration) -> io::Result<Vec<Token>> {
        let mut events = Events::with_capacity(64);
        Poll::poll(self, &mut events, Some(timeout))?;
        Ok(events.iter().map(|event| event.token()).collect())
    }
}

impl Register for Registry {
    fn register(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Registry::register(self, source, token, interest)
    }

    fn deregister(&self, source: &impl AsFd) -> io::Result<()> {
        Registry::deregister(self, source)
    }
}

/// Polls three times, and reads nothing.
fn unread<Q: Queue>(interest: Interest) -> io::Result<String> {
    let mut queue = Q::new()?;
    let (ours, _theirs) = readable_pair()?;
    queue.handle()?.register(&ours, 1, interest)?;
    let mut polls = Vec::new();
    for _ in 0..3 {
        polls.push(reported(&mut queue, 0)?);
    }
    Ok(polls.join(" "))
}

/// Drops a registered source. Then another source has its number, and is not registered.
fn dropped<Q: Queue>(deregister: bool) -> io::Result<[String; 2]> {
    let mut queue = Q::new()?;
    let handle = queue.handle()?;
    let (old, _peer) = readable_pair()?;
    handle.register(&old, 1, Interest::READABLE)?;
    if deregister {
        handle.deregister(&old)?;
    }
    drop(old);
    let after_drop = reported(&mut queue, 0)?;
    let (new, _peer) = readable_pair()?;
    let with_new = reported(&mut queue, 0)?;
    drop(new);
    Ok([after_drop, with_new])
}

/// Registers a readable source in another thread while this one sleeps.
fn meanwhile<Q: Queue>() -> io::Result<String> {
    let mut queue = Q::new()?;
    let handle = queue.handle()?;
    let (ours, _theirs) = readable_pair()?;
    let source = &ours;
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, move || {
            thread::sleep(Duration::from_millis(50));
            handle.register(source, 1, Interest::READABLE)
        })?;
        let tokens = reported(&mut queue, 400)?;
        thread.join().expect("it does not panic")?;
        Ok(tokens)
    })
}

/// Returns the shortest of 50 waits in microseconds: the first source is ready, the others are not.
fn one_wait<Q: Queue>(sources: &[UnixDatagram]) -> io::Result<f64> {
    let mut queue = Q::new()?;
    let handle = queue.handle()?;
    for (token, source) in sources.iter().enumerate() {
        handle.register(source, token, Interest::READABLE)?;
    }
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        queue.poll(Duration::ZERO)?;
        best = best.min(start.elapsed());
    }
    Ok(best.as_secs_f64() * 1e6)
}

fn script<Q: Queue>() -> io::Result<[String; 6]> {
    let level = unread::<Q>(Interest::READABLE)?;
    let edge = unread::<Q>(Interest::READABLE | Interest::EDGE)?;
    let [deregistered, _] = dropped::<Q>(true)?;
    let [after_drop, with_new] = dropped::<Q>(false)?;
    let meanwhile = meanwhile::<Q>()?;
    Ok([level, edge, deregistered, after_drop, with_new, meanwhile])
}

/// What the script does, and what to say if the two differ.
const SCENES: [(&str, &[&str]); 6] = [
    ("level-triggered, three polls, nothing is read", &[]),
    (
        "edge-triggered, three polls, nothing is read",
        &[
            "mio: what was reported is off until WouldBlock (selector/poll.rs)",
            "kqueue: EV_CLEAR reports a change once. IOCP: a read completes once",
        ],
    ),
    ("a source is deregistered and dropped", &[]),
    ("a registered source is dropped", &[]),
    (
        "another source gets its number",
        &[
            "mio: dropping a source deregisters it (selector/registered_io_source.rs)",
            "kqueue: closing removes the registration. IOCP: closing ends the operations",
        ],
    ),
    (
        "another thread registers during the poll",
        &[
            "mio: ends the call, changes the list, calls again (selector/poll.rs)",
            "kqueue: as epoll. IOCP: any thread can start an operation",
        ],
    ),
];

fn main() -> io::Result<()> {
    row("", "epoll", "poll(2)");
    let (epoll, poll_2) = (script::<Poll>()?, script::<PollQueue>()?);
    let mut differences = 0;
    for (index, (scene, notes)) in SCENES.iter().enumerate() {
        row(scene, &epoll[index], &poll_2[index]);
        if epoll[index] != poll_2[index] {
            differences += 1;
            notes.iter().for_each(|note| say(format!("  {note}")));
        }
    }
    say("");
    let limit = raise_open_files_limit()?;
    let (ready, peer) = UnixDatagram::pair()?;
    peer.send(b"this is never read")?;
    let mut sources = vec![ready];
    let mut ratio = f64::NAN;
    for idle in [10, 1000, 10_000] {
        let scene = format!("one wait among {idle} idle sources, in µs");
        if idle + 20 > limit {
            say(format!("{scene:46} not possible: ulimit -Hn is {limit}"));
            break;
        }
        while sources.len() <= idle {
            sources.push(UnixDatagram::unbound()?);
        }
        let (epoll, poll_2) = (
            one_wait::<Poll>(&sources)?,
            one_wait::<PollQueue>(&sources)?,
        );
        row(&scene, &format!("{epoll:.1}"), &format!("{poll_2:.1}"));
        ratio = poll_2 / epoll;
    }
    say("");
    if ratio.is_nan() {
        say("Takeaway: `ulimit -n` is too low to compare the time of a wait.");
        return Ok(());
    }
    say(format!(
        "Takeaway: queues with the same functions differ in {differences} of 6 scenes, which an\n\
         abstraction has to hide; and the last wait takes {ratio:.0} times as long."
    ));
    Ok(())
}

fn row(scene: &str, epoll: &str, poll_2: &str) {
    say(format!("{scene:46} {epoll:8} {poll_2}"));
}

/// Returns what the queue reports: a token, or `-`.
fn reported(queue: &mut impl Queue, millis: u64) -> io::Result<String> {
    let tokens = queue.poll(Duration::from_millis(millis))?;
    let first = tokens.first().map(Token::to_string);
    Ok(first.unwrap_or("-".to_owned()))
}

/// Returns a stream with bytes to read, and its peer.
fn readable_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"hello")?;
    Ok((ours, theirs))
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

/// `struct pollfd`
#[derive(Clone, Copy)]
#[repr(C)]
struct PollFd {
    fd: RawFd,
    events: c_short,
    revents: c_short,
}

fn poll_2(list: &mut [PollFd], timeout: Duration) -> io::Result<()> {
    let millis = timeout.as_millis() as c_int;
    // SAFETY: the kernel reads and writes `list.len()` elements before the call returns.
    match unsafe { poll(list.as_mut_ptr(), list.len() as c_ulong, millis) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Raises the soft limit of open files, which is often 1,024, to the hard limit, and returns it.
fn raise_open_files_limit() -> io::Result<usize> {
    const RLIMIT_NOFILE: c_int = 7;
    let mut limit = [0 as c_ulong; 2]; // struct rlimit: the soft limit, the hard limit
    // SAFETY: the C library writes the two numbers of `limit`.
    if unsafe { getrlimit(RLIMIT_NOFILE, limit.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    limit[0] = limit[1];
    // SAFETY: the C library reads the two numbers of `limit`.
    if unsafe { setrlimit(RLIMIT_NOFILE, limit.as_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit[1] as usize)
}

unsafe extern "C" {
    fn poll(list: *mut PollFd, length: c_ulong, timeout: c_int) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut c_ulong) -> c_int;
    fn setrlimit(resource: c_int, limit: *const c_ulong) -> c_int;
}

// Answers:
// 1. epoll reports 2. The other queue has two entries with that number, and reports 1 first: the
//    event of the new source goes to whoever had token 1.
// 2. Now all sources are ready, and epoll has events to report: 64 in a call, which is the capacity
//    of `Events`. The rest comes with the next calls. poll(2) reports all at once.
