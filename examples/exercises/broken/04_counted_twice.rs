//! Exercise 04, after the lesson 06_pitfalls.
//!
//! This client asks for three answers at once, on three connections. Each
//! answer ends with end of file. When it has all three, it prints how many
//! bytes they have together.
//!
//! If the server resets a connection after the answer, this client ends before
//! it has the third answer.
//!
//! Change whatever you like, but it should sleep in `poll`, and nowhere else.
//! The runner is the server, and shows the end of what this client prints.

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
        streams.push(stream);
    }

    let mut events = Events::with_capacity(8);
    let mut received = 0;
    let mut finished = 0;
    while finished < ANSWERS {
        poll.poll(&mut events, None)?;
        for event in &events {
            let stream = &mut streams[event.token()];
            let mut buffer = [0; 1024];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => {
                        finished += 1;
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
