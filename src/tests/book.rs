//! A main program in the shape of the book's, on the two files as a copy has them: `mod ffi; mod
//! poll;`. Whatever the chapter's program says to them has to compile here, and to work.

#[path = "../ffi.rs"]
mod ffi;
#[path = "../poll.rs"]
mod poll;

use ffi::Event;
use poll::Poll;
use std::collections::HashSet;
use std::io::{self, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Answers each connection, in the order opposite to that of their coming, and closes it.
fn answer_backwards(listener: TcpListener, count: usize) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 100];
        let len = stream.read(&mut request)?;
        streams.push((stream, request[..len].to_vec()));
    }
    for (mut stream, request) in streams.into_iter().rev() {
        stream.write_all(&request)?;
    }
    Ok(())
}

/// Reads what the events announce; `done` holds the streams that have come to their end.
fn handle_events(
    events: &[Event],
    streams: &mut [TcpStream],
    done: &mut HashSet<usize>,
) -> Result<()> {
    for event in events {
        println!("{:?}", event);
        let mut buffer = [0; 64];
        let mut text = String::new();
        loop {
            match streams[event.token()].read(&mut buffer) {
                Ok(0) => {
                    done.insert(event.token());
                    break;
                }
                Ok(len) => text += &String::from_utf8_lossy(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        assert!(text.is_empty() || text == format!("request {}", event.token()));
    }
    Ok(())
}

#[test]
fn a_program_in_the_shape_of_the_books_runs_on_the_two_files() -> Result<()> {
    const COUNT: usize = 5;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || answer_backwards(listener, COUNT));

    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for i in 0..COUNT {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.write_all(format!("request {i}").as_bytes())?;
        poll.registry()
            .register(&stream, i, ffi::EPOLLIN | ffi::EPOLLET)?;
        streams.push(stream);
    }

    let mut done = HashSet::new();
    while done.len() < COUNT {
        let mut events = Vec::with_capacity(10);
        poll.poll(&mut events, None)?;
        handle_events(&events, &mut streams, &mut done)?;
    }
    server.join().unwrap()
}
