//! Exercise 09, after the lesson 13_shutdown.
//!
//! This server sends back what a client sends. It may open only a few
//! descriptors. A client that finds no free one waits until another client
//! leaves; nobody is turned away.
//!
//! When all descriptors are in use and another client connects, it uses a whole
//! CPU.
//!
//! Change whatever you like, except what it prints and sends.
//!
//! By hand: `cargo build --bin 09_no_descriptor` in `examples/exercises/mine`,
//! `(ulimit -n 16; target/debug/09_no_descriptor)`, and in another terminal, in
//! `bash`, 16 clients. Then look at the server in `top`.
//!
//! ```sh
//! for i in {1..16}; do exec {fd}<>/dev/tcp/127.0.0.1/PORT; done
//! ```

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = 0;

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    registry.register(&listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, TcpStream> = HashMap::new();
    let mut next_token = LISTENER + 1;
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(true)?;
                        registry.register(&stream, next_token, Interest::READABLE)?;
                        clients.insert(next_token, stream);
                        next_token += 1;
                    }
                    Err(_) => {} // It is reported again.
                }
                continue;
            }
            let Some(stream) = clients.get_mut(&event.token()) else {
                continue;
            };
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => stream.write_all(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => drop(clients.remove(&event.token())),
            }
        }
    }
}
