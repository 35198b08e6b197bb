//! Symptom: ENDS
//! Hint: Print each event. Which event is counted by mistake, and for which stream?
//! Hint: A stream that has been read to end of file can still be reported: here, because the server
//!   resets the connection afterwards. A read then returns 0 again.
//! Hint: Remember which streams are finished and skip their events, or drop a stream when it is
//!   finished: then it leaves the interest list. An event in the same batch can still name it.
//! Learned: An event can name a source that is finished. Count what finished, not events.

use epollet::{Events, Interest, Poll};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;

const ANSWERS: usize = 3;

fn main() -> Result<()> {
    let address = std::env::args().nth(1).expect("usage: HOST:PORT");
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for token in 0..ANSWERS {
        let mut stream = TcpStream::connect(&address)?;
        stream.write_all(b"please\n")?;
        stream.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::EDGE;
        poll.registry().register(&stream, token, interest)?;
        streams.push(Some(stream));
    }

    let mut events = Events::with_capacity(8);
    let mut received = 0;
    let mut finished = 0;
    while finished < ANSWERS {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some(stream) = &mut streams[event.token()] else {
                continue; // It is finished.
            };
            let mut buffer = [0; 1024];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => {
                        finished += 1;
                        streams[event.token()] = None; // Closes it.
                        break;
                    }
                    Ok(count) => received += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    println!("{received}");
    Ok(())
}
