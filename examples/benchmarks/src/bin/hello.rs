//! The smallest server, on epollet, on mio and on tokio's current-thread runtime: one read and one
//! write for each request, and no HTTP but the fixed answer that `wrk` needs.
//!
//! ```sh
//! cargo run --release --features servers --bin hello
//! ```

use benchmarks::server::{Server, announce, compare_under_load};
use slab::Slab;
use std::env;
use std::io::{self, Error, ErrorKind, Read, Write};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BUFFER: usize = 4096;
const LISTENER: usize = usize::MAX;

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(),
        ["serve", "epollet"] => on_epollet(),
        ["serve", "mio"] => on_mio(),
        ["serve", "tokio"] => on_tokio(),
        _ => Err(Error::other("usage: hello")),
    }
}

fn measure() -> io::Result<()> {
    let this = env::current_exe()?;
    let mut servers = Vec::new();
    for name in ["epollet", "mio", "tokio"] {
        servers.push((name, Server::start(&this, name)?));
    }
    println!(
        "{}",
        compare_under_load(&servers, "/", "keep-alive", 64, 10)?
    );
    Ok(())
}

/// Answers what has arrived, on epollet and on mio. Returns whether the client is still there.
fn serve(stream: &mut (impl Read + Write), read_closed: bool) -> bool {
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            // The answer fits: the client waits for each before it asks again.
            Ok(_) if stream.write_all(ANSWER).is_err() => return false,
            // A short read has drained the stream: more data, or end of file, is a new edge.
            Ok(count) if count < BUFFER => return !read_closed,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn on_epollet() -> io::Result<()> {
    use epollet::{Events, Interest, Poll};
    let interest = Interest::READABLE | Interest::EDGE;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&listener, LISTENER, interest)?;
    announce(listener.local_addr()?)?;

    let mut clients = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let slot = clients.vacant_entry();
                    poll.registry().register(&stream, slot.key(), interest)?;
                    slot.insert(stream);
                }
            } else if !serve(&mut clients[token], event.is_read_closed()) {
                clients.remove(token);
            }
        }
    }
}

fn on_mio() -> io::Result<()> {
    use mio::{Events, Interest, Poll, Token};
    let interest = Interest::READABLE;
    let mut listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, Token(LISTENER), interest)?;
    announce(listener.local_addr()?)?;

    let mut clients = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Token(token) = event.token();
            if token == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let slot = clients.vacant_entry();
                    poll.registry()
                        .register(&mut stream, Token(slot.key()), interest)?;
                    slot.insert(stream);
                }
            } else if !serve(&mut clients[token], event.is_read_closed()) {
                clients.remove(token);
            }
        }
    }
}

fn on_tokio() -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    if stream.write_all(ANSWER).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}
