//! Symptom: BLOCKS
//! Hint: In which call does the server sleep? It should sleep in `poll` and nowhere else. Which of
//!   its sockets may make it sleep elsewhere?
//! Hint: A stream from `accept` is blocking, even if the listener is not.
//! Hint: On a non-blocking stream, a read with nothing to read returns the error `WouldBlock`.
//!   That is not a failure, and not a reason to retry at once: go back to `poll`, and keep the half
//!   line.
//! Learned: Make each accepted stream non-blocking, and keep what has arrived until it is complete.

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
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
            match self.stream.read(&mut byte) {
                Ok(0) => return Ok(false),
                Ok(_) => self.line.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
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
                stream.set_nonblocking(true)?;
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
