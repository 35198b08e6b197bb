//! Symptom: SPINS
//! Hint: Print the error of `accept`. Does it take the connection out of the listener's queue?
//! Hint: The error is `EMFILE`: too many open files. The connection stays in the queue, so the
//!   listener stays readable, and each poll reports it.
//! Hint: Stop asking about the listener while no descriptor is free, and begin again when a client
//!   has left. Or make the listener edge-triggered, and try `accept` again when a client has left.
//!   Or try again after a while, with the timeout of `poll`.
//! Learned: `EMFILE` keeps a listener readable: stop asking until a descriptor is free.

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
    let mut is_paused = false;
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
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => {
                        registry.deregister(&listener)?;
                        is_paused = true;
                    }
                }
                continue;
            }
            let Some(stream) = clients.get_mut(&event.token()) else {
                continue;
            };
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => {
                    clients.remove(&event.token());
                    if is_paused {
                        registry.register(&listener, LISTENER, Interest::READABLE)?;
                        is_paused = false;
                    }
                }
            }
        }
    }
}
