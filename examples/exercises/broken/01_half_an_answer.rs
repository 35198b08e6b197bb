//! Exercise 01, after the lesson 03_triggers.
//!
//! This client asks a server, reads the answer until end of file, and prints
//! how many bytes it has. The answers are larger than the buffer. The program
//! should sleep in `poll`, and nowhere else.
//!
//! It receives the beginning of the answer, and then it waits forever.
//!
//! Change whatever you like. The runner is the server, and shows the end of
//! what this client prints.

use epollet::{Events, Interest, Poll};
use std::io::{Read, Result, Write};
use std::net::TcpStream;

fn main() -> Result<()> {
    let address = std::env::args().nth(1).expect("usage: HOST:PORT");
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"please\n")?;
    stream.set_nonblocking(true)?;

    let mut poll = Poll::new()?;
    let interest = Interest::READABLE | Interest::EDGE;
    poll.registry().register(&stream, 0, interest)?;

    let mut events = Events::with_capacity(8);
    let mut buffer = [0; 1024];
    let mut received = 0;
    loop {
        poll.poll(&mut events, None)?;
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            println!("{received}");
            return Ok(());
        }
        received += count;
    }
}
