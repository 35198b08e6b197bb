//! What lies between `poll` and `.await`: a future, a reactor and an executor on one thread.
//!
//! ```sh
//! cargo run -q --example 16_async_await
//! ```
//!
//! You see two `async fn` clients wait at the same time: delays of 0.5 s and 0.2 s take 0.5 s. A
//! future that has to wait stores a waker under its token and returns `Pending`. When no client can
//! continue, the executor sleeps in `Poll::poll`. An event's token finds the waker, and the waker
//! puts its client back on the executor's list.
//!
//! Comes after `15_reactor`. Book: it begins where chapter 4 ends, and has the parts of chapters 7
//! to 10 in one file: see the end of the file.
//!
//! Exercise that follows: 11_your_own_poll (`cargo run -q --example exercises 11`). Besides the two
//! files this lesson needs `src/program/delayserver.rs`.
//!
//! Change next (the answers are at the end of the file):
//! 1. Do not store the waker. What does the executor say?
//! 2. Run one client after the other: one task that awaits both.
//! 3. Let a client ask twice before its first `.await`. Which event finds no waker, and why is the
//!    answer not lost?

#[path = "../src/program/delayserver.rs"]
mod delayserver;

use delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll as State, Wake, Waker};
use std::time::{Duration, Instant};
use std::{process, thread};

/// A client is written like a blocking program. At each `.await`, other clients may run.
async fn client(name: &str, delays: &[u64], reactor: &Reactor) -> io::Result<()> {
    for (number, delay) in delays.iter().enumerate() {
        log(name, &format!("asks for answer {number} after {delay} ms"));
        let answer = reactor.ask(&format!("/{delay}/answer-{number}"))?.await?;
        let message = answer.lines().last().unwrap_or_default();
        log(name, &format!("continues after .await: {message:?}"));
    }
    Ok(())
}

/// An answer that may not have arrived yet.
struct Answer<'a> {
    reactor: &'a Reactor,
    stream: TcpStream,
    token: Token,
    bytes: Vec<u8>,
}

impl Future for Answer<'_> {
    type Output = io::Result<String>;

    /// Reads first, and waits only if it has to: what has already arrived causes no new edge.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> State<io::Result<String>> {
        let Answer { stream, bytes, .. } = &mut *self;
        // If this ends with `WouldBlock`, what it has read until then is in the buffer.
        match stream.read_to_end(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let (token, waker) = (self.token, context.waker().clone());
                self.reactor.wakers.borrow_mut().insert(token, waker);
                let stored = self.reactor.wakers.borrow().len();
                let what = format!("Pending: waits for token {token}; wakers stored: {stored}");
                log("future", &what);
                State::Pending
            }
            Err(error) => State::Ready(Err(error)),
            Ok(_) => State::Ready(Ok(String::from_utf8_lossy(bytes).into_owned())),
        }
    }
}

/// Knows which waker belongs to a token, but not what the waker wakes.
struct Reactor {
    address: SocketAddr,
    registry: Registry,
    next_token: Cell<Token>,
    wakers: RefCell<HashMap<Token, Waker>>,
    /// How many wakers were stored during a sleep, at most.
    most_waiting: Cell<usize>,
}

impl Reactor {
    /// Sends a request and registers its stream.
    fn ask(&self, path: &str) -> io::Result<Answer<'_>> {
        let token = self.next_token.get();
        self.next_token.set(token + 1);
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::EDGE;
        self.registry.register(&stream, token, interest)?;
        // The send buffer of a new connection is empty, so the request fits.
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        Ok(Answer {
            reactor: self,
            stream,
            token,
            bytes: Vec::new(),
        })
    }

    /// Sleeps until there are events, and calls the wakers of their tokens. Returns false if there
    /// was no event for 1 s.
    fn wait(&self, poll: &mut Poll, events: &mut Events) -> io::Result<bool> {
        let waiting = self.wakers.borrow().len();
        self.most_waiting.set(self.most_waiting.get().max(waiting));
        poll.poll(events, Some(Duration::from_secs(1)))?;
        for event in &*events {
            let token = event.token();
            let waker = self.wakers.borrow_mut().remove(&token);
            let calls = if waker.is_some() {
                "calls its waker"
            } else {
                "no waker"
            };
            log(
                "reactor",
                &format!("Poll::poll returns token {token}: {calls}"),
            );
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Ok(!events.is_empty())
    }
}

