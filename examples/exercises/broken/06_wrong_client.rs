//! Exercise 06, after the lesson 08_chat.
//!
//! In this server each client has a place, whose number is its token. It tells
//! a client its place. `remove 1` from anyone disconnects the client in place
//! 1. Then the place is free for the next client, at the latest when all events
//! of the same poll have been handled; only if no place is free, the next
//! client gets a new one. Any other line is sent back.
//!
//! Sometimes a client that has just connected is disconnected, though nobody
//! asked for it.
//!
//! Change whatever you like, except what it prints and sends.
//!
//! By hand: `cargo run --bin 06_wrong_client` in `examples/exercises/mine`, and
//! in another terminal, in `bash`, clients in the places 0 and 1. For the last
//! line, stop the server with Ctrl-Z, and continue it with `fg`; `cat` should
//! not end before Ctrl-C.
//!
//! ```sh
//! exec 3<>/dev/tcp/127.0.0.1/PORT 4<>/dev/tcp/127.0.0.1/PORT
//! echo remove 1 >&3; exec 5<>/dev/tcp/127.0.0.1/PORT 4>&-; cat <&5
//! ```

use epollet::{Event, Events, Interest, Poll, Token};
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = usize::MAX;

struct Server {
    poll: Poll,
    places: Vec<Option<TcpStream>>,
}

impl Server {
    fn add(&mut self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(true)?;
        let free = self.places.iter().position(Option::is_none);
        let token = free.unwrap_or(self.places.len());
        if token == self.places.len() {
            self.places.push(None);
        }
        self.poll
            .registry()
            .register(&stream, token, Interest::READABLE)?;
        stream.write_all(format!("place {token}\n").as_bytes())?;
        self.places[token] = Some(stream);
        Ok(())
    }

    fn remove(&mut self, token: Token) {
        if let Some(place) = self.places.get_mut(token) {
            *place = None; // Closes the stream: it leaves the interest list.
        }
    }

    fn handle(&mut self, event: &Event) {
        let Some(Some(stream)) = self.places.get_mut(event.token()) else {
            return; // An event for a client that was removed.
        };
        let mut buffer = [0; 1024];
        // Nothing to read, or a broken connection, which does not end the server.
        let count = stream.read(&mut buffer).unwrap_or(0);
        let text = String::from_utf8_lossy(&buffer[..count]);
        match text.trim().strip_prefix("remove ") {
            Some(place) => self.remove(place.parse().unwrap_or(LISTENER)),
            None => drop(stream.write_all(&buffer[..count])),
        }
        // What came before end of file has been read.
        if event.is_read_closed() {
            self.remove(event.token());
        }
    }
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut server = Server {
        poll: Poll::new()?,
        places: Vec::new(),
    };
    server
        .poll
        .registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(64);
    loop {
        server.poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                let (stream, _) = listener.accept()?;
                server.add(stream)?;
            } else {
                server.handle(event);
            }
        }
    }
}
