//! The same requests in seven ways, from a read that blocks to an event queue with `async fn`.
//!
//! ```sh
//! cargo run --example 01_steps
//! ```
//!
//! The first lesson: nothing comes before it. It belongs to the section "Design and introduction to
//! epoll" in the book's chapter 4. Read each step beside the one before it: which lines are new, and
//! which numbers have changed?
//!
//! `calls` are the system calls that get the answers, counted where this file makes them. The
//! calls that send the requests are not counted; they are the same in each step. The kernel counts
//! the CPU time, the sleeps, the largest memory and the threads. See `steps/cost.rs`.
//!
//! Change next; the answers are at the end of this file:
//! - Set `DELAY_MS` to 0. Which step is the fastest when the answers are there at once?
//! - In `epoll_level`, leave out `deregister`.
//! - In `epoll_edge`, read once for each event: `if` instead of `while`.

use cost::{CPU, MEMORY, SECONDS, counted};
use epollet::delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token};
use std::ffi::{c_int, c_short, c_ulong};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::task::{Context, Poll as State, Waker};
use std::time::Instant;
use std::{env, thread};

#[path = "steps/cost.rs"]
mod cost;

const DELAY_MS: usize = 50;

/// Each read blocks until there is something to read.
fn one_after_another(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = Vec::new();
    for _ in 0..count {
        let mut request = Request::send(peer)?;
        while request.read()? != Got::End {}
        requests.push(request);
    }
    Ok(requests)
}

/// The reads still block, each in a thread of its own.
fn thread_for_each(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut threads = Vec::new();
    for _ in 0..count {
        let thread = thread::Builder::new();
        threads.push(thread.spawn(move || one_after_another(peer, 1))?);
    }
    cost::note_threads()?;
    let mut requests = Vec::new();
    for thread in threads {
        requests.extend(thread.join().expect("it does not panic")?);
    }
    Ok(requests)
}

/// No read blocks: each returns at once, and most return nothing.
fn busy_loop(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = send_all(peer, count)?;
    let mut left = count;
    while left > 0 {
        for request in &mut requests {
            if !request.ended && request.read()? == Got::End {
                left -= 1;
            }
        }
    }
    Ok(requests)
}

/// The kernel says which of them are readable. It gets the whole list in every call.
fn poll_2(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = send_all(peer, count)?;
    let mut list: Vec<PollFd> = requests.iter().map(PollFd::readable).collect();
    let mut left = count;
    while left > 0 {
        counted(sleep_in_poll_2(&mut list))?;
        for (entry, request) in list.iter_mut().zip(&mut requests) {
            if entry.revents != 0 && request.read()? == Got::End {
                entry.fd = -1; // The kernel skips it from now on.
                left -= 1;
            }
        }
    }
    Ok(requests)
}

/// The kernel keeps the list, and returns the readable ones alone.
fn epoll_level(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = send_all(peer, count)?;
    let mut poll = counted(Poll::new())?;
    for (token, request) in requests.iter().enumerate() {
        let interest = Interest::READABLE;
        counted(poll.registry().register(&request.stream, token, interest))?;
    }
    let mut events = Events::with_capacity(64);
    let mut left = count;
    while left > 0 {
        counted(poll.poll(&mut events, None))?;
        for event in &events {
            let request = &mut requests[event.token()];
            if request.read()? == Got::End {
                counted(poll.registry().deregister(&request.stream))?; // An end stays readable.
                left -= 1;
            }
        }
    }
    Ok(requests)
}

/// The kernel returns a change once. The loop has to read until nothing is left.
fn epoll_edge(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = send_all(peer, count)?;
    let mut poll = counted(Poll::new())?;
    for (token, request) in requests.iter().enumerate() {
        let interest = Interest::READABLE | Interest::EDGE;
        counted(poll.registry().register(&request.stream, token, interest))?;
    }
    let mut events = Events::with_capacity(64);
    let mut left = count;
    while left > 0 {
        counted(poll.poll(&mut events, None))?;
        for event in &events {
            let request = &mut requests[event.token()];
            while !request.ended {
                match request.read()? {
                    Got::Bytes => {}
                    Got::Nothing => break,
                    Got::End => left -= 1,
                }
            }
        }
    }
    Ok(requests)
}

