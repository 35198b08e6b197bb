//! An echo server on epollet, on mio and on tokio's current-thread runtime, under the same load.
//!
//! ```sh
//! cargo run --release --manifest-path examples/benchmarks/Cargo.toml --bin echo
//! ```

use benchmarks::load::Load;
use benchmarks::server::announce;
use slab::Slab;
use std::io::{self, Error, ErrorKind, Read, Write};

const MESSAGE: &[u8] = &[b'x'; 64];
const BUFFER: usize = 4096;
const LOAD: Load = Load {
    connections: 64,
    requests: 40_000,
    request: MESSAGE,
    is_answer: |bytes| bytes == MESSAGE,
};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => println!("{}", LOAD.compare(&["epollet", "mio", "tokio"], 15)?),
        ["serve", "epollet"] => on_epollet()?,
        ["serve", "mio"] => on_mio()?,
        ["serve", "tokio"] => on_tokio()?,
        _ => return Err(Error::other("usage: echo")),
    }
    Ok(())
}

/// A client of the servers on epollet and mio.
struct Connection<S> {
    stream: S,
    pending: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    fn new(stream: S) -> Connection<S> {
        Connection {
            stream,
            pending: Vec::new(),
        }
    }

    /// Echoes until there is nothing to read, or no room to write. Returns whether the client is
    /// still there.
    fn echo(&mut self) -> bool {
        let mut buffer = [0; BUFFER];
        let mut more = true;
        loop {
            while !self.pending.is_empty() {
                match self.stream.write(&self.pending) {
                    Ok(count) => drop(self.pending.drain(..count)),
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
            if !more {
                return true;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.pending.extend_from_slice(&buffer[..count]);
                    // Less than there was room for is all there was: what comes is a new edge.
                    more = count == buffer.len();
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

const LISTENER: usize = usize::MAX;

fn on_epollet() -> io::Result<()> {
    use epollet::{Events, Interest, Poll};
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE | Interest::EDGE)?;
    announce(listener.local_addr()?)?;

    let mut connections = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let place = connections.vacant_entry();
                    poll.registry().register(&stream, place.key(), interest)?;
                    place.insert(Connection::new(stream));
                }
            } else if !connections[token].echo() {
                connections.remove(token);
            }
        }
    }
}

fn on_mio() -> io::Result<()> {
    use mio::{Events, Interest, Poll, Token};
    let interest = Interest::READABLE | Interest::WRITABLE;
    let mut listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, Token(LISTENER), Interest::READABLE)?;
    announce(listener.local_addr()?)?;

    let mut connections = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Token(token) = event.token();
            if token == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let place = connections.vacant_entry();
                    poll.registry()
                        .register(&mut stream, Token(place.key()), interest)?;
                    place.insert(Connection::new(stream));
                }
            } else if !connections[token].echo() {
                connections.remove(token);
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
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}
