//! Exercise 05, after the lesson 07_connect.
//!
//! This server sends back each line in capital letters. A line can arrive in
//! pieces: then the server waits for the rest of it, and serves the other
//! clients meanwhile. Lines are short, and clients read: an answer always fits
//! in the send buffer, so `write_all` may stay.
//!
//! If a client sends half a line and pauses, all the others wait.
//!
//! Change whatever you like, except what it prints and sends. It is one thread,
//! which sleeps in `poll` and nowhere else.
//!
//! By hand: `cargo run --bin 05_one_blocks_all` in `examples/exercises/mine`,
//! and in another terminal, in `bash`, half a line from one client, and a line
//! from another one.
//!
//! ```sh
//! exec 3<>/dev/tcp/127.0.0.1/PORT 4<>/dev/tcp/127.0.0.1/PORT
//! printf hal >&3; echo two >&4; timeout 2 cat <&4
//! ```

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = 0;

struct Client {
    stream: TcpStream,
    /// What has arrived of a line.
    line: Vec<u8>,
}

impl Client {
    /// Reads to the end of the line and answers it. Returns false at end of file.
    fn answer(&mut self) -> Result<bool> {
        while !self.line.ends_with(b"\n") {
            let mut byte = [0; 1];
            if self.stream.read(&mut byte)? == 0 {
                return Ok(false);
            }
            self.line.push(byte[0]);
        }
        self.stream.write_all(&self.line.to_ascii_uppercase())?;
        self.line.clear();
        Ok(true)
    }
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, Client> = HashMap::new();
    let mut next_token = LISTENER + 1;
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                let (stream, _) = listener.accept()?;
                poll.registry()
                    .register(&stream, next_token, Interest::READABLE)?;
                let line = Vec::new();
                clients.insert(next_token, Client { stream, line });
                next_token += 1;
            } else if let Some(client) = clients.get_mut(&event.token()) {
                // An error is one client's: it does not end the server.
                if !client.answer().unwrap_or(false) {
                    clients.remove(&event.token());
                }
            }
        }
    }
}
