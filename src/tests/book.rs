//! A main program in the shape of the book's, on the two files as a copy has them: `mod ffi; mod
//! poll;`. Each call that the chapter's program makes on them has to compile here without a
//! warning, in the editions 2021 and 2024, and to work.

#[path = "../ffi.rs"]
#[allow(clippy::duplicate_mod)] // This is the copy.
mod ffi;
#[path = "../poll.rs"]
#[allow(clippy::duplicate_mod)]
mod poll;

use ffi::Event;
use poll::Poll;
use std::collections::HashSet;
use std::io::{self, Read, Result, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn get_req(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Reads from the streams that have events, and returns how many have reached end of file.
fn handle_events(
    events: &[Event],
    streams: &mut [TcpStream],
    handled: &mut HashSet<usize>,
) -> Result<usize> {
    let mut ended = 0;
    for event in events {
        let index = event.token();
        let mut data = vec![0; 4096];
        loop {
            match streams[index].read(&mut data) {
                Ok(0) => {
                    if handled.insert(index) {
                        ended += 1;
                    }
                    break;
                }
                Ok(n) => {
                    println!("{:?}", event);
                    let text = String::from_utf8_lossy(&data[..n]);
                    assert_eq!(text, format!("answer to /{index}"));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
    }
    Ok(ended)
}

/// The chapter's `main`.
fn run(addr: impl ToSocketAddrs) -> Result<HashSet<usize>> {
    let mut poll = Poll::new()?;
    let n_events = 5;
    let mut streams = vec![];

    for i in 0..n_events {
        let mut stream = TcpStream::connect(&addr)?;
        stream.set_nonblocking(true)?;
        stream.write_all(&get_req(&format!("/{i}")))?;
        poll.registry()
            .register(&stream, i, ffi::EPOLLIN | ffi::EPOLLET)?;
        streams.push(stream);
    }

    let mut handled_ids = HashSet::new();
    let mut handled_events = 0;
    while handled_events < n_events {
        let mut events = Vec::with_capacity(10);
        poll.poll(&mut events, None)?;
        if events.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        handled_events += handle_events(&events, &mut streams, &mut handled_ids)?;
    }
    Ok(handled_ids)
}

/// Answers the clients when all have asked, the last one first, and closes their connections.
fn answer_backwards(listener: TcpListener, count: usize) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 100];
        let len = stream.read(&mut request)?;
        let request = String::from_utf8_lossy(&request[..len]).into_owned();
        clients.push((stream, request));
    }
    for (mut stream, request) in clients.into_iter().rev() {
        let path = request.split(' ').nth(1).unwrap_or_default();
        stream.write_all(format!("answer to {path}").as_bytes())?;
    }
    Ok(())
}

#[test]
fn a_program_in_the_shape_of_the_books_runs_on_the_two_files() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let server = thread::spawn(move || answer_backwards(listener, 5));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(run(addr))); // Its polls have no timeout.
    let handled = told.recv_timeout(Duration::from_secs(5));
    let handled = handled.expect("the program ends")?;
    assert_eq!(handled, HashSet::from([0, 1, 2, 3, 4]));
    server.join().unwrap()
}
