//! What sits between `poll` and `.await`: an executor and a reactor, on one thread.
//!
//! ```sh
//! cargo run --example async_await
//! ```
//!
//! You see three `async fn` clients wait together. A future that has to wait leaves a waker with
//! the reactor and returns `Pending`. When no client can go on, the executor sleeps in
//! `Poll::poll`; an event's token finds the waker, which puts its client on the executor's list.
//!
//! It begins where the book's chapter 4 ends, and leads to its chapters on futures and runtimes.
//!
//! Change next: let another thread call a waker. What ends the executor's sleep? (`epollet::Waker`)

use epollet::delayserver::DelayServer;
use epollet::{Events, Interest, Poll, Registry, Token};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll as Progress, Wake, Waker};
use std::time::Instant;
use std::{mem, thread};

fn main() -> io::Result<()> {
    let server = DelayServer::bind("127.0.0.1:0")?;
    let (address, stopper) = (server.local_addr()?, server.stopper()?);
    let server = thread::spawn(move || server.run(io::sink()));

    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let wakers = RefCell::new(Vec::new());
    let reactor = Reactor { registry, wakers };
    let clients: Vec<Task> = vec![
        Box::pin(client(&reactor, address, 0, &[300])),
        Box::pin(client(&reactor, address, 1, &[100, 100])),
        Box::pin(client(&reactor, address, 2, &[150])),
    ];
    run(poll, &reactor, clients)?;
    say("main", "4 answers on 1 thread; one by one: 0.650 s");
    assert_eq!(reactor.wakers.borrow().len(), 4, "one for each request");
    stopper.wake()?;
    server.join().unwrap()
}

type Done = io::Result<()>;
type Task<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

/// It reads like a blocking program. Each `.await` is where others may run.
async fn client(reactor: &Reactor, to: SocketAddr, number: usize, delays: &[u64]) -> Done {
    for delay in delays {
        let name = format!("client-{number}");
        say(&name, &format!("asks, for an answer in {delay} ms"));
        let answer = ask(reactor, to, &format!("/{delay}/{name}"))?.await?;
        say(&name, "goes on behind .await: it has its answer");
        assert!(answer.ends_with(&format!("\r\n\r\n{name}")), "{answer}");
    }
    Ok(())
}

fn ask<'a>(reactor: &'a Reactor, to: SocketAddr, path: &str) -> io::Result<Answer<'a>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nonblocking(true)?;
    let token = reactor.wakers.borrow().len();
    reactor.wakers.borrow_mut().push(None);
    let interest = Interest::READABLE | Interest::EDGE;
    reactor.registry.register(&stream, token, interest)?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    Ok(Answer(reactor, stream, token, Vec::new()))
}

struct Answer<'a>(&'a Reactor, TcpStream, Token, Vec<u8>);

impl Future for Answer<'_> {
    type Output = io::Result<String>;

    /// Tries to read first, and waits only if it has to: what has come meanwhile makes no new edge.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Progress<io::Result<String>> {
        let Answer(reactor, stream, token, bytes) = self.get_mut();
        match stream.read_to_end(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                say(
                    "future",
                    &format!("Pending: leaves a waker under token {token}"),
                );
                reactor.wakers.borrow_mut()[*token] = Some(context.waker().clone());
                Progress::Pending
            }
            done => Progress::Ready(done.map(|_| String::from_utf8_lossy(bytes).into())),
        }
    }
}

/// Knows which waker an event's token is for, and not what that wakes.
struct Reactor {
    registry: Registry,
    wakers: RefCell<Vec<Option<Waker>>>,
}

/// The executor: polls the tasks on its list, and sleeps while it is empty.
fn run(mut poll: Poll, reactor: &Reactor, tasks: Vec<Task>) -> Done {
    let list = Arc::new(Mutex::new((0..tasks.len()).collect()));
    let mut tasks: HashMap<usize, Task> = tasks.into_iter().enumerate().collect();
    let mut events = Events::with_capacity(64);
    while !tasks.is_empty() {
        let ready: Vec<usize> = mem::take(&mut list.lock().unwrap());
        if ready.is_empty() {
            assert!(reactor.wakers.borrow().len() >= 3, "each client has asked");
            say("executor", "its list is empty: sleeps in Poll::poll");
            poll.poll(&mut events, None)?;
            for event in &events {
                if let Some(waker) = reactor.wakers.borrow_mut()[event.token()].take() {
                    say("reactor", &format!("{event:?}: wakes"));
                    waker.wake();
                }
            }
        }
        for number in ready {
            say("executor", &format!("polls client-{number}"));
            let waker = Waker::from(Arc::new(PutOnList(number, list.clone())));
            let task = tasks.get_mut(&number).unwrap().as_mut();
            if let Progress::Ready(done) = task.poll(&mut Context::from_waker(&waker)) {
                done?;
                tasks.remove(&number);
            }
        }
    }
    Ok(())
}

struct PutOnList(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for PutOnList {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

thread_local!(static START: Instant = Instant::now());
fn say(who: &str, what: &str) {
    let time = START.with(Instant::elapsed).as_secs_f64();
    println!("{time:.3} s  {who:8}  {what}");
}
