//! Exercise 03, after the lesson 05_echo_server.
//!
//! A client that sends a line gets 8,000,000 bytes, even if it half-closes
//! after the line. If it does not, the connection stays open, and it can ask
//! again, even while an answer is pending (but it does not send two lines at
//! once). A slow reader must not delay the others, and while no client is
//! ready, the server sleeps.
//!
//! A client gets the beginning of the answer only.
//!
//! Change whatever you like, except what it prints and sends. It is one thread,
//! which sleeps in `poll` and nowhere else.
//!
//! By hand: `cargo run --bin 03_a_slow_reader` in `examples/exercises/mine`,
//! and in another terminal, in `bash`, a client that reads for two seconds.
//!
//! ```sh
//! exec 3<>/dev/tcp/127.0.0.1/PORT; echo >&3; timeout 2 cat <&3 | wc -c
//! ```

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = 0;

struct Client {
    stream: TcpStream,
}

impl Client {
    /// Answers a line. Returns false at end of file.
    fn answer(&mut self) -> Result<bool> {
        let mut buffer = [0; 1024];
        let count = self.stream.read(&mut buffer)?;
        if buffer[..count].contains(&b'\n') {
            let answer = b"0123456789abcdef".repeat(500_000);
            self.stream.write(&answer)?;
        }
        Ok(count > 0)
    }
}

/// Handles an event of a client. Returns false when the client is finished.
fn handle(client: &mut Client) -> Result<bool> {
    match client.answer() {
        Ok(is_open) => Ok(is_open),
        Err(error) => {
            eprintln!("a client: {error}");
            // One broken connection does not end the server.
            Ok(error.kind() == ErrorKind::WouldBlock)
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
                clients.insert(next_token, Client { stream });
                next_token += 1;
            } else if let Some(client) = clients.get_mut(&event.token()) {
                if !handle(client)? {
                    clients.remove(&event.token());
                }
            }
        }
    }
}
