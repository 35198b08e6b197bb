//! Exercise 10, after the lesson 14_workers.
//!
//! A client sends numbers, one in a line, and gets the square of each, in the
//! same order. A second thread computes them; it wakes the loop when there is a
//! result.
//!
//! Some results are computed and never sent.
//!
//! Change whatever you like, except what it prints and sends, and keep the
//! second thread.
//!
//! By hand: `cargo run --bin 10_wake_then_send` in `examples/exercises/mine`,
//! and in another terminal, in `bash`, nine numbers.
//!
//! ```sh
//! exec 3<>/dev/tcp/127.0.0.1/PORT; seq 9 >&3; timeout 2 cat <&3
//! ```

use epollet::{Events, Interest, Poll, Registry, Token, Waker};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

const LISTENER: Token = 0;
const WAKE: Token = 1;

/// The second thread: takes jobs and sends results. Ends when there are no more jobs.
fn work(jobs: Receiver<(Token, u64)>, results: Sender<(Token, u64)>, waker: Waker) -> Result<()> {
    for (client, number) in jobs {
        waker.wake()?;
        results.send((client, number * number)).unwrap();
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    /// What has arrived of a line.
    line: String,
}

impl Client {
    /// Reads once, and makes a job of each line. Returns false at end of file.
    fn read(&mut self, token: Token, jobs: &Sender<(Token, u64)>) -> Result<bool> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        self.line += &String::from_utf8_lossy(&buffer[..count]);
        while let Some((number, rest)) = self.line.split_once('\n') {
            jobs.send((token, number.parse().unwrap_or(0))).unwrap();
            self.line = rest.to_owned();
        }
        Ok(count > 0)
    }
}

fn accept(listener: &TcpListener, token: Token, registry: &Registry) -> Result<Client> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    registry.register(&stream, token, Interest::READABLE)?;
    let line = String::new();
    Ok(Client { stream, line })
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let (jobs, jobs_to_do) = mpsc::channel();
    let (results_done, results) = mpsc::channel();
    thread::spawn(|| work(jobs_to_do, results_done, waker));

    let mut clients: HashMap<Token, Client> = HashMap::new();
    let mut next_token = WAKE + 1;
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                clients.insert(next_token, accept(&listener, next_token, poll.registry())?);
                next_token += 1;
            } else if token == WAKE {
                if let Ok((token, square)) = results.try_recv() {
                    if let Some(client) = clients.get_mut(&token) {
                        client.stream.write_all(format!("{square}\n").as_bytes())?;
                    }
                }
            } else if let Some(client) = clients.get_mut(&token) {
                match client.read(token, &jobs) {
                    Ok(true) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    _ => drop(clients.remove(&token)),
                }
            }
        }
    }
}
