//! Exercise 02, after the lesson 05_echo_server.
//!
//! This server sends back what a client sends. It is small, because it expects
//! short messages and clients that read. A client may leave at any time; then
//! nothing of it should be left.
//!
//! It answers everyone, but after one client has left, it never sleeps again.
//!
//! Change whatever you like, except what it prints.
//!
//! By hand: `cargo run --bin 02_one_client_left` in `examples/exercises/mine`,
//! and in another terminal, in `bash`, a client that leaves. Then look at the
//! server in `top`.
//!
//! ```sh
//! exec 3<>/dev/tcp/127.0.0.1/PORT; echo hello >&3; head -1 <&3; exec 3>&-
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
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, TcpStream> = HashMap::new();
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
                clients.insert(next_token, stream);
                next_token += 1;
                continue;
            }
            let Some(stream) = clients.get_mut(&event.token()) else {
                continue;
            };
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer) {
                Ok(count) => stream.write_all(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => println!("client {}: {error}", event.token()),
            }
        }
    }
}
