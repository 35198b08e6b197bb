//! Exercise 08, after the lesson 09_fair.
//!
//! This server greets each client, and keeps the connection until the client
//! leaves.
//!
//! If several clients connect at the same moment, only one is greeted. Each of
//! the others has to wait until somebody else connects.
//!
//! Change whatever you like, except what it prints and sends.
//!
//! By hand: `cargo run --bin 08_left_behind` in `examples/exercises/mine`, and
//! in another terminal, in `bash`, three clients. Meanwhile, stop the server
//! with Ctrl-Z, and continue it with `fg`.
//!
//! ```sh
//! for i in 1 2 3; do timeout 9 cat </dev/tcp/127.0.0.1/PORT & done
//! ```

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = 0;

struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: HashMap<Token, TcpStream>,
    next_token: Token,
}

impl Server {
    fn accept(&mut self) -> Result<()> {
        let (mut stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        let registry = self.poll.registry();
        registry.register(&stream, self.next_token, Interest::READABLE)?;
        stream.write_all(b"hello\n")?;
        self.clients.insert(self.next_token, stream);
        self.next_token += 1;
        Ok(())
    }

    fn read(&mut self, token: Token) {
        let Some(stream) = self.clients.get_mut(&token) else {
            return;
        };
        match stream.read(&mut [0; 1024]) {
            Ok(count) if count > 0 => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => drop(self.clients.remove(&token)),
        }
    }
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let poll = Poll::new()?;
    let interest = Interest::READABLE | Interest::EDGE;
    poll.registry().register(&listener, LISTENER, interest)?;
    let mut server = Server {
        poll,
        listener,
        clients: HashMap::new(),
        next_token: LISTENER + 1,
    };
    let mut events = Events::with_capacity(64);
    loop {
        server.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => server.accept()?,
                token => server.read(token),
            }
        }
    }
}
