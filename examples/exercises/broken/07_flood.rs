//! Exercise 07, after the lesson 09_fair.
//!
//! This server counts what it reads. A client that sends a line end gets a
//! line: the number of bytes that the server has read so far, from all clients
//! together. No client should make the others wait: if megabytes of one client
//! are there, and behind them a line end of another one, the answer comes
//! before half of those megabytes have been read.
//!
//! If one client sends a flood, the others get no answer until it has ended.
//!
//! Change whatever you like, except what it prints and sends. It is one thread,
//! which sleeps in `poll` and nowhere else.
//!
//! By hand: `cargo run --bin 07_flood` in `examples/exercises/mine`, and in
//! another terminal, in `bash`, a flood from one client, and a line end from
//! another one. For the last line, stop the server with Ctrl-Z, and continue it
//! with `fg`. How much did it read before the answer?
//!
//! ```sh
//! exec 3<>/dev/tcp/127.0.0.1/PORT 4<>/dev/tcp/127.0.0.1/PORT
//! timeout 1 cat /dev/zero >&3; echo >&4; head -1 <&4
//! ```

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = 0;

/// Reads all that a client has sent. Returns false at end of file.
fn drain(stream: &mut TcpStream, total: &mut usize) -> Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        *total += count;
        if buffer[..count].contains(&b'\n') {
            stream.write_all(format!("{total}\n").as_bytes())?;
        }
    }
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, TcpStream> = HashMap::new();
    let mut next_token = LISTENER + 1;
    let mut total = 0;
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let interest = Interest::READABLE | Interest::EDGE;
                poll.registry().register(&stream, next_token, interest)?;
                clients.insert(next_token, stream);
                next_token += 1;
            } else if let Some(stream) = clients.get_mut(&event.token()) {
                // An error is one client's: it does not end the server.
                if !drain(stream, &mut total).unwrap_or(false) {
                    clients.remove(&event.token());
                }
            }
        }
    }
}
