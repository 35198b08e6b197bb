//! A reactor and an executor: one thread sleeps in `poll`, another one does the work.
//!
//! ```sh
//! cargo run --example reactor
//! ```
//!
//! You see a reactor begin to sleep with no stream registered; the executor then registers streams
//! through a clone of the registry. For each event the reactor sends a token over a channel, and
//! the executor goes on with the task of that token. At the end a `Waker` ends the reactor.
//!
//! It is the older book's `Reactor` and `close_loop`, and answers two exercises: a registrator
//! usable from several threads; stop the poll thread from outside.
//!
//! Change next: take `Interest::EDGE` out and count the tokens that one answer makes. Put
//! `Interest::ONESHOT` in its place: where has `reregister` to go? Run two executors.

use epollet::delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

/// From the reactor it means "I begin", to the reactor "end". Tasks count from 1.
const REACTOR: Token = 0;

fn main() -> io::Result<()> {
    let start = Instant::now();
    let server = DelayServer::bind("127.0.0.1:0")?;
    let (address, stopper) = (server.local_addr()?, server.stopper()?);
    let server = thread::spawn(move || server.run(io::sink()));

    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let waker = Waker::new(&registry, REACTOR)?;
    let (sender, tokens) = mpsc::channel();
    let reactor = thread::spawn(move || react(poll, sender, start));
    assert_eq!(tokens.recv(), Ok(REACTOR));

    let mut executor = Executor {
        start,
        address,
        registry,
        registered: Vec::new(),
        tasks: HashMap::new(),
    };
    executor.ask(300, "slow")?;
    executor.ask(100, "fast")?;
    let mut answers = Vec::new();
    // The channel ends with the reactor, which holds its other side.
    for token in tokens {
        if let Some(answer) = executor.resume(token)? {
            if answer == "fast" {
                executor.ask(100, "next")?;
            }
            answers.push(answer);
            if executor.tasks.is_empty() {
                say(start, "executor", "has no task left: ends the reactor");
                waker.wake()?;
            }
        }
    }
    let sleeps = reactor.join().unwrap()?;
    stopper.wake()?;
    server.join().unwrap()?;

    answers.sort();
    assert_eq!(answers, ["fast", "next", "slow"]);
    assert!(sleeps[0].contains(&executor.registered[0]));
    let during = |time: &&Instant| sleeps[0].contains(time);
    let count = executor.registered.iter().filter(during).count();
    println!("\n3 requests, 3 answers; {count} registered while poll 1 slept. One answer may be");
    println!("two edges, data and end of file, so {} polls", sleeps.len());
    Ok(())
}

type Sleeps = Vec<Range<Instant>>;

/// The reactor's thread: it knows tokens, and nothing of what they stand for.
fn react(mut poll: Poll, executor: Sender<Token>, start: Instant) -> io::Result<Sleeps> {
    let mut events = Events::with_capacity(64);
    let mut sleeps = Vec::new();
    say(start, "reactor", "poll 1 begins, with no stream registered");
    let mut from = Instant::now();
    let _ = executor.send(REACTOR);
    loop {
        poll.poll(&mut events, None)?;
        sleeps.push(from..Instant::now());
        for event in &events {
            let text = format!("poll {}: {event:?}", sleeps.len());
            say(start, "reactor", &text);
            if event.token() == REACTOR || executor.send(event.token()).is_err() {
                return Ok(sleeps);
            }
        }
        from = Instant::now();
    }
}

struct Executor {
    start: Instant,
    address: SocketAddr,
    registry: Registry,
    registered: Vec<Instant>,
    /// A stream, and what has been read from it.
    tasks: HashMap<Token, (TcpStream, Vec<u8>)>,
}

impl Executor {
    fn ask(&mut self, delay: u64, message: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        let token = self.registered.len() + 1;
        // Level-triggered, the token would come again and again until this thread has read.
        let interest = Interest::READABLE | Interest::EDGE;
        self.registry.register(&stream, token, interest)?;
        self.registered.push(Instant::now());
        let text = format!("registers token {token}, asks for {message:?} in {delay} ms");
        say(self.start, "executor", &text);
        write!(stream, "GET /{delay}/{message} HTTP/1.0\r\n\r\n")?;
        self.tasks.insert(token, (stream, Vec::new()));
        Ok(())
    }

    fn resume(&mut self, token: Token) -> io::Result<Option<String>> {
        let (stream, answer) = match self.tasks.get_mut(&token) {
            Some(task) => task,
            None => return Ok(None), // An earlier token's read went on to the end.
        };
        match stream.read_to_end(answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            done => done?,
        };
        let answer = String::from_utf8_lossy(answer);
        let body = answer.lines().last().unwrap_or_default().to_owned();
        let text = format!("gets token {token}, reads {body:?}");
        say(self.start, "executor", &text);
        self.tasks.remove(&token); // Closes the stream, and so deregisters it.
        Ok(Some(body))
    }
}

fn say(start: Instant, who: &str, what: &str) {
    println!("{:.3} s  {who:8}  {what}", start.elapsed().as_secs_f64());
}
