//! Symptom: CUTS
//! Hint: All of this happens in one batch: `remove 1`, a new connection, and an event of the client
//!   that was in place 1. Go through the loop with these three events.
//! Hint: The new client has the token of the removed one. So the old event looks like the new one's.
//! Hint: Do not use a token again while the batch can contain an event for it. Or number the
//!   clients: each gets a token that no other one had, and its place is kept beside it.
//! Learned: The events of a batch are older than what the batch has changed: a token that is used
//!   again at once gets the events of another client.

use epollet::{Event, Events, Interest, Poll, Token};
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = usize::MAX;

struct Server {
    poll: Poll,
    places: Vec<Option<TcpStream>>,
    /// Places that become free after this batch: until then, it can contain events for them.
    removed: Vec<Token>,
    free: Vec<Token>,
}

impl Server {
    fn add(&mut self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(true)?;
        let token = self.free.pop().unwrap_or(self.places.len());
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
            if place.take().is_some() {
                self.removed.push(token);
            }
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
        removed: Vec::new(),
        free: Vec::new(),
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
        server.free.append(&mut server.removed);
    }
}
