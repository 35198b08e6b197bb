//! A reactor and an executor: one thread sleeps in `poll`, another one does the work.
//!
//! ```sh
//! cargo run -q --example 15_reactor
//! ```
//!
//! You see the reactor sleep before any stream is registered. The executor registers streams
//! through a clone of the registry. For each event the reactor sends the token through a channel,
//! and the executor continues the task with that token. At the end a `Waker` stops the reactor.
//!
//! Comes after `14_workers`. Book: the older book's `Reactor`, `Registrator` and `close_loop`, and
//! two of its exercises: a registrator that several threads can use, and stopping the poll thread
//! from outside. Chapters 8 to 10 of the newer book have the same two parts: the thread in `react`
//! is the reactor, and the loop in `main` is the executor. The book puts wakers between
//! them instead of tokens: see the next lesson.
//!
//! Besides the two files it needs `src/program/delayserver.rs`.
//!
//! Change next (the answers are at the end of the file):
//! 1. Remove `| Interest::EDGE`. How many tokens are sent for one answer now?
//! 2. Put `Interest::ONESHOT` in its place. Does each task finish? Then call `reregister` where
//!    `resume` returns after `WouldBlock`.
//! 3. Call `waker.wake()` before the loop as well. What happens to the tasks?

#[path = "../src/program/delayserver.rs"]
mod delayserver;

use delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{process, thread};

const STOP: Token = 0;

/// The reactor's thread. It knows the tokens, but not what they stand for.
fn react(mut poll: Poll, executor: Sender<Token>, start: Instant) -> io::Result<()> {
    log(start, "reactor", "sleeps; no stream is registered");
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            log(start, "reactor", &format!("{event:?}"));
            if event.token() == STOP || executor.send(event.token()).is_err() {
                return Ok(());
            }
        }
    }
}

/// The executor, on the main thread. It owns the streams, and sleeps until a token arrives.
fn main() -> io::Result<()> {
    let server = DelayServer::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    thread::Builder::new().spawn(move || server.run(io::sink()))?;

    let start = Instant::now();
    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let waker = Waker::new(&registry, STOP)?;
    let (sender, tokens) = mpsc::channel();
    let reactor = thread::Builder::new().spawn(move || react(poll, sender, start))?;
    thread::sleep(Duration::from_millis(50)); // The reactor sleeps by now.

    let mut executor = Executor {
        start,
        address,
        registry,
        next_token: STOP + 1,
        tasks: HashMap::new(),
    };
    executor.ask(500, "slow")?;
    executor.ask(100, "fast")?;
    let mut received = 0;
    while !executor.tasks.is_empty() {
        let token = match tokens.recv_timeout(Duration::from_secs(1)) {
            Ok(token) => token,
            Err(error) => {
                log(start, "executor", &format!("gives up: {error}"));
                break;
            }
        };
        received += 1;
        if executor.resume(token)? == Some("fast".to_owned()) {
            executor.ask(100, "next")?;
        }
    }
    log(start, "executor", "calls Waker::wake");
    waker.wake()?;
    // The channel closes when the reactor has stopped. Tokens that it has sent before come first.
    let stopped = loop {
        match tokens.recv_timeout(Duration::from_secs(1)) {
            Ok(_) => {}
            Err(error) => break error == RecvTimeoutError::Disconnected,
        }
    };
    if !stopped {
        say("\nTakeaway: the reactor sleeps on, because no event wakes it.");
        return Ok(());
    }
    reactor.join().expect("the reactor has not panicked")?;

    let mut unfinished: Vec<&Token> = executor.tasks.keys().collect();
    unfinished.sort();
    if !unfinished.is_empty() {
        say(format!(
            "\nTakeaway: no token comes for the tasks {unfinished:?}, so they do not finish."
        ));
    } else if received > 2 * 3 {
        // An answer and the end of its stream are two edges at most.
        say(format!(
            "\nTakeaway: for three answers the executor gets {received} tokens: each poll repeats"
        ));
        say("a token until the other thread has read.");
    } else {
        say("\nTakeaway: one thread waits and sends tokens, another owns the streams and");
        say("does the work.");
    }
    Ok(())
}

struct Executor {
    start: Instant,
    address: SocketAddr,
    registry: Registry,
    next_token: Token,
    tasks: HashMap<Token, Task>,
}

struct Task {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Executor {
    /// Sends a request and registers the stream, while the reactor sleeps.
    fn ask(&mut self, delay: u64, message: &str) -> io::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        // Level-triggered, the token would be sent again and again until this thread has read.
        let interest = Interest::READABLE | Interest::EDGE;
        self.registry.register(&stream, token, interest)?;
        // The send buffer of a new connection is empty, so the request fits.
        let request = format!("GET /{delay}/{message} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let text = format!("registers token {token}, asks for {message:?} after {delay} ms");
        log(self.start, "executor", &text);
        let answer = Vec::new();
        self.tasks.insert(token, Task { stream, answer });
        Ok(())
    }

    /// Continues a task. Returns its message if that has finished it.
    fn resume(&mut self, token: Token) -> io::Result<Option<String>> {
        let Some(task) = self.tasks.get_mut(&token) else {
            return Ok(None); // An earlier event has finished it: end of file is a separate edge.
        };
        // If this ends with `WouldBlock`, what it has read until then is in the buffer.
        match task.stream.read_to_end(&mut task.answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            done => done?,
        };
        let answer = String::from_utf8_lossy(&task.answer);
        let message = answer.lines().last().unwrap_or_default().to_owned();
        log(
            self.start,
            "executor",
            &format!("has read {message:?} from token {token}"),
        );
        self.tasks.remove(&token); // Closes the stream: it leaves the interest list.
        Ok(Some(message))
    }
}

fn log(start: Instant, who: &str, what: &str) {
    say(format!(
        "{:.3} s  {who:8}  {what}",
        start.elapsed().as_secs_f64()
    ));
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. From two to some thousand: the reactor sends the token again until the executor has read.
// 2. Not if its answer comes before the end of its stream: the end is then not reported. Which tasks
//    are left, if any, differs from run to run. With `reregister`, all finish.
// 3. The reactor stops at the waker's token, and the channel closes. No task finishes, although the
//    answers arrive.