/// The same loop. An event's token says which `async fn` can continue.
fn async_fn(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut poll = counted(Poll::new())?;
    let registry = poll.registry().try_clone()?;
    let ask = |token| Some(Box::pin(ask(peer, &registry, token)));
    let mut tasks: Vec<_> = (0..count).map(ask).collect();
    let mut runnable: Vec<Token> = (0..count).collect(); // At first, each sends its request.
    let mut events = Events::with_capacity(64);
    let mut requests = Vec::new();
    loop {
        for token in runnable.drain(..) {
            let Some(task) = &mut tasks[token] else {
                continue;
            };
            let mut context = Context::from_waker(Waker::noop()); // The token does its work.
            if let State::Ready(request) = task.as_mut().poll(&mut context) {
                requests.push(request?);
                tasks[token] = None;
            }
        }
        if requests.len() == count {
            return Ok(requests);
        }
        counted(poll.poll(&mut events, None))?;
        runnable.extend(events.iter().map(|event| event.token()));
    }
}

/// Written like `one_after_another`. At `.await`, the loop continues.
async fn ask(peer: SocketAddr, registry: &Registry, token: Token) -> io::Result<Request> {
    let mut request = Request::send(peer)?;
    counted(request.stream.set_nonblocking(true))?;
    let interest = Interest::READABLE | Interest::EDGE;
    counted(registry.register(&request.stream, token, interest))?;
    let mut read = || match request.read() {
        Ok(Got::Nothing) => State::Pending,
        result => State::Ready(result),
    };
    while poll_fn(|_| read()).await? != Got::End {}
    Ok(request)
}

struct Request {
    stream: TcpStream,
    answer: Vec<u8>,
    ended: bool,
}

#[derive(PartialEq)]
enum Got {
    Bytes,
    Nothing,
    End,
}

impl Request {
    fn send(peer: SocketAddr) -> io::Result<Request> {
        let head = format!("GET /{DELAY_MS}/hello HTTP/1.0\r\n\r\n");
        let mut stream = TcpStream::connect(peer)?;
        stream.write_all(head.as_bytes())?;
        let (answer, ended) = (Vec::new(), false);
        Ok(Request {
            stream,
            answer,
            ended,
        })
    }

    /// Makes one call of read(2).
    fn read(&mut self) -> io::Result<Got> {
        let mut buffer = [0; 1024];
        match counted(self.stream.read(&mut buffer)) {
            Ok(0) => {
                self.ended = true;
                Ok(Got::End)
            }
            Ok(length) => {
                self.answer.extend(&buffer[..length]);
                Ok(Got::Bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) => Err(error),
        }
    }
}

fn send_all(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = Vec::new();
    for _ in 0..count {
        let request = Request::send(peer)?;
        counted(request.stream.set_nonblocking(true))?;
        requests.push(request);
    }
    Ok(requests)
}

type Step = fn(SocketAddr, usize) -> io::Result<Vec<Request>>;
type Row = [f64; 6];

const STEPS: [(&str, Step); 7] = [
    ("one_after_another", one_after_another),
    ("thread_for_each", thread_for_each),
    ("busy_loop", busy_loop),
    ("poll_2", poll_2),
    ("epoll_level", epoll_level),
    ("epoll_edge", epoll_edge),
    ("async_fn", async_fn),
];

fn run(out: &mut impl Write) -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    if let [_, step, peer, count] = &args[..] {
        return run_step(out, step, peer, count);
    }
    let server = DelayServer::bind("127.0.0.1:0")?;
    let peer = server.local_addr()?.to_string();
    thread::Builder::new().spawn(move || server.run(io::sink()))?;