type Task<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

/// The executor: polls the tasks on its list, and sleeps in the reactor while the list is empty.
/// Returns the number of tasks that have not finished.
fn run(mut poll: Poll, reactor: &Reactor, tasks: Vec<Task>) -> io::Result<usize> {
    let runnable = Arc::new(Mutex::new(VecDeque::from_iter(0..tasks.len())));
    let mut tasks: HashMap<usize, Task> = tasks.into_iter().enumerate().collect();
    let mut events = Events::with_capacity(64);
    while !tasks.is_empty() {
        let Some(number) = runnable.lock().unwrap().pop_front() else {
            if !reactor.wait(&mut poll, &mut events)? {
                log("executor", "gives up: no event for 1 s");
                return Ok(tasks.len());
            }
            continue;
        };
        let Some(task) = tasks.get_mut(&number) else {
            continue; // Its waker was called twice.
        };
        let list = Arc::clone(&runnable);
        let waker = Waker::from(Arc::new(PutOnList { number, list }));
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            State::Pending => {}
            State::Ready(result) => {
                result?;
                tasks.remove(&number);
            }
        }
    }
    log("executor", "all clients have finished");
    Ok(0)
}

/// What a waker does here.
struct PutOnList {
    number: usize,
    list: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for PutOnList {
    fn wake(self: Arc<Self>) {
        self.list.lock().unwrap().push_back(self.number);
    }
}

fn main() -> io::Result<()> {
    let server = DelayServer::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    thread::Builder::new().spawn(move || server.run(io::sink()))?;

    let poll = Poll::new()?;
    let reactor = Reactor {
        address,
        registry: poll.registry().try_clone()?,
        next_token: Cell::new(0),
        wakers: RefCell::new(HashMap::new()),
        most_waiting: Cell::new(0),
    };
    let clients: Vec<Task> = vec![
        Box::pin(client("client-1", &[500], &reactor)),
        Box::pin(client("client-2", &[100, 100], &reactor)),
    ];
    let start = Instant::now();
    let unfinished = run(poll, &reactor, clients)?;
    let seconds = start.elapsed().as_secs_f64();

    if unfinished > 0 {
        say(format!(
            "\nTakeaway: {unfinished} tasks are left: only an event whose token has a stored waker"
        ));
        say("puts a task back on the list.");
    } else if reactor.most_waiting.get() < 2 {
        say(format!(
            "\nTakeaway: one future waited at a time, so these clients took {seconds:.1} s: `.await`"
        ));
        say("lets other tasks run, and not the rest of its own.");
    } else {
        let waiting = reactor.most_waiting.get();
        say("\nTakeaway: a future that has to wait stores a waker, and the event with its");
        say(format!(
            "token calls it: here {waiting} of them waited at the same time, {seconds:.1} s in all."
        ));
    }
    Ok(())
}

thread_local!(static START: Instant = Instant::now());

fn log(who: &str, what: &str) {
    let time = START.with(Instant::elapsed).as_secs_f64();
    say(format!("{time:.3} s  {who:8}  {what}"));
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// In the book, and here:
// - task: a call of `client`, the future that the executor polls
// - future that waits for I/O: `Answer`
// - reactor: `Reactor`, on the executor's thread
// - executor: `run`
// - waker: `PutOnList`, which puts a task back on the executor's list. (`epollet::Waker` is something
//   different: it ends the sleep of a poll.)

// Answers:
// 1. It gives up: both answers arrive, but nothing puts the clients back on its list.
// 2. It takes 0.7 s. Only tasks run at the same time; within a task, `.await` waits.
// 3. The event of the answer that is awaited second, if it arrives first: no future has stored a
//    waker for it yet. That future reads before it waits, and finds the answer.
