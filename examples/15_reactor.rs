//! A reactor and an executor: one thread sleeps in `poll`, another one does the work.
//!
//! ```sh
//! cargo run --example 15_reactor
//! ```
//!
//! You see the reactor sleep before any stream is registered. The executor registers streams
//! through a clone of the registry. For each event the reactor sends the token through a channel,
//! and the executor continues the task with that token. At the end a `Waker` stops the reactor.
//!
//! Book: the older book's `Reactor`, `Registrator` and `close_loop`, and two exercises: a
//! registrator that several threads can use, and stopping the poll thread from outside. Besides
//! `ffi.rs` and `poll.rs` it needs the delay server, so run it here.
//!
//! Change next:
//! - Remove `| Interest::EDGE`. How often is one answer reported now, and why?
//! - Put `Interest::ONESHOT` in its place. Which tasks do not finish, and are they the same in each
//!   run? Then call `reregister` where `resume` returns after `WouldBlock`.
//! - Call `waker.wake()` before the loop as well. What happens to the tasks?

#[path = "../src/program/delayserver.rs"]
mod delayserver;

use delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

const STOP: Token = 0;

/// The reactor's thread. It knows the tokens, but not what they stand for.
fn react(mut poll: Poll, executor: Sender<Token>, start: Instant) -> io::Result<()> {
    say(start, "reactor", "sleeps; no stream is registered");
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            say(start, "reactor", &format!("{event:?}"));
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
    thread::spawn(move || server.run(io::sink()));

    let start = Instant::now();
    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let waker = Waker::new(&registry, STOP)?;
    let (sender, tokens) = mpsc::channel();
    let reactor = thread::spawn(move || react(poll, sender, start));
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
    while !executor.tasks.is_empty() {
        let token = match tokens.recv_timeout(Duration::from_secs(1)) {
            Ok(token) => token,
            Err(error) => {
                let tokens = executor.tasks.keys();
                println!("{error}; tasks that are not finished: {tokens:?}");
                break;
            }
        };
        if executor.resume(token)? == Some("fast".to_owned()) {
            executor.ask(100, "next")?;
        }
    }
    say(start, "executor", "calls Waker::wake");
    waker.wake()?;
    reactor.join().expect("the reactor has not panicked")?;

    println!("\nTakeaway: one thread waits and sends tokens, another owns the streams and");
    println!("does the work.");
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
        write!(stream, "GET /{delay}/{message} HTTP/1.0\r\n\r\n")?;
        let text = format!("registers token {token}, asks for {message:?} after {delay} ms");
        say(self.start, "executor", &text);
        let answer = Vec::new();
        self.tasks.insert(token, Task { stream, answer });
        Ok(())
    }

    /// Continues a task. Returns its message if that has finished it.
    fn resume(&mut self, token: Token) -> io::Result<Option<String>> {
        let Some(task) = self.tasks.get_mut(&token) else {
            return Ok(None); // An earlier event has finished it: end of file is a separate edge.
        };
        match task.stream.read_to_end(&mut task.answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            done => done?,
        };
        let answer = String::from_utf8_lossy(&task.answer);
        let message = answer.lines().last().unwrap_or_default().to_owned();
        say(
            self.start,
            "executor",
            &format!("has read {message:?} from token {token}"),
        );
        self.tasks.remove(&token); // Closes the stream: it leaves the interest list.
        Ok(Some(message))
    }
}

fn say(start: Instant, who: &str, what: &str) {
    println!("{:.3} s  {who:8}  {what}", start.elapsed().as_secs_f64());
}
