//! The same requests in seven steps, from a read that blocks to an event queue with `async fn`.
//!
//! ```sh
//! cargo run -q --example 01_steps
//! ```
//!
//! Read each step beside the one before it: which lines are new, and which numbers have changed?
//! `calls` are the system calls after the request is sent, counted where this file makes them.
//! `sleeps` are voluntary context switches. `steps/cost.rs` shows how the rest is measured.
//!
//! `poll_2` calls poll(2), which is older than epoll. `03_triggers` explains level and edge,
//! `16_async_await` the last step. The terms are in the guide's glossary, `src/guide/glossary.md`.
//!
//! The first lesson. Book: chapter 4, "Design and introduction to epoll". Besides the two files it
//! needs `examples/steps/cost.rs` and `src/program/delayserver.rs`.
//!
//! Change next, and predict the numbers (the answers are at the end of the file):
//! 1. Set `DELAY_MS` to 0.
//! 2. In `epoll_level`, leave `deregister` out.
//! 3. In `epoll_edge`, read once for each event: `if` instead of `while`, without the `break`.

#[path = "steps/cost.rs"]
mod cost;
#[path = "../src/program/delayserver.rs"]
mod delayserver;

use cost::{CALLS, CPU, MEMORY, SECONDS, SLEEPS, counted};
use delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token};
use std::ffi::{c_int, c_short, c_ulong};
use std::fmt::Display;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{self, Command, Stdio};
use std::task::{Context, Poll as State, Waker};
use std::time::Instant;
use std::{env, thread};

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
        let thread = thread::Builder::new().spawn(move || one_after_another(peer, 1))?;
        threads.push(thread);
    }
    cost::note_threads(threads.len());
    let mut requests = Vec::new();
    for thread in threads {
        requests.extend(thread.join().expect("it does not panic")?);
    }
    Ok(requests)
}

/// No read blocks: each returns at once, and most return nothing.
fn busy_loop(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = send_all(peer, count)?;
    let mut done = 0;
    while done < count {
        for request in &mut requests {
            if !request.ended && request.read()? == Got::End {
                done += 1;
            }
        }
    }
    Ok(requests)
}

