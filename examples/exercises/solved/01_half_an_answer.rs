//! Symptom: HANGS
//! Hint: At the first event, 40000 bytes have arrived. How many of them does one call to `read`
//!   take?
//! Hint: An edge-triggered source is reported after a change. The bytes that are left are no
//!   change. So who has to read them?
//! Hint: Read in a loop. It ends at end of file, which is a result of 0, and when nothing is left
//!   for now, which is the error `WouldBlock`.
//! Learned: A level-triggered source is reported again while bytes are left. An edge-triggered one
//!   is not: after an edge, drain: read until `WouldBlock` or end of file.

use epollet::{Events, Interest, Poll};
use std::io::{ErrorKind, Read, Result, Write};
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
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    println!("{received}");
                    return Ok(());
                }
                Ok(count) => received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