    let few = compare(out, &STEPS, &peer, 20)?;
    // Each needs a descriptor here, in the server, and one in the step's process.
    let many = 1000.min(cost::open_files_limit()?.saturating_sub(30));
    writeln!(out)?;
    let rows = compare(out, &STEPS[1..], &peer, many)?; // One after another takes too long.

    writeln!(out, "\nTakeaway: {}.", takeaway(few, rows))
}

/// Runs each step in a process of its own, so that what the kernel counts belongs to it alone.
/// Returns `None` if one of them fails.
fn compare(
    out: &mut impl Write,
    steps: &[(&str, Step)],
    peer: &str,
    count: usize,
) -> io::Result<Option<Vec<Row>>> {
    writeln!(out, "{:18}{}", format!("{count} requests"), cost::HEADER)?;
    let mut rows = Vec::new();
    for (step, _) in steps {
        let mut child = Command::new(env::current_exe()?);
        let output = child.args([step, peer, &count.to_string()]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        writeln!(out, "{step:18}{text}{}", error.trim_end())?;
        let numbers = text.split_whitespace().map(str::parse);
        let numbers: Result<Vec<f64>, _> = numbers.collect();
        rows.push(numbers.ok().and_then(|numbers| Row::try_from(numbers).ok()));
    }
    Ok(rows.into_iter().collect())
}

/// Compares the step `epoll_level` with others.
fn takeaway(few: Option<Vec<Row>>, many: Option<Vec<Row>>) -> String {
    let (Some(few), Some(many)) = (few, many) else {
        return "a step has not got all of its answers".to_owned();
    };
    let [one_after_another, _, busy_loop, _, epoll, ..] = &few[..] else {
        unreachable!()
    };
    let [threads, _, _, epoll_for_many, ..] = &many[..] else {
        unreachable!()
    };
    let time = one_after_another[SECONDS] / epoll[SECONDS];
    let cpu = busy_loop[CPU] / epoll[CPU];
    let memory = threads[MEMORY] / epoll_for_many[MEMORY];
    if time.min(cpu).min(memory) < 1.5 {
        return "this run does not show what an event queue saves".to_owned();
    }
    format!(
        "with an event queue, one thread needs 1/{time:.0} of the time of one after\n\
         another, 1/{cpu:.0} of a busy loop's CPU and 1/{memory:.0} of the memory of threads"
    )
}

/// The child process.
fn run_step(out: &mut impl Write, step: &str, peer: &str, count: &str) -> io::Result<()> {
    let step = STEPS.iter().find(|(name, _)| *name == step);
    let (Some((_, step)), Ok(peer), Ok(count)) = (step, peer.parse(), count.parse()) else {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "run it without arguments",
        ));
    };
    let start = Instant::now();
    let requests = step(peer, count)?;
    write!(out, "{}", cost::row(start)?)?;
    let right = |request: &&Request| request.answer.ends_with(b"\r\n\r\nhello");
    let right = requests.iter().filter(right).count();
    if right < count {
        write!(out, "  {right} answers")?;
    }
    Ok(())
}

fn main() {
    match run(&mut io::stdout().lock()) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::StorageFull) => {}
        Err(error) => {
            eprintln!("{error}");
            process::exit(1);
        }
    }
}

/// `struct pollfd`
#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

impl PollFd {
    fn readable(request: &Request) -> PollFd {
        const POLLIN: c_short = 1;
        let fd = request.stream.as_raw_fd();
        PollFd {
            fd,
            events: POLLIN,
            revents: 0,
        }
    }
}

fn sleep_in_poll_2(list: &mut [PollFd]) -> io::Result<()> {
    // SAFETY: the kernel reads and writes `list.len()` elements before the call returns.
    match unsafe { poll(list.as_mut_ptr(), list.len() as c_ulong, -1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

unsafe extern "C" {
    fn poll(list: *mut PollFd, length: c_ulong, timeout: c_int) -> c_int;
}