/// poll(2) says which of them are readable. The kernel gets the whole list in every call.
fn poll_2(peer: SocketAddr, count: usize) -> io::Result<Vec<Request>> {
    let mut requests = send_all(peer, count)?;
    let mut list: Vec<PollFd> = requests.iter().map(PollFd::readable).collect();
    let mut done = 0;
    while done < count {
        counted(sleep_in_poll_2(&mut list))?;
        for (entry, request) in list.iter_mut().zip(&mut requests) {
            if entry.revents != 0 && request.read()? == Got::End {
                entry.fd = -1; // The kernel skips it from now on.
                done += 1;
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
    let mut done = 0;
    while done < count {
        counted(poll.poll(&mut events, None))?;
        for event in &events {
            let request = &mut requests[event.token()];
            if request.read()? == Got::End {
                counted(poll.registry().deregister(&request.stream))?; // An end stays readable.
                done += 1;
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
    let mut done = 0;
    while done < count {
        counted(poll.poll(&mut events, None))?;
        for event in &events {
            let request = &mut requests[event.token()];
            while !request.ended {
                match request.read()? {
                    Got::Bytes => {}
                    Got::Nothing => break,
                    Got::End => done += 1,
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
            let mut context = Context::from_waker(Waker::noop()); // Tokens replace wakers here.
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

    fn is_answered(&self) -> bool {
        self.answer.ends_with(b"\r\n\r\nhello")
    }

    /// Makes one system call.
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

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    if let [_, name, peer, count] = &args[..] {
        return run_step(name, peer, count);
    }
    let server = DelayServer::bind("127.0.0.1:0")?;
    let peer = server.local_addr()?.to_string();
    thread::Builder::new().spawn(move || server.run(io::sink()))?;

    let few = compare(&STEPS, &peer, 20)?;
    say("");
    // Each takes a descriptor in the process of the step, and one here, in the server.
    let count = 1000.min(cost::open_files_limit()?.saturating_sub(30));
    let many = compare(&STEPS[1..], &peer, count)?;
    let seconds = count * DELAY_MS / 1000;
    say(format!("(one_after_another is left out: {seconds} s)\n"));
    if let Some([_, _, poll_2, level, ..]) = many.as_deref() {
        if level[CALLS] > poll_2[CALLS] && level[SLEEPS] > poll_2[SLEEPS] {
            say("epoll needs more calls than poll_2: it registers each stream, and sleeps more");
            say("often. But no call passes the whole list: 17_two_backends measures that.\n");
        }
    }
    say(takeaway(few, many));
    Ok(())
}

/// Runs each step in a process of its own: this program, with arguments. `None`: one has failed.
fn compare(steps: &[(&str, Step)], peer: &str, count: usize) -> io::Result<Option<Vec<Row>>> {
    let title = format!("{count} requests");
    say(format!("{title:18}{}", cost::HEADER));
    let mut rows = Vec::new();
    for (name, _) in steps {
        let mut child = Command::new(env::current_exe()?);
        let child = child.args([name, peer, &count.to_string()]);
        let output = child.stderr(Stdio::inherit()).output()?;
        let text = match output.status.code() {
            Some(_) => String::from_utf8_lossy(&output.stdout),
            None => format!("  {}: it hangs", output.status).into(),
        };
        say(format!("{name:18}{}", text.trim_end()));
        let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        rows.push(Row::try_from(numbers.collect::<Vec<f64>>()).ok());
    }
    Ok(rows.into_iter().collect())
}

/// The child process. Prints a row of numbers, or what went wrong.
fn run_step(name: &str, peer: &str, count: &str) -> io::Result<()> {
    let step = STEPS.iter().find(|(step, _)| *step == name);
    let (Some((_, step)), Ok(peer), Ok(count)) = (step, peer.parse(), count.parse()) else {
        eprintln!("usage: cargo run -q --example 01_steps");
        process::exit(2);
    };
    cost::end_with_a_signal_after(5);
    let start = Instant::now();
    match step(peer, count) {
        Ok(requests) if requests.iter().all(Request::is_answered) => say(cost::row(start)?),
        Ok(_) => say("  stops too early: some answers are not complete"),
        Err(error) => say(format!("  {error}")),
    }
    Ok(())
}

fn takeaway(few: Option<Vec<Row>>, many: Option<Vec<Row>>) -> String {
    let (Some(few), Some(many)) = (few, many) else {
        return "Takeaway: no comparison: a step has not got all of its answers.".to_owned();
    };
    // In the order of `STEPS`.
    let [one, _, busy, _, level, ..] = &few[..] else {
        unreachable!("a row for each step");
    };
    let [threads, _, _, level_of_many, ..] = &many[..] else {
        unreachable!("a row for each step but the first");
    };
    let time = one[SECONDS] / level[SECONDS];
    let cpu = busy[CPU] / level[CPU];
    let memory = threads[MEMORY] / level_of_many[MEMORY];
    if time.min(cpu) < 4.0 || memory < 1.5 {
        return "Takeaway: this run does not show what an event queue saves.".to_owned();
    }
    format!(
        "Takeaway: an event queue needs 1/{time:.0} of the time of one after another, 1/{cpu:.0} of\n\
         a busy loop's CPU (first table) and 1/{memory:.0} of the threads' memory (second table)."
    )
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
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
        let (fd, events, revents) = (request.stream.as_raw_fd(), POLLIN, 0);
        PollFd {
            fd,
            events,
            revents,
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

// Answers:
// 1. With 20, each takes a few milliseconds, and which is fastest differs from run to run: without a
//    delay, a queue has little to save, as the takeaway says. The busy loop soon finds an answer, so
//    it makes far fewer calls. With 1,000, threads still cost their memory and CPU time.
// 2. A level-triggered end is reported by every poll. So requests can be counted twice, and then the
//    step stops before it has all answers: nearly always with 1,000, often with 20.
// 3. The step hangs, until a signal ends it after 5 s: the end of the answer has arrived together with
//    its bytes, so there is no further change, and no further event.
