//! Symptom: SPINS
//! Hint: What does `read` return when the peer has closed? Print it, and run the server by hand.
//! Hint: A read of 0 bytes is end of file. The socket stays ready at end of file, because the next
//!   read does not block either. So each poll of a level-triggered source reports it.
//! Hint: A client at end of file, or with an error, is finished: remove it. Dropping the stream
//!   closes it, and with that it leaves the interest list.
//! Hint: Which calls on a client's stream can fail, and what does a `?` do then to the others? A write
//!   to a client that has reset the connection fails, too.
//! Learned: A socket stays ready at end of file, and after a reset. Drop it, or each poll reports
//!   it. A client can end both ways.

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
                Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // End of file, or an error: the client is finished.
                _ => drop(clients.remove(&event.token())),
            }
        }
    }
}
